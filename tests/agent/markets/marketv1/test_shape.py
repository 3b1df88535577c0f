"""What a contract must be to be served, and what is told when it is not what was known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from agent.chain.endpoints import Endpoints
from agent.chain.rpc import CallReverted, Json, NodeRefused, Reader, Request
from agent.config.load import parse
from agent.config.presets import MARKETV1, Preset, preset_of
from agent.market.model import ZERO_ADDRESS, Address, BlockNumber, address
from agent.markets.marketv1 import shape
from agent.markets.marketv1.reads import Market, market_abi
from agent.markets.token import Token
from agent.wiring.adapters import contract_of, finality_of, known_deployment
from devnet.chain.evm import Rejected
from faults import MustStop, RetryLater, TryElsewhere
from tests.agent.markets.marketv1.conftest import Live
from tests.clocks import MovingClock

pytestmark = pytest.mark.integration

ARBITRUM = MARKETV1[42161]
USDC = Token(Address(ARBITRUM.payment), "USDC", 6)
CODE = Address(ARBITRUM.implementation)
OTHER = Address("0x52908400098527886E0F7030069857D2E4169EE7")
STATES_KEPT = 128  # by ordinary nodes (geth's and BNB Chain's triesInMemory)


class Instead:
    """A reader of the real contract that answers one of its functions otherwise."""

    def __init__(self, reader: Reader, name: str, answer: str | None) -> None:
        self._reader, self._answer = reader, answer
        self._selector = "0x" + market_abi().encode(name, *_ANY.get(name, ())).hex()[:8]

    async def call(self, method: str, *params: Json) -> Json:
        return await self._reader.call(method, *params)

    async def batch(self, requests: Sequence[Request]) -> list[Json]:
        found = await self.outcomes(requests)
        if any(isinstance(each, CallReverted) for each in found):
            raise NodeRefused("it reverts")
        return found

    async def outcomes(self, requests: Sequence[Request]) -> list[Json | CallReverted]:
        answers = await self._reader.outcomes(requests)
        pairs = zip(requests, answers, strict=True)
        return [self._answered(request, answer) for request, answer in pairs]

    def _answered(self, request: Request, answer: Json) -> Json | CallReverted:
        asked = request.method == "eth_call" and request.params[0]["data"][:10] == self._selector
        if asked and self._answer is None:
            return CallReverted("execution reverted", "0x")
        return self._answer if asked else answer


_ANY = {"locks": (bytes(32),), "lockWaitTime": (bytes(32),)}
_SIX = f"0x{6:064x}"


def _known(live: Live) -> Preset:
    """The live contract as if it had been known."""
    made = replace(ARBITRUM, contract=live.contract, payment=live.payment, implementation="")
    return replace(made, first_block=0)


async def test_check__the_contract_that_was_known__finds_nothing(
    live: Live, market: Market
) -> None:
    token, odd = await shape.check(market, _known(live), live.head)
    assert (token.address, token.decimals, odd) == (live.payment, 6, [])
    assert (await shape.check(market, None, live.head))[1] == []


@pytest.mark.parametrize("where", ["token", "nobody"])
async def test_check__another_contract__stops_the_agent(
    live: Live, market: Market, where: str
) -> None:
    place = live.payment if where == "token" else live.address(2)
    elsewhere = Market(market._reader, place, market.own_terms)
    with pytest.raises(MustStop, match="no MarketV1"):
        await shape.check(elsewhere, None, live.head)


@pytest.mark.parametrize(
    ("name", "answer", "told"),
    [
        ("EXTRA_DECIMALS", _SIX, "another version of the market"),  # the successor's
        ("EXTRA_DECIMALS", None, "no MarketV1"),
        ("locks", None, "no MarketV1"),
        ("locks", "0x", "no MarketV1"),
        ("lockWaitTime", None, "no MarketV1"),
        ("lockWaitTime", "0x", "no MarketV1"),
    ],
)
async def test_check__another_shape__stops_the_agent(
    live: Live, market: Market, name: str, answer: str | None, told: str
) -> None:
    odd = Market(Instead(market._reader, name, answer), live.contract, market.own_terms)
    with pytest.raises(MustStop, match=told):
        await shape.check(odd, None, live.head)


@pytest.mark.parametrize(
    "no",
    [Rejected(-32000, "header not found"), Rejected(-32005, "limit exceeded"),
     Rejected(-32000, "missing trie node"), Rejected(-32603, "internal error")],
    ids=str,
)  # fmt: skip
async def test_check__a_node_that_can_t_tell_now__is_asked_again_later(
    live: Live, market: Market, monkeypatch: pytest.MonkeyPatch, no: Rejected
) -> None:
    true = live.node.methods.call

    def call(method: str, params: list[Json]) -> Json:
        if method == "eth_call":
            raise no
        return true(method, params)

    monkeypatch.setattr(live.node.methods, "call", call)
    with pytest.raises((RetryLater, TryElsewhere)):
        await shape.check(market, None, live.head)


async def test_check__one_of_two_says_that_it_is_another_contract__stops_nobody(
    live: Live, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    with live.node.twin() as liar:
        monkeypatch.setattr(
            liar.methods, "_methods", {**liar.methods._methods, "eth_call": lambda *_: _SIX}
        )
        endpoints = await Endpoints.open([liar.url, live.node.url], MovingClock(0))
        told = Market(endpoints, live.contract, market.own_terms)
        token, odd = await shape.check(told, _known(live), live.head)
        assert (token.decimals, odd) == (6, [])
        await endpoints.close()


async def test_check__token_with_other_decimals__stops_the_agent(
    live: Live, market: Market
) -> None:
    known = replace(_known(live), payment_decimals=18)
    with pytest.raises(MustStop, match="has 6 decimals, not 18"):
        await shape.check(market, known, live.head)


async def test_check__a_node_before_the_contract_was_made__is_asked_again_later(
    live: Live, market: Market
) -> None:
    at = replace(live.head, number=BlockNumber(ARBITRUM.first_block - 1))
    with pytest.raises(RetryLater, match="has not caught up"):
        await shape.check(market, ARBITRUM, at)


def test_differences__token_or_code_that_was_not_known__are_told() -> None:
    assert shape.differences(ARBITRUM, USDC, CODE) == []
    (token,) = shape.differences(ARBITRUM, replace(USDC, address=OTHER), CODE)
    assert OTHER in token
    assert ARBITRUM.payment in token
    (code,) = shape.differences(ARBITRUM, USDC, OTHER)
    assert OTHER in code
    assert ARBITRUM.implementation in code
    assert shape.differences(ARBITRUM, USDC, ZERO_ADDRESS)
    bnb = MARKETV1[56]
    usdc = Token(Address(bnb.payment), "USDC", 18)
    assert shape.differences(bnb, usdc, OTHER) == []  # no source names its code


@pytest.mark.parametrize("chain_id", MARKETV1)
def test_presets__of_each_chain__are_addresses_and_have_reasons(chain_id: int) -> None:
    known = MARKETV1[chain_id]
    for each in (known.contract, known.payment, known.implementation or OTHER):
        assert address(each) == each
    assert known.first_block > 0
    assert len(known.finality_reason) > 50
    assert preset_of("marketv1", chain_id, known.contract.lower()) == known
    assert preset_of("marketv1", chain_id, OTHER) is None
    assert preset_of("registry", chain_id) is None
    assert known.finality_blocks < STATES_KEPT or chain_id == 42161  # whose nodes keep 30 minutes


def _config(chain_id: int, *lines: str) -> str:
    text = f'[chain]\nchain_id = {chain_id}\nmarket = "marketv1"\nrpc_urls = ["http://node"]\n'
    return "\n".join([text, *lines, '[aws]\nregions = ["us-east-1"]\n[wallet]\nkey_file = "key"'])


@pytest.mark.parametrize("chain_id", MARKETV1)
def test_config__of_a_known_chain__needs_no_contract_and_no_finality(chain_id: int) -> None:
    config = parse(_config(chain_id))
    known = known_deployment(config)
    assert known is not None
    assert contract_of(config) == known.contract
    assert finality_of(config).depth == known.finality_blocks
    tagged = parse(_config(chain_id, 'finality = "finalized"'))
    assert finality_of(tagged).depth is None
    assert finality_of(parse(_config(chain_id, "finality = 7"))).depth == 7


def test_config__of_a_contract_of_ones_own__is_final_by_the_tag() -> None:
    config = parse(_config(42161, f'registry = "{OTHER}"'))
    assert known_deployment(config) is None
    assert finality_of(config).depth is None
