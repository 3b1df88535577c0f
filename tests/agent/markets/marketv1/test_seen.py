"""How far a count of ids is believed: no word has more read than a look can bear, or hides."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from agent.chain.endpoints import Endpoints
from agent.chain.rpc import Json, Rpc
from agent.market.model import Address, BlockNumber, BlockRef
from agent.markets.marketv1 import reads, seen
from agent.markets.marketv1.reads import Market
from agent.markets.marketv1.seen import AHEAD, OPENED_A_SECOND, RESCAN_BLOCKS, Seen
from agent.markets.marketv1.terms import MarketV1Terms
from agent.secret import SecretUrl
from tests.clocks import MovingClock

pytestmark = pytest.mark.unit

START = 1_800_000_000
US = Address("0x" + "11" * 20)
AT = BlockRef(BlockNumber(10_000), "0x" + "22" * 32, START)
SCAN = reads.SCAN
ABSURD = [10**9, 2**200]


def later(seconds: int, blocks: int | None = None) -> BlockRef:
    number = BlockNumber(AT.number + (seconds if blocks is None else blocks))
    return replace(AT, number=number, timestamp=START + seconds)


@dataclass
class Node:
    """A node of a market of so many jobs, ours among them; it may tell of another count, and of
    jobs that are not. `asked` counts the ids that it was asked for."""

    name: str = "one"
    true: int = 2_500
    ours: frozenset[int] = frozenset({7, 2_499})
    closed: range = range(0)
    told: int | None = None
    invents: bool = False
    asked: int = 0

    def __post_init__(self) -> None:
        self.url = SecretUrl(f"http://{self.name}.example")

    async def close(self) -> None:
        """Nothing is open."""

    async def exchange(self, body: Json) -> Json:
        if isinstance(body, list):
            return [self._answer(one) for one in body]
        return self._answer(body)

    def _answer(self, request: Json) -> Json:
        return {"id": request["id"], "result": self._result(request)}

    def _result(self, request: Json) -> str:
        if request["method"] == "eth_chainId":
            return "0x1"
        data = str(request["params"][0]["data"])
        functions = reads.market_abi().functions
        if data[2:10] == functions["jobIndex"].selector.hex():
            return f"0x{self.true if self.told is None else self.told:064x}"
        if data[2:10] == functions["locks"].selector.hex():
            return "0x" + "0" * 128
        self.asked += 1
        return self._job(int(data[10:], 16))

    def _job(self, number: int) -> str:
        is_one = (number < self.true and number not in self.closed) or self.invents
        provider = int(US, 16) if number in self.ours else 8
        words = (192, 9, provider, 10**12, 10**9, START, 0) if is_one else (192, *[0] * 6)
        return "0x" + "".join(f"{word:064x}" for word in words)


async def market_over(*nodes: Node) -> Market:
    endpoints = await Endpoints.over(nodes, MovingClock(START), chain_id=1)
    return Market(endpoints, US, MarketV1Terms())


def alone(market: Market, node: Node) -> Market:
    """As lists are compared: one endpoint by itself."""
    return market.through(Rpc(node, MovingClock(START)))


async def found(market: Market, at: BlockRef = AT) -> set[int]:
    return set(await market.open_jobs(US, at))


@pytest.mark.parametrize("absurd", ABSURD)
@pytest.mark.parametrize("liar", [0, 1])
async def test_count__absurd_by_one_of_two_endpoints__costs_a_batch_and_hides_nothing(
    absurd: int, liar: int
) -> None:
    nodes = (Node("one"), Node("two"))
    nodes[liar].told = absurd
    market = await market_over(*nodes)
    assert await found(market) == {7, 2_499}
    assert sum(node.asked for node in nodes) <= 2_500 + 2 * SCAN
    for node in nodes:
        node.asked = 0
    assert await found(alone(market, nodes[liar]), later(1)) == {7, 2_499}
    assert nodes[liar].asked <= 2_500 + 2 * SCAN


@pytest.mark.parametrize("absurd", ABSURD)
async def test_count__absurd_by_the_only_endpoint_from_the_first_look__is_read_in_parts(
    absurd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "MOST_A_LOOK", 4_000)
    node = Node(told=absurd)
    market = await market_over(node)
    for look in range(3):
        node.asked = 0
        assert await found(market, later(60 * look)) == {7, 2_499}
        assert node.asked <= 4_000 + 2


@pytest.mark.parametrize("absurd", ABSURD)
async def test_count__absurd_by_the_only_endpoint_later__grows_as_a_chain_can(absurd: int) -> None:
    node = Node()
    market = await market_over(node)
    await found(market)
    node.told = absurd
    for look in (1, 2, 3):
        node.asked = 0
        assert await found(market, later(60 * look)) == {7, 2_499}
        most = AHEAD + OPENED_A_SECOND * 60 * look + (2 + look) * SCAN  # since the word before
        assert node.asked <= 2_500 + most


@pytest.mark.parametrize("places", [(0,), (0, 1), (1, 0)], ids=["alone", "first", "second"])
async def test_count__absurd_for_a_while__hides_no_job_that_is_opened_after(
    places: tuple[int, ...],
) -> None:
    nodes = [Node("one"), Node("two")][: len(places)]
    liar = nodes[places[0]]
    market = await market_over(*nodes)
    for look in range(5):
        liar.told = 10**9 if look % 2 else None
        await found(market, later(look * RESCAN_BLOCKS))
    liar.told = None
    for node in nodes:
        node.true, node.ours = 2_510, frozenset({7, 2_505})
    assert await found(market, later(9 * RESCAN_BLOCKS)) == {7, 2_505}


async def test_count__too_low_by_one_of_two_endpoints__keeps_no_job_from_being_found() -> None:
    low, honest = Node("low", told=0), Node("honest", closed=range(100, 2_400))
    market = await market_over(low, honest)
    await found(market)
    looks = [await found(alone(market, honest), later(5 * look)) for look in range(4)]
    assert looks[-1] == {7, 2_499}


async def test_count__grown_faster_than_thought_possible__is_read_as_long_as_there_are_jobs() -> (
    None
):
    node = Node()
    market = await market_over(node)
    await found(market)
    node.true, node.ours = 9_000, frozenset({8_999})
    assert await found(market, later(1)) == {8_999}


async def test_ids__that_one_endpoint_says_are_ours__are_not_asked_for_ever() -> None:
    node = Node(ours=frozenset(range(2_000)))
    market = await market_over(node)
    assert len(await found(market)) == 2_000
    node.ours = frozenset({7})
    assert await found(market, later(1, 1)) == {7}
    await found(market, later(2, 3 * RESCAN_BLOCKS))
    node.asked = 0
    assert await found(market, later(3, 5 * RESCAN_BLOCKS)) == {7}
    assert node.asked == 1


def test_seen__a_look_a_minute_for_a_year__keeps_few_marks() -> None:
    remembered = Seen()
    for number in range(0, 100_000, 240):
        at = BlockRef(BlockNumber(number), "0x", START + number)
        assert remembered.first_unread("one", at) <= number
        remembered.read_up_to("one", at, number, number)
    assert len(remembered.marks["one"]) <= 3
    late = BlockRef(BlockNumber(200_000), "0x", START)
    assert remembered.first_unread("one", late) == max(range(0, 100_000, 240))
    assert seen.AGAIN > RESCAN_BLOCKS
