"""The adapters keep the promises of `agent.ports` on a real chain."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest

from agent import ports
from agent.chain.endpoints import Endpoints
from agent.chain.events import Cursor, EventReader
from agent.chain.fees import FeePolicy
from agent.chain.head import Finality, HeadFollower, HeadTracker, Pace, block_ref
from agent.chain.rpc import Json, NodeRefused
from agent.chain.transactions import Call, Confirmed, Pending, Transactions, TxState
from agent.market.model import BlockNumber, BlockRef, JobId, JobStatus, Price, Wei
from agent.market.testimony import Disagreement
from agent.markets.registry.adapter import ProviderMarket
from agent.markets.registry.calls import Calls
from agent.markets.registry.reads import Market, _job, changed_jobs, job_topics
from agent.markets.second_endpoint import SecondEndpoint
from agent.markets.transactor import SETTLEMENTS_AT_ONCE, MarketTransactor
from agent.markets.wakes import ChainWakes
from devnet.simulation.loop import VirtualClock, current, run
from devnet.simulation.model_faults import Weather
from devnet.simulation.names import REGISTRY, US
from devnet.simulation.people import USERS
from devnet.simulation.scenario import genesis, scenario
from devnet.simulation.wire.chain import WireChain
from devnet.simulation.wire.contract import Contract
from devnet.simulation.wire.life import Line
from devnet.simulation.wire.node import Node
from devnet.simulation.wire.signing import StormSigner
from devnet.simulation.wire.words import REGISTRY_WORDS
from faults import Refused, RetryLater, UsageFault
from tests.agent.chain.memory_log import MemoryLog

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration

TYPE = "us-east-1/c6a.xlarge"
NOWHERE = BlockRef(BlockNumber(3), "0x" + "ab" * 32, 0)


@pytest.fixture
def view(stage: Stage, market: Market, tracker: HeadTracker) -> ports.Market:
    return ProviderMarket(market, tracker, stage.provider)


def transactor(stage: Stage, endpoints: Endpoints, **policy: Wei) -> ports.Transactor:
    limits = FeePolicy(**{"per_job": Wei(10**18), "per_day": Wei(10**18), **policy})
    sending = Transactions(
        endpoints, stage.signers[0], MemoryLog(), stage.clock, policy=limits, finality=Finality(2)
    )
    return MarketTransactor(sending, stage.calls, stage.clock)


async def test_market__one_job__is_seen_whole(stage: Stage, view: ports.Market) -> None:
    stage.offer(0, 500)
    job = stage.request()
    blocks = await view.blocks()
    assert (blocks.head, blocks.final.number) == (stage.head, stage.head.number - 2)
    at = blocks.head
    assert list(await view.active_jobs(at)) == [job]
    assert (await view.jobs([job], at))[job].status is JobStatus.BOOTSTRAPPING
    assert await view.jobs([], at) == {}
    assert await view.offer(TYPE, at) == Price(500)
    assert await view.openings(at) == 99
    assert (await view.terms(at)).abilities.has_stake


async def test_market__any_read_that_fails__is_retry_later(
    stage: Stage, view: ports.Market
) -> None:
    for read in (
        view.terms(NOWHERE), view.jobs([JobId(1)], NOWHERE), view.active_jobs(NOWHERE),
        view.offer(TYPE, NOWHERE), view.openings(NOWHERE),
    ):  # fmt: skip
        with pytest.raises(RetryLater):
            await read
    stage.node.faults.refuse = True
    with pytest.raises(RetryLater):
        await view.blocks()


def witness_of(stage: Stage, market: Market, endpoints: Endpoints) -> ports.Witness:
    jobs_in = partial(changed_jobs, provider=stage.provider)
    return SecondEndpoint(market, endpoints, stage.provider, Finality(2), jobs_in)


async def test_witness__second_endpoint__agrees_or_is_silent(stage: Stage, market: Market) -> None:
    stage.offer()
    job, nobodys = stage.request(), JobId(99)
    with stage.node.twin() as second:
        endpoints = await Endpoints.open([stage.node.url, second.url], stage.clock)
        witness = witness_of(stage, market, endpoints)
        told = await witness.testify([job, nobodys], stage.head)
        known = await market.jobs([job], stage.head)
        assert told.jobs == {job: (known[job],), nobodys: (None,)}
        assert told.terms == (await market.params(stage.head),)
        assert not told.final
        final = block_ref(
            stage.node.call("eth_getBlockByNumber", hex(stage.head.number - 2), False)
        )
        assert (await witness.testify([], final)).final
        second.faults.lag = 1  # it doesn't know the block
        with pytest.raises(RetryLater, match="two must"):
            await witness.testify([job], stage.head)
        second.faults.set({"lag": 0, "refuse": True})
        with pytest.raises(RetryLater):
            await witness.testify([job], stage.head)
        await endpoints.close()


async def test_witness__true_hash_with_an_invented_time__is_a_disagreement_about_the_block(
    stage: Stage, market: Market
) -> None:
    at = replace(stage.head, timestamp=stage.head.timestamp + 10**8)
    with stage.node.twin() as second:
        endpoints = await Endpoints.open([stage.node.url, second.url], stage.clock)
        with pytest.raises(Disagreement, match="disagree about block"):
            await witness_of(stage, market, endpoints).testify([], at)
        await endpoints.close()


async def test_witness__lists__are_each_endpoints_own_with_what_logs_named_since(
    stage: Stage, market: Market
) -> None:
    stage.offer()
    with stage.node.twin() as second:
        endpoints = await Endpoints.open([stage.node.url, second.url], stage.clock)
        witness = witness_of(stage, market, endpoints)
        await witness.lists()
        job = stage.request()
        stage.node.faults.empty_logs = True
        hiding, honest = await witness.lists()
        assert hiding.active == honest.active == {job}
        assert not hiding.named
        assert honest.named == {job}
        assert honest.stake_is_for == 100
        stage.node.faults.refuse = True  # who hides may be silent, too: the other's list counts
        (left,) = await witness.lists()
        assert left.active == {job}
        second.faults.refuse = True
        with pytest.raises(RetryLater):
            await witness.lists()
        await endpoints.close()


async def test_witness__our_listing__is_what_two_tell(stage: Stage, market: Market) -> None:
    stage.offer()
    listed = await market.offer(stage.provider, TYPE, stage.head)
    assert listed is not None
    with stage.node.twin() as second:
        endpoints = await Endpoints.open([stage.node.url, second.url], stage.clock)
        witness = witness_of(stage, market, endpoints)
        assert await witness.offer(TYPE, stage.head) == listed
        assert await witness.offer("us-east-1/none.large", stage.head) is None
        second.faults.lag = 1
        with pytest.raises(RetryLater, match="two must"):
            await witness.offer(TYPE, stage.head)
        await endpoints.close()


async def test_wakes__a_job__is_named_and_the_cursor_kept(
    stage: Stage, endpoints: Endpoints, tracker: HeadTracker
) -> None:
    kept: list[Cursor] = []
    jobs_in = partial(changed_jobs, provider=stage.provider)
    events = EventReader(endpoints, stage.registry, job_topics(), jobs_in)
    follower = HeadFollower(tracker, stage.clock, Pace(poll=1.0))
    wakes = ChainWakes(follower, events, None, kept.append)
    as_port: ports.Wakes = wakes
    stage.offer()
    assert list(await as_port.wait()) == []
    job = stage.request()
    assert list(await wakes.wait()) == [job]
    assert kept[-1].last.hash == stage.head.hash
    stage.node.faults.fail_methods = ["eth_getLogs"]
    stage.node.call("evm_mine")
    assert list(await wakes.wait()) == []
    stage.send(0, stage.calls.report_started(job, "a:1"))
    stage.node.faults.fail_methods = []
    assert list(await wakes.wait()) == [job]
    waiting = asyncio.ensure_future(wakes.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    stage.send(0, stage.calls.settle(job))
    assert list(await wakes.wait()) == [job]
    await wakes.close()


async def test_carry_out__of_what_a_fork_took_back__sends_the_same_again_and_no_second(
    stage: Stage, endpoints: Endpoints, market: Market
) -> None:
    stage.offer()
    sender, job = transactor(stage, endpoints), stage.request()
    stage.node.call("evm_mine")
    account = bytes.fromhex(stage.provider[2:])
    nonce = stage.node.evm.nonce(account)
    first = ports.Order("a", ports.Call.REPORT_STARTED, job, endpoint="1.2.3.4:1300")
    mined = await sender.carry_out(first)
    stage.node.call("devnet_reorg", 1)
    assert not (await market.jobs([job], stage.head))[job].is_started
    stage.clock.at += 16
    again = await sender.carry_out(replace(first, key="b"))
    assert again.tx_hash == mined.tx_hash
    assert (await market.jobs([job], stage.head))[job].is_started
    assert stage.node.evm.nonce(account) == nonce + 1


async def test_carry_out__decided_before_the_same_call_was_mined__is_that_one(
    stage: Stage, endpoints: Endpoints
) -> None:
    stage.offer()
    sender, job = transactor(stage, endpoints), stage.request()
    first = ports.Order("a", ports.Call.SETTLE, job)
    mined, block = await sender.carry_out(first), BlockNumber(stage.head.number)
    decided_before = replace(first, key="b", as_of=BlockNumber(block - 1))
    assert await sender.carry_out(decided_before) == mined
    decided_on_it = replace(first, key="c", as_of=block)
    assert (await sender.carry_out(decided_on_it)).tx_hash != mined.tx_hash


async def test_carry_out__every_order__is_mined_once(
    stage: Stage, endpoints: Endpoints, market: Market
) -> None:
    sender = transactor(stage, endpoints)
    job = JobId(1)
    await sender.carry_out(
        ports.Order("r", ports.Call.REGISTER, instance_type=TYPE, price=Price(9))
    )
    assert stage.request() == job
    start = ports.Order(
        "reportStarted:1:1", ports.Call.REPORT_STARTED, job, endpoint="1.2.3.4:1300"
    )
    first, again = await asyncio.gather(sender.carry_out(start), sender.carry_out(start))
    assert first == again
    assert first.fee_wei > 0
    await sender.carry_out(ports.Order("s", ports.Call.SETTLE, job))
    await sender.carry_out(ports.Order("e", ports.Call.REQUEST_EXIT, job))
    with pytest.raises(Refused, match="cool-down"):
        await sender.carry_out(ports.Order("f", ports.Call.FINALIZE_EXIT, job))
    stage.clock.at += 200
    await sender.carry_out(ports.Order("f", ports.Call.FINALIZE_EXIT, job))
    await sender.carry_out(ports.Order("d", ports.Call.DEREGISTER, instance_type=TYPE))
    assert (await market.jobs([job], stage.head))[job].status is JobStatus.STOPPED
    assert await market.offers(TYPE, stage.head) == []


async def test_carry_out__no_block_for_a_while__waits_and_replaces(
    stage: Stage, endpoints: Endpoints
) -> None:
    stage.offer()
    job = stage.request()
    stage.node.evm.min_tip = 3 * 10**9
    order = ports.Order("k", ports.Call.REPORT_STARTED, job, endpoint="a:1")
    running = asyncio.ensure_future(transactor(stage, endpoints).carry_out(order))
    while not running.done():
        stage.node.call("evm_mine")
        await asyncio.sleep(0.01)
    assert (await running).fee_wei > 21_000 * 3 * 10**9


@dataclass
class Modelled:
    """A model's chain over JSON-RPC, in virtual time."""

    chain: WireChain
    sender: ports.Transactor
    clock: VirtualClock

    @classmethod
    async def begin(cls, latency: float) -> Modelled:
        """`latency`: seconds of each way of an exchange."""
        clock, truth = VirtualClock(current()), VirtualClock(current())
        weather = Weather(truth, least=latency, most=latency)
        chain = WireChain(truth, weather, genesis(scenario(1)))
        told = Contract(chain.views, REGISTRY_WORDS, terms=chain.model.terms)
        endpoints = await Endpoints.over([Line(Node.first(chain, weather, told))], clock)
        sending = Transactions(endpoints, StormSigner(), MemoryLog(), clock, finality=Finality(5))
        return cls(chain, MarketTransactor(sending, Calls(REGISTRY), clock), clock)


