"""What calls and logs of MarketV1 look like on the wire: the deployed contract's, digit by digit.

The digits are of the contract that is live on Arbitrum One, not computed from our sources.
"""

from __future__ import annotations

import pytest
from eth_abi.abi import decode, encode
from eth_utils.crypto import keccak

import contracts
from tests.contracts.evm import Evm, interface
from tests.contracts.marketv1 import METADATA, OWNER, PROVIDER, UNIT, Live

pytestmark = pytest.mark.integration

SELECTORS = {
    "jobs": "38ed7cfc", "jobIndex": "b7772818", "providers": "0787bc27", "token": "fc0c546a",
    "EXTRA_DECIMALS": "f47b3a17", "RATE_LOCK_SELECTOR": "e41e7160", "lockWaitTime": "48ad8572",
    "locks": "ed5e8437", "providerAdd": "4a4f238b", "providerUpdateWithCp": "5512a3df",
    "providerRemove": "d49fbd73", "jobOpen": "2262821a", "jobSettle": "dc3e0830",
    "jobDeposit": "842c3d60", "jobClose": "8e7bb99d", "jobWithdraw": "cce195b8",
    "jobMetadataUpdate": "8cb497e6", "jobReviseRateInitiate": "ba64247f",
    "jobReviseRateCancel": "546ae9f2", "jobReviseRateFinalize": "b3a64539",
}  # fmt: skip

TOPICS = {
    "JobOpened": "caf4e46d4e6467895056ca2f41d879c0cd4f68875400a55b8e9b24c9904931b4",
    "JobSettled": "d279a21adfe210809eb47e25b172b6b8c49f3c909ca3fe860c28ad1670ed6680",
    "JobClosed": "87c6cc8269aa1e8b05794139b53e072d0cdd15e8bc266fb1fca4028003a7d98c",
    "JobDeposited": "0ce27c5acd9cfe158836bbbf9751706ebe58afef872149bdf8594627924c32e3",
    "JobWithdrew": "ba29401019042047f1847a0cb0610d75686cdf6011b49edd68ffc3320c25dca8",
    "JobReviseRateInitiated": "822e25a49fe523e2b8907a877a478c4b2686dfa71bfa434360ae0df1f2d05b60",
    "JobReviseRateCancelled": "868233d4ed22058a3e695c5799cb9cb0f61713f6314a69099b56fac0c7aef362",
    "JobReviseRateFinalized": "0e4af7f97161d5d3cc661d796f0d9649d696a298c6cd356d3d5ac9fad59bdeb3",
    "JobMetadataUpdated": "a24ecd736bba25f4e473a4b5b4e2bb685cd0ccfc87ac332fc4079943e870d59b",
    "ProviderAdded": "685b3f0c2702c8946b2f7fcfbc7ad4802d34b86a128adc5b5fb99570d27f5357",
    "ProviderRemoved": "1589f8555933761a3cff8aa925061be3b46e2dd43f621322ab611d300f62b1d9",
    "ProviderUpdatedWithCp": "16aa293866804eb57e17688cdf865583ca3ea47890988b4854569cc4e8d62b5b",
    "TokenUpdated": "0b1186973f810894b87ab0bfbee422fddcaad21b46dc705a561451bbb6bac117",
    "Upgraded": "bc7cd75a20ee27fd9adebab32041f755214dbc6bffa90cc0225b39da2e5c2d3b",
}


@pytest.mark.parametrize("name", SELECTORS)
def test_selector__each_function__is_that_of_the_live_contract(name: str) -> None:
    assert interface(contracts.MARKETV1).functions[name].selector.hex() == SELECTORS[name]


@pytest.mark.parametrize("name", TOPICS)
def test_topic__each_event__is_that_of_the_live_contract(name: str) -> None:
    events = {event.name: topic for topic, event in interface(contracts.MARKETV1).events.items()}
    assert events[name].to_bytes(32, "big").hex() == TOPICS[name]


def test_interface__nothing_else__than_the_administrators_calls_and_the_locks() -> None:
    ours = interface(contracts.MARKETV1)
    assert set(ours.functions) == {*SELECTORS, "updateToken", "upgradeTo"}
    assert {each.name for each in ours.events.values()} == {*TOPICS, "LockCreated", "LockDeleted"}


def test_constants__read__are_the_live_ones() -> None:
    live = Live()
    assert live.read("EXTRA_DECIMALS") == 12
    selector = live.read("RATE_LOCK_SELECTOR")
    assert selector.hex() == "bb00c34f1a27e23493f1bd516e88ec0af9b091cc990f207e765f5bd5af012243"
    assert live.read("lockWaitTime", selector) == 300
    assert live.read("token") == live.money.address


def test_jobs__on_the_wire__is_six_values_and_not_a_struct() -> None:
    """A struct of dynamic size would have one more offset in front."""
    live = Live()
    live.open()
    data = interface(contracts.MARKETV1).functions["jobs"].encode([bytes(32)])
    answer = live.evm.call(OWNER, live.contract.address, data, static=True)
    shape = ["string", "address", "address", "uint256", "uint256", "uint256"]
    assert decode(shape, answer)[0] == METADATA


def test_job_opened__its_provider__is_the_third_indexed_value() -> None:
    live = Live()
    live.open()
    _, topics, _ = live.evm.logs[-1]
    assert [topic.to_bytes(32, "big")[-20:].hex() for topic in topics[2:]] == [
        OWNER[2:].lower(), PROVIDER[2:].lower(),
    ]  # fmt: skip


def test_metadata__that_is_no_utf8__is_stored_and_answered_as_it_came() -> None:
    live = Live()
    raw = bytes(range(128, 256))
    call = keccak(text="jobOpen(string,address,uint256,uint256)")[:4]
    data = call + encode(["bytes", "address", "uint256", "uint256"], [raw, PROVIDER, UNIT, 5])
    live.evm.call(OWNER, live.contract.address, data)
    asked = interface(contracts.MARKETV1).functions["jobs"].encode([bytes(32)])
    answer = live.evm.call(OWNER, live.contract.address, asked, static=True)
    assert decode(["bytes", "address"], answer)[0] == raw


def test_metadata__as_long_as_a_block_can_pay_for__is_taken() -> None:
    live = Live()
    live.send(OWNER, "jobOpen", "m" * 30_000, PROVIDER, UNIT, 5)
    assert live.evm.gas_used < 30_000_000
    assert live.job(bytes(32))[0] == "m" * 30_000


def test_gas__settle_and_provider_add__are_about_the_live_contracts() -> None:
    """Measured there: 56,000 to 83,000, and 53,000 without Arbitrum's own part."""
    live = Live()
    live.send(PROVIDER, "providerAdd", "http://198.51.100.7")
    assert live.evm.gas_used < 80_000
    job = live.open()
    live.later(5)
    live.send(PROVIDER, "jobSettle", job)
    assert live.evm.gas_used < 83_000


def test_contract__deployed__fits_the_limit_of_contract_size() -> None:
    assert len(contracts.bytecode(contracts.MARKETV1)) // 2 < 24_576
    assert Evm(now=1).deploy(contracts.MARKETV1, PROVIDER, 300).read("jobIndex") == 0
