"""What surprises of MarketV1, one test each: each is something that an agent must not get wrong."""

from __future__ import annotations

import pytest
from eth_utils.crypto import keccak

import contracts
from devnet.simulation.marketv1.model import CLOSED, job_id
from tests.contracts.evm import Contract, Reverted, account, interface
from tests.contracts.marketv1 import (
    MAX,
    METADATA,
    MONEY,
    NOBODY,
    OTHER_PROVIDER,
    OWNER,
    PROVIDER,
    STRANGER,
    T0,
    UNIT,
    WAIT,
    Live,
)

pytestmark = pytest.mark.integration

TO_NOBODY = "ERC20: transfer to the zero address"


@pytest.fixture
def live() -> Live:
    return Live()


def notice(live: Live, job: bytes, rate: int = 0) -> None:
    """A rate that is announced and has waited its time."""
    live.send(OWNER, "jobReviseRateInitiate", job, rate)
    live.later(WAIT)


def names(live: Live) -> list[str]:
    """All logs of the last transaction by name, the token's among them."""
    known = interface(contracts.MARKETV1).events | interface(contracts.TEST_TOKEN).events
    return [known[topics[0]].name for _, topics, _ in live.evm.logs]


# Ids


def test_job_id__of_the_first_job__is_zero_and_real(live: Live) -> None:
    assert live.open() == bytes(32)
    assert live.job(bytes(32))[2] == PROVIDER
    live.later(7)
    live.send(STRANGER, "jobSettle", bytes(32))
    assert live.held(PROVIDER) == MONEY + 7


def test_job__closed_and_never_opened__read_alike_and_only_the_index_tells(live: Live) -> None:
    job = live.open(rate=0)
    live.send(OWNER, "jobClose", job)
    assert live.job(job) == live.job(job_id(1)) == CLOSED.row()
    assert live.read("jobIndex") == 1


def test_job_id__of_a_closed_job__never_comes_back(live: Live) -> None:
    live.send(OWNER, "jobClose", live.open(rate=0))
    assert live.open() == job_id(1)


# Opening


@pytest.mark.parametrize("rate", [0, 1, MAX])
@pytest.mark.parametrize("balance", [0, 1])
def test_open__any_rate_and_balance__is_taken(live: Live, rate: int, balance: int) -> None:
    assert live.job(live.open(rate, balance))[3:] == (rate, balance, T0)


@pytest.mark.parametrize("metadata", ["", "{}", "no json", "[" * 5000, "\x00", '{"vcpu":1e999}'])
def test_open__any_metadata__is_taken(live: Live, metadata: str) -> None:
    live.send(OWNER, "jobOpen", metadata, PROVIDER, UNIT, 1)
    assert live.job(bytes(32))[0] == metadata


def test_open__provider_that_never_registered_or_left__is_taken(live: Live) -> None:
    live.open(provider=OTHER_PROVIDER)
    live.send(PROVIDER, "providerAdd", "http://198.51.100.7")
    live.send(PROVIDER, "providerRemove")
    assert live.job(live.open())[2] == PROVIDER


def test_open__provider_nobody__is_taken_and_can_never_be_settled(live: Live) -> None:
    job = live.open(provider=NOBODY)
    assert live.refuses(OWNER, "jobSettle", job) == TO_NOBODY


def test_open__nothing_is_paid_at_first__and_the_second_of_opening_counts(live: Live) -> None:
    job = live.open()
    live.send(PROVIDER, "jobSettle", job)
    assert live.held(PROVIDER) == MONEY
    live.later(1)
    live.send(PROVIDER, "jobSettle", job)
    assert live.held(PROVIDER) == MONEY + 1


# Money