async def leave_what_a_fork_made_another_job() -> int:
    """How often the exit was sent, which changed nothing in its block and would now."""
    stage = await Modelled.begin(0.1)
    request = (USERS[0], "requestJob", TYPE, 10**18, "ipfs://image", 1000)
    empty = stage.chain.model.state
    stage.chain.submit(*request)
    stage.chain.mine()
    order = ports.Order("exit", ports.Call.REQUEST_EXIT, JobId(1))
    leaving = asyncio.ensure_future(stage.sender.carry_out(order))
    await stage.clock.sleep(5)
    stage.chain.model.state = empty
    stage.chain.mine()
    stage.chain.submit(*request)
    stage.chain.mine()
    with pytest.raises(RetryLater, match="ordered again"):
        await asyncio.wait_for(leaving, 60)
    return len(stage.chain.log)


@pytest.mark.usefixtures("quiet")
def test_carry_out__changed_nothing_and_would_now__is_left_to_a_new_decision() -> None:
    assert run(leave_what_a_fork_made_another_job()) == 1


def test_report__of_which_endpoints_tell_different_stories__spends_nothing_that_is_kept() -> None:
    order = ports.Order("k", ports.Call.REPORT_STARTED, JobId(1), "1.2.3.4:1300")
    calls = Calls(REGISTRY)
    assert calls.of(order).urgent
    assert not calls.of(replace(order, disputed=True)).urgent


async def ask_for_what_is_wanted_no_more() -> int:
    stage = await Modelled.begin(0.1)
    order = ports.Order("k", ports.Call.REGISTER, instance_type=TYPE, price=Price(9))
    with pytest.raises(RetryLater, match="reason has gone"):
        await stage.sender.carry_out(order, lambda: False)
    unwanted = len(stage.chain.log)
    sending = asyncio.ensure_future(stage.sender.carry_out(order))  # and when it is again
    await stage.clock.sleep(5)
    stage.chain.mine()
    await asyncio.wait_for(sending, 60)
    return unwanted


@pytest.mark.usefixtures("quiet")
def test_carry_out__wanted_no_more_when_it_would_be_signed__is_neither_sent_nor_forgotten() -> None:
    assert run(ask_for_what_is_wanted_no_more()) == 0


async def follow_while_the_clock_is_set_back() -> float:
    """Seconds from a block to when its order knows, an hour having been taken from the clock."""
    stage = await Modelled.begin(0.1)
    stage.clock.skew_seconds = 3600.0
    order = ports.Order("k", ports.Call.REGISTER, instance_type=TYPE, price=Price(9))
    sending = asyncio.ensure_future(stage.sender.carry_out(order))
    await stage.clock.sleep(5)
    stage.chain.forget()
    stage.clock.skew_seconds = 0.0
    begun = stage.clock.now()
    await stage.clock.sleep(20)
    stage.chain.mine()
    await sending
    return stage.clock.now() - begun