def test_settle__part_of_a_unit__is_rounded_up_at_every_settlement(live: Live) -> None:
    often, once = live.open(rate=UNIT // 10), live.open(rate=UNIT // 10)
    for _ in range(10):
        live.later(1)
        live.send(STRANGER, "jobSettle", often)
    live.send(STRANGER, "jobSettle", once)
    assert (live.balance(often), live.balance(once)) == (990, 999)


def test_settle__by_anybody__pays_the_provider(live: Live) -> None:
    job = live.open()
    live.later(3)
    live.send(STRANGER, "jobSettle", job)
    assert live.held(PROVIDER) == MONEY + 3
    assert live.held(STRANGER) == MONEY


@pytest.mark.parametrize("rate", [UNIT, 3 * UNIT, UNIT // 3, 7 * 10**11])
def test_dry_second__is_the_last_that_is_paid_in_full(live: Live, rate: int) -> None:
    job = live.open(rate=rate, balance=100)
    whole = 100 * 10**12 // rate
    live.later(whole)
    assert -(-rate * whole // 10**12) <= 100 < -(-rate * (whole + 1) // 10**12)
    live.later(1)
    live.send(STRANGER, "jobSettle", job)
    assert live.balance(job) == 0


def test_dry_job__stays_open__and_time_goes_on(live: Live) -> None:
    job = live.open(balance=10)
    live.later(5000)
    live.send(STRANGER, "jobSettle", job)
    assert live.job(job) == (METADATA, OWNER, PROVIDER, UNIT, 0, T0 + 5000)


def test_deposit__to_a_dry_job_that_was_not_settled__is_eaten_by_the_time_between(
    live: Live,
) -> None:
    job = live.open(balance=10)
    live.later(1000)
    live.send(STRANGER, "jobDeposit", job, 500)
    live.send(STRANGER, "jobSettle", job)
    assert (live.balance(job), live.held(PROVIDER)) == (0, MONEY + 510)


def test_deposit__to_a_dry_job_that_was_settled__is_whole(live: Live) -> None:
    job = live.open(balance=10)
    live.later(1000)
    live.send(STRANGER, "jobSettle", job)
    live.send(STRANGER, "jobDeposit", job, 500)
    live.send(STRANGER, "jobSettle", job)
    assert (live.balance(job), live.held(PROVIDER)) == (500, MONEY + 10)


def test_deposit__by_anybody_and_of_nothing__is_taken_but_not_for_a_closed_job(live: Live) -> None:
    job = live.open(rate=0)
    live.send(STRANGER, "jobDeposit", job, 0)
    live.send(OWNER, "jobClose", job)
    assert live.refuses(STRANGER, "jobDeposit", job, 1) == "not found"


def test_withdraw__leaves_what_a_notice_costs__rounded_up(live: Live) -> None:
    job = live.open(rate=UNIT // 7, balance=100)
    assert live.refuses(OWNER, "jobWithdraw", job, 58) == "not enough balance"
    live.send(OWNER, "jobWithdraw", job, 57)
    assert live.balance(job) == 43


def test_settle__unknown_or_closed_job__reverts_with_the_tokens_words(live: Live) -> None:
    job = live.open(rate=0)
    live.send(OWNER, "jobClose", job)
    assert live.refuses(STRANGER, "jobSettle", job) == TO_NOBODY
    assert live.refuses(STRANGER, "jobSettle", job_id(77)) == TO_NOBODY


def test_rate__without_room_in_a_word__locks_the_money_up_for_ever(live: Live) -> None:
    job = live.open(rate=MAX, balance=1000)
    live.later(2)
    assert live.refuses(STRANGER, "jobSettle", job) == ""
    notice(live, job)
    for call in ("jobClose", "jobReviseRateFinalize"):
        assert live.refuses(OWNER, call, job) == ""
    assert live.refuses(OWNER, "jobWithdraw", job, 0) == ""
    live.send(OWNER, "jobMetadataUpdate", job, "{}")
    live.send(STRANGER, "jobDeposit", job, 1)
    assert live.balance(job) == 1001


# Rates and the end


def test_rate__announced__is_readable_and_the_old_one_is_paid_until_it_is_final(live: Live) -> None:
    job = live.open(balance=10_000)
    live.send(OWNER, "jobReviseRateInitiate", job, 2 * UNIT)
    assert live.lock(job) == (T0 + WAIT, 2 * UNIT)
    live.later(WAIT + 100)
    live.send(OWNER, "jobReviseRateFinalize", job)
    assert (live.balance(job), live.job(job)[3]) == (10_000 - WAIT - 100, 2 * UNIT)
    assert live.lock(job) == (0, 0)
    live.later(5)
    live.send(STRANGER, "jobSettle", job)
    assert live.balance(job) == 10_000 - WAIT - 110


def test_rate__announced_0__cannot_be_told_from_none_by_its_value_alone(live: Live) -> None:
    job = live.open()
    live.send(OWNER, "jobReviseRateInitiate", job, 0)
    assert live.lock(job) == (T0 + WAIT, 0)


@pytest.mark.parametrize("waited", [0, 1, WAIT - 1])
@pytest.mark.parametrize("call", ["jobClose", "jobReviseRateFinalize"])
def test_lock__too_soon__reverts_without_a_word(live: Live, waited: int, call: str) -> None:
    job = live.open()
    live.send(OWNER, "jobReviseRateInitiate", job, 0)
    live.later(waited)
    assert live.refuses(OWNER, call, job) == ""
    live.later(WAIT - waited)
    live.send(OWNER, call, job)


def test_lock__twice_or_none__reverts_without_a_word(live: Live) -> None:
    job = live.open()
    assert live.refuses(OWNER, "jobReviseRateFinalize", job) == ""
    assert live.refuses(OWNER, "jobClose", job) == ""
    live.send(OWNER, "jobReviseRateInitiate", job, 5)
    assert live.refuses(OWNER, "jobReviseRateInitiate", job, 5) == ""


def test_cancel__without_an_announcement__says_so(live: Live) -> None:
    job = live.open()
    assert live.refuses(OWNER, "jobReviseRateCancel", job) == "no request"
    live.send(OWNER, "jobReviseRateInitiate", job, 5)
    live.send(OWNER, "jobReviseRateCancel", job)
    assert live.lock(job) == (0, 0)


def test_close__at_rate_0__needs_no_notice(live: Live) -> None:
    job = live.open(rate=0)
    live.send(OWNER, "jobClose", job)
    assert live.held(OWNER) == MONEY


def test_close__announced_rate_is_not_0__is_refused(live: Live) -> None:
    job = live.open()
    notice(live, job, 5)
    assert live.refuses(OWNER, "jobClose", job) == "rate should be zero"


def test_close__never_done__pays_the_old_rate_until_the_job_is_dry(live: Live) -> None:
    job = live.open(balance=2000)
    notice(live, job)
    live.later(1200)
    live.send(STRANGER, "jobSettle", job)
    assert live.balance(job) == 2000 - WAIT - 1200


def test_provider__when_its_job_changes__stays(live: Live) -> None:
    job = live.open()
    live.send(OWNER, "jobMetadataUpdate", job, "{}")
    notice(live, job, 5)
    live.send(OWNER, "jobReviseRateFinalize", job)
    assert live.job(job)[:3] == ("{}", OWNER, PROVIDER)


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("jobClose", ()), ("jobWithdraw", (1,)), ("jobMetadataUpdate", ("{}",)),
        ("jobReviseRateInitiate", (0,)), ("jobReviseRateCancel", ()),
        ("jobReviseRateFinalize", ()),
    ],
)  # fmt: skip
def test_owners_call__by_the_provider__is_refused(
    live: Live, call: str, args: tuple[object, ...]
) -> None:
    job = live.open()
    assert live.refuses(PROVIDER, call, job, *args) == "only job owner"
    assert live.refuses(OWNER, call, job_id(9), *args) == "only job owner"


# The order of logs


def test_logs__of_each_call__come_in_the_order_of_the_original(live: Live) -> None:
    job = live.open(balance=10_000)
    assert names(live) == ["Transfer", "JobOpened"]
    live.later(1)
    live.send(STRANGER, "jobDeposit", job, 1)
    assert names(live) == ["Transfer", "JobDeposited"]
    live.send(OWNER, "jobWithdraw", job, 1)
    assert names(live) == ["Transfer", "JobSettled", "Transfer", "JobWithdrew"]
    live.send(OWNER, "jobReviseRateInitiate", job, 5)
    assert names(live) == ["LockCreated", "JobReviseRateInitiated"]
    live.send(OWNER, "jobReviseRateCancel", job)
    assert names(live) == ["LockDeleted", "JobReviseRateCancelled"]
    notice(live, job, 2 * UNIT)
    live.send(OWNER, "jobReviseRateFinalize", job)
    assert names(live) == ["LockDeleted", "Transfer", "JobSettled", "JobReviseRateFinalized"]


def test_logs__of_a_close__settle_even_nothing_and_delete_the_lock_twice(live: Live) -> None:
    job = live.open(balance=10_000)
    notice(live, job)
    live.send(OWNER, "jobClose", job)
    settled = ["Transfer", "JobSettled"]
    assert names(live) == ["LockDeleted", *settled, "Transfer", "LockDeleted", "JobClosed"]
    job = live.open(rate=0, balance=0)
    live.send(OWNER, "jobClose", job)
    assert names(live) == [*settled, "LockDeleted", "JobClosed"]


# Providers


def test_provider__twice_or_empty_or_unknown__says_why(live: Live) -> None:
    assert live.refuses(PROVIDER, "providerRemove") == "not found"
    assert live.refuses(PROVIDER, "providerUpdateWithCp", "http://a") == "not found"
    assert live.refuses(PROVIDER, "providerAdd", "") == "invalid"
    live.send(PROVIDER, "providerAdd", "http://a")
    assert live.refuses(PROVIDER, "providerAdd", "http://b") == "already exists"
    assert live.refuses(PROVIDER, "providerUpdateWithCp", "") == "invalid"
    live.send(PROVIDER, "providerUpdateWithCp", "http://b")
    assert live.read("providers", PROVIDER) == "http://b"


# The administrator


def deployed() -> tuple[Live, Contract, str]:
    """A market of which the administrator is known: the EVM's deployer."""
    live = Live()
    return live, live.contract, "0x" + "01" * 20


def test_token__changed__is_paid_from_then_on(live: Live) -> None:
    live, market, admin = deployed()
    other = live.evm.deploy(contracts.TEST_TOKEN, "Other", "tOTH", 6)
    job = live.open()
    assert live.refuses(STRANGER, "updateToken", other.address) == "only admin"
    market.send(admin, "updateToken", other.address)
    live.later(4)
    assert live.refuses(STRANGER, "jobSettle", job) == "balance too low"
    other.send(STRANGER, "mint", market.address, 50)
    live.send(STRANGER, "jobSettle", job)
    assert other.read("balanceOf", PROVIDER) == 4


def test_upgrade__by_the_administrator__is_said(live: Live) -> None:
    live, market, admin = deployed()
    assert live.refuses(STRANGER, "upgradeTo", account(7)) == "only admin"
    (event,) = market.send(admin, "upgradeTo", account(7))
    assert (event.name, event.args) == ("Upgraded", (account(7),))


def test_lock_id__is_the_keccak_of_selector_and_job(live: Live) -> None:
    job = live.open()
    live.send(OWNER, "jobReviseRateInitiate", job, 9)
    selector = live.read("RATE_LOCK_SELECTOR")
    assert live.read("locks", keccak(selector + job)) == (T0 + WAIT, 9)
    assert live.read("locks", keccak(job)) == (0, 0)


def test_open__more_than_the_owner_has__moves_nothing(live: Live) -> None:
    with pytest.raises(Reverted, match="balance too low"):
        live.open(balance=MONEY + 1)
    assert live.read("jobIndex") == 0