@pytest.mark.usefixtures("quiet")
def test_carry_out__clock_set_back_an_hour__is_followed_and_broadcast_again() -> None:
    assert run(follow_while_the_clock_is_set_back()) < 25


async def follow_on_a_slow_node(count: int) -> float:
    """Seconds from a late block to when each of `count` orders knows; an exchange takes two."""
    stage = await Modelled.begin(1.0)
    register = partial(ports.Order, call=ports.Call.REGISTER, price=Price(9))
    orders = [register(f"k{n}", instance_type=f"type{n}") for n in range(count)]
    all_of_them = asyncio.gather(*map(stage.sender.carry_out, orders))
    await stage.clock.sleep(200)
    stage.chain.mine()
    mined_at = stage.clock.now()
    await all_of_them
    return stage.clock.now() - mined_at


@pytest.mark.usefixtures("quiet")
def test_carry_out__many_at_once_on_a_slow_node__share_each_look() -> None:
    assert run(follow_on_a_slow_node(20)) < 90


class Unmined(Transactions):
    """Takes every order; only reports get into a block."""

    def __init__(self) -> None:
        self.begun: set[str] = set()

    async def submit(
        self, call: Call, *, key: str, job: JobId | None = None, as_of: int | None = None
    ) -> TxState:
        self.begun.add(key)
        return Confirmed(key, "0x1", 1, Wei(1), True) if key == "report" else Pending(key)

    async def pump(self) -> None:
        """No block."""

    async def came_to_nothing(self, key: str) -> bool:
        return False


async def settle_thousands_and_report_one() -> int:
    """How many settlements were begun when a report that came behind them was mined."""
    sending, clock = Unmined(), VirtualClock(current())
    sender = MarketTransactor(sending, Calls(REGISTRY), clock)
    orders = [ports.Order(f"s{n}", ports.Call.SETTLE, JobId(n)) for n in range(1, 3000)]
    settling = asyncio.gather(*map(sender.carry_out, orders))
    await clock.sleep(5)
    report = ports.Order("report", ports.Call.REPORT_STARTED, JobId(1), endpoint="a:1")
    await asyncio.wait_for(sender.carry_out(report), 1)
    settling.cancel()
    await asyncio.gather(settling, return_exceptions=True)
    return len(sending.begun) - 1


@pytest.mark.usefixtures("quiet")
def test_carry_out__thousands_of_settlements__are_few_at_a_time_and_hold_up_no_report() -> None:
    assert run(settle_thousands_and_report_one()) == SETTLEMENTS_AT_ONCE


async def test_carry_out__budget_spent_or_order_incomplete__says_so(
    stage: Stage, endpoints: Endpoints
) -> None:
    stage.offer()
    job = stage.request()
    order = ports.Order("k", ports.Call.REPORT_STARTED, job, endpoint="a:1")
    with pytest.raises(RetryLater, match="budget") as later:
        await transactor(stage, endpoints, per_job=Wei(1)).carry_out(order)
    assert later.value.after_seconds
    with pytest.raises(UsageFault):
        await transactor(stage, endpoints).carry_out(ports.Order("k", ports.Call.SETTLE))


def test_job__of_a_generation_that_no_journal_can_store__is_a_nodes_odd_word() -> None:
    """As it was taken, nothing could be written down for it, so nothing was bought."""
    texts, numbers = ("us-east-1/c6a.xlarge", 1, 1, "ipfs://x"), (1, 0, 10, 0, 0, 0, 1, 0, "")
    told = (US, US, *texts)
    assert _job(JobId(1), (*told, 2**63 - 1, *numbers)).generation == 2**63 - 1
    with pytest.raises(NodeRefused):
        _job(JobId(1), (*told, 2**63, *numbers))


class Garbled(Line):
    """Says of every call that its result is nothing."""

    async def exchange(self, body: Json) -> Json:
        answers = await super().exchange(body)
        both = zip(body, answers, strict=True) if isinstance(body, list) else [(body, answers)]
        for asked, answer in both:
            if asked["method"] == "eth_call":
                answer.pop("error", None)
                answer["result"] = "0x"
        return answers


async def read_where_one_garbles(*, alone: bool) -> tuple[list[JobId], list[JobId]]:
    """The jobs that are listed, and those that are read."""
    clock, truth = VirtualClock(current()), VirtualClock(current())
    weather = Weather(truth)
    chain = WireChain(truth, weather, genesis(scenario(1)))
    told = Contract(chain.views, REGISTRY_WORDS, terms=chain.model.terms)
    nodes: list[Line] = [Garbled(Node.first(chain, weather, told))]
    nodes += [] if alone else [Line(Node.second(chain, weather, told))]
    endpoints = await Endpoints.over(nodes, clock)
    tracker = HeadTracker(endpoints, Finality(5))
    market = ProviderMarket(Market(endpoints, REGISTRY), tracker, US)
    chain.submit(USERS[0], "requestJob", TYPE, 10**18, "ipfs://image", 1000)
    chain.mine()
    head = (await market.blocks()).head
    assert (await market.terms(head)).stake_per_job == chain.model.terms.stake_per_job
    assert await market.offer(TYPE, head) is not None
    listed = list(await market.active_jobs(head))
    return listed, list(await market.jobs([JobId(1), JobId(7)], head))


@pytest.mark.usefixtures("quiet")
def test_endpoint__whose_answers_are_no_state_of_a_market__keeps_nothing_from_being_read() -> None:
    """It answers: so no other was asked, and not one job was seen."""
    assert run(read_where_one_garbles(alone=False)) == ([1], [1])
    with pytest.raises(RetryLater):
        run(read_where_one_garbles(alone=True))
