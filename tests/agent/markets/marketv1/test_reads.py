"""Reads and events of MarketV1 on a real chain, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

import contracts
from agent.chain.pace import BATCH_LIMIT
from agent.chain.rpc import CallReverted, Json, NodeRefused, Reader, Request
from agent.market.model import (
    ZERO_ADDRESS,
    Address,
    BlockNumber,
    BlockRef,
    JobId,
    JobStatus,
    Notice,
    Price,
    StopReason,
    Wei,
)
from agent.markets.marketv1 import reads, seen
from agent.markets.marketv1.reads import Market, jobs_in
from agent.markets.marketv1.seen import FRESH_SECONDS, OLD_SECONDS, Seen
from agent.markets.marketv1.terms import MarketV1Terms
from tests.agent.markets.marketv1.conftest import KIND, START, WORK, Live

pytestmark = pytest.mark.integration


class Counting:
    """A reader that counts what is asked for."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.url = "counting"
        self.asked = 0

    async def call(self, method: str, *params: Json) -> Json:
        self.asked += 1
        return await self._reader.call(method, *params)

    async def batch(self, requests: Sequence[Request]) -> list[Json]:
        self.asked += len(requests)
        return await self._reader.batch(requests)

    async def outcomes(self, requests: Sequence[Request]) -> list[Json | CallReverted]:
        self.asked += len(requests)
        return await self._reader.outcomes(requests)


async def test_jobs__open_with_id_0__is_read_whole(live: Live, market: Market) -> None:
    live.open(balance=500)
    at = live.head
    (job,) = (await market.jobs([JobId(0)], at)).values()
    assert (job.id, job.user, job.provider) == (0, live.address(1), live.address(0))
    assert (job.instance_type, job.workload, job.enclave_url) == (str(KIND), WORK, WORK.url)
    assert (job.price.raw, job.escrow, job.generation) == (10**12, 500, 1)
    assert job.assigned_at == job.settled_until == at.timestamp
    assert job.notice is None


async def test_jobs__not_opened_yet__are_left_out(live: Live, market: Market) -> None:
    live.open()
    assert set(await market.jobs([JobId(0), JobId(1), JobId(2**60)], live.head)) == {0}
    assert await market.jobs([], live.head) == {}


async def test_jobs__announced_rate__is_a_notice_until_it_is_final_or_taken_back(
    live: Live, market: Market
) -> None:
    live.open()
    live.send(1, live.calls.announce(JobId(0), Price(0)))
    at = live.head
    job = (await market.jobs([JobId(0)], at))[JobId(0)]
    assert job.notice == Notice(Price(0), at.timestamp + 300)
    live.send(1, live.calls.cancel(JobId(0)))
    assert (await market.jobs([JobId(0)], live.head))[JobId(0)].notice is None


async def test_jobs__closed__are_stopped_and_ours_are_known_by_what_was_seen_last(
    live: Live, market: Market
) -> None:
    live.open()
    await market.open_jobs(live.address(0), live.head)
    live.close(0)
    job = (await market.jobs([JobId(0)], live.head))[JobId(0)]
    assert (job.status, job.stop_reason) == (JobStatus.STOPPED, StopReason.USER_REQUEST)
    assert (job.provider, job.escrow) == (live.address(0), 0)
    stranger = await market_of(market).jobs([JobId(0)], live.head)
    assert (stranger[JobId(0)].provider, stranger[JobId(0)].is_stopped) == (ZERO_ADDRESS, True)


def market_of(market: Market, **more: Any) -> Market:
    """The same market, nothing remembered."""
    return Market(more.get("reader", market._reader), market.contract, market.own_terms, Seen())


@pytest.mark.parametrize("metadata", ["", "{}", "no json", '{"region":1}', "[" * 999, "\x00"])
async def test_jobs__whatever_a_user_wrote__is_read_and_says_why_not(
    live: Live, market: Market, metadata: str
) -> None:
    live.open(metadata=metadata)
    live.open()
    found = await market.jobs([JobId(0), JobId(1)], live.head)
    assert found[JobId(0)].unreadable
    assert not found[JobId(1)].unreadable


@pytest.mark.parametrize("rate", [0, 2**256 - 1])
async def test_jobs__any_rate__is_a_value(live: Live, market: Market, rate: int) -> None:
    live.open(rate=rate)
    job = (await market.jobs([JobId(0)], live.head))[JobId(0)]
    assert job.price.raw == rate
    assert await market.served_jobs(live.address(0), live.head) == []


async def test_served_jobs__ours_and_paid__are_found_among_others(
    live: Live, market: Market
) -> None:
    for provider, balance in ((2, 100), (0, 100), (2, 100), (0, 0), (0, 10**6)):
        live.open(provider=provider, balance=balance)
    us = live.address(0)
    assert set(await market.open_jobs(us, live.head)) == {1, 3, 4}
    assert await market.served_jobs(us, live.head) == [1, 4]
    live.clock.at += 200
    live.node.call("evm_mine")
    assert await market.served_jobs(us, live.head) == [4]


async def test_open_jobs__read_once__asks_for_new_ids_and_ours_alone(
    live: Live, market: Market, endpoints: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "RESCAN_BLOCKS", 2)
    for provider in (2, 2, 2, 2, 0, 2):
        live.open(provider=provider)
    counting = Counting(endpoints)
    again = market_of(market, reader=counting)
    us = live.address(0)
    assert list(await again.open_jobs(us, live.head)) == [4]
    live.mine(3)
    await again.open_jobs(us, live.head)
    live.mine(3)
    counting.asked = 0
    assert list(await again.open_jobs(us, live.head)) == [4]
    assert counting.asked == 1 + 3  # the count of ids; the job, its lock and the count again


async def test_open_jobs__closed_long_ago__are_never_asked_for_again(
    live: Live, market: Market, endpoints: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seen, "RESCAN_BLOCKS", 2)
    live.open()
    live.open()
    counting = Counting(endpoints)
    again = market_of(market, reader=counting)
    us = live.address(0)
    await again.open_jobs(us, live.head)
    live.close(0)
    assert list(await again.open_jobs(us, live.head)) == [1]
    live.mine(3)
    await again.open_jobs(us, live.head)
    live.mine(3)
    counting.asked = 0
    assert list(await again.open_jobs(us, live.head)) == [1]
    assert counting.asked == 1 + 3


async def test_open_jobs__ids_that_a_fork_gave_to_us__are_read_again(
    live: Live, market: Market
) -> None:
    snapshot = live.node.call("evm_snapshot")
    live.open(provider=2)
    assert await market.open_jobs(live.address(0), live.head) == {}
    live.node.call("evm_revert", snapshot)
    live.open(provider=0)
    assert list(await market.open_jobs(live.address(0), live.head)) == [0]


async def test_opening__of_a_job_that_was_settled_since__is_remembered(
    live: Live, market: Market
) -> None:
    live.open()
    await market.open_jobs(live.address(0), live.head)
    opened = (await market.jobs([JobId(0)], live.head))[JobId(0)].assigned_at
    live.clock.at += 100
    live.send(2, live.calls.settle(JobId(0)))
    job = (await market.jobs([JobId(0)], live.head))[JobId(0)]
    assert (job.assigned_at, job.settled_until) == (opened, live.head.timestamp)
    assert live.head.timestamp > opened


async def test_events__of_ours_alone__name_jobs(live: Live, market: Market) -> None:
    first = live.head.number + 1
    live.open(provider=2)
    live.open(provider=0)
    live.send(1, live.calls.deposit(JobId(0), Wei(5)))
    live.send(1, live.calls.deposit(JobId(1), Wei(5)))
    logs = await market.job_logs(first, live.head)
    ours = set[JobId]()
    assert len(logs) == 4
    assert jobs_in(logs, live.address(0), ours) == {1}
    assert ours == {1}
    assert jobs_in(logs[2:3], live.address(0), ours) == set()
    assert jobs_in(logs[3:], live.address(0), ours) == {1}


@pytest.mark.parametrize(
    "odd", [{}, {"topics": None}, {"topics": []}, {"topics": [7]}, {"topics": ["0x", "0x"]},
            {"topics": [reads.job_topics()[0], "0xzz"]},
            {"topics": [reads.job_topics()[0], "0x1"]}],
)  # fmt: skip
def test_events__that_are_none__are_passed_over(odd: dict[str, Any]) -> None:
    assert jobs_in([odd], ZERO_ADDRESS, set()) == set()


async def test_token_and_url__read__are_the_contracts(live: Live, market: Market) -> None:
    token = await market.payment_token(live.head)
    assert (token.address, token.decimals) == (live.payment, 6)
    live.send(0, live.calls.provider_add("http://203.0.113.1"))
    assert await market.provider_url(live.address(0), live.head) == "http://203.0.113.1"
    assert await market.implementation(live.head) == ZERO_ADDRESS


class Canned:
    """A node that answers what it likes."""

    def __init__(self, *answers: Json) -> None:
        self._answers = answers

    async def call(self, method: str, *params: Json) -> Json:
        return self._answers[0]

    async def batch(self, requests: Sequence[Request]) -> list[Json]:
        return [self._answers[number % len(self._answers)] for number in range(len(requests))]

    async def outcomes(self, requests: Sequence[Request]) -> list[Json | CallReverted]:
        return await self.batch(requests)


ONE = "0x" + f"{1:064x}"


@pytest.mark.parametrize("answer", [None, "", "0x", "0x1", 7, "0x" + "ff" * 192, [], "0xzz"])
async def test_jobs__a_node_that_answers_nonsense__is_refused(
    live: Live, market: Market, answer: Json
) -> None:
    lying = Market(Canned(ONE, answer, ONE + f"{1:064x}"), live.contract, market.own_terms)
    with pytest.raises(NodeRefused):
        await lying.jobs([JobId(0)], live.head)


async def test_jobs__a_node_that_tells_impossible_times__is_refused(
    live: Live, market: Market
) -> None:
    fields = [192, 1, 2, 3, 4, 1 << 41, 0]
    late = "0x" + "".join(f"{word:064x}" for word in fields)
    lying = Market(Canned(ONE, late, ONE + f"{1:064x}"), live.contract, market.own_terms)
    with pytest.raises(NodeRefused, match="never comes"):
        await lying.jobs([JobId(0)], live.head)


def test_abi__of_our_own_contract__is_what_is_read_with() -> None:
    assert reads.market_abi().functions["jobs"].selector.hex() == "38ed7cfc"
    assert contracts.MARKETV1 == "MarketV1"


class Crowd:
    """A node with so many jobs of others, and ours last; counts exchanges as a real reader has
    them, at most `BATCH_LIMIT` requests in each."""

    url = "crowd"

    def __init__(self, count: int, us: Address) -> None:
        self._count, self._us = count, us
        self.exchanges = self.calls = 0
        self.first_ours, self.settled = count - 1, START

    async def call(self, method: str, *params: Json) -> Json:
        return (await self.batch([Request(method, params)]))[0]

    async def batch(self, requests: Sequence[Request]) -> list[Json]:
        self.exchanges += -(-len(requests) // BATCH_LIMIT)
        self.calls += len(requests)
        return [self._answer(str(one.params[0]["data"])) for one in requests]

    async def outcomes(self, requests: Sequence[Request]) -> list[Json | CallReverted]:
        return await self.batch(requests)

    def _answer(self, data: str) -> str:
        selectors = {name: f.selector.hex() for name, f in reads.market_abi().functions.items()}
        if data[2:10] == selectors["jobIndex"]:
            return f"0x{self._count:064x}"
        if data[2:10] == selectors["locks"]:
            return "0x" + "0" * 128
        ours = int(data[10:], 16) >= self.first_ours
        words = (192, 9, int(self._us, 16) if ours else 8, 10**12, 10**9, self.settled, 0)
        return "0x" + "".join(f"{word:064x}" for word in words)


async def test_open_jobs__behind_5000_of_others__take_53_exchanges_once_and_then_2() -> None:
    us = Address("0x" + "11" * 20)
    crowd = Crowd(5001, us)
    market = Market(crowd, us, MarketV1Terms())
    at = BlockRef(BlockNumber(10_000), "0x" + "22" * 32, START)
    assert list(await market.open_jobs(us, at)) == [5000]
    assert crowd.exchanges == 1 + 51 + 1  # the count, the ids by hundreds, our own job
    later = replace(at, number=BlockNumber(12_000))
    await market.open_jobs(us, later)
    crowd.exchanges = 0
    assert list(await market.open_jobs(us, replace(later, number=BlockNumber(14_000)))) == [5000]
    assert crowd.exchanges == 2


async def test_listing__of_300_running_jobs__reads_a_count_and_not_each_of_them_again() -> None:
    """The loop lists every minute, or more often, and reads each job every few minutes."""
    us = Address("0x" + "11" * 20)
    crowd = Crowd(300, us)
    crowd.first_ours, crowd.settled = 0, START - OLD_SECONDS
    market = Market(crowd, us, MarketV1Terms())
    at = BlockRef(BlockNumber(10_000), "0x" + "22" * 32, START)
    assert len(await market.served_jobs(us, at)) == 300
    for minute in range(1, 10):
        crowd.calls = 0
        now = replace(at, number=BlockNumber(10_000 + 5 * minute), timestamp=START + 60 * minute)
        assert len(await market.served_jobs(us, now)) == 300
        assert crowd.calls == 1
    crowd.calls = 0
    old = replace(at, number=BlockNumber(10_050), timestamp=START + FRESH_SECONDS)
    assert len(await market.served_jobs(us, old)) == 300
    assert crowd.calls == 1 + 1 + 2 * 300


async def test_listing__of_a_job_that_was_over__reads_it_each_time_and_sees_it_revived() -> None:
    us = Address("0x" + "11" * 20)
    crowd = Crowd(1, us)
    crowd.settled = START - 10**9  # its balance has been spent since
    market = Market(crowd, us, MarketV1Terms())
    at = BlockRef(BlockNumber(10_000), "0x" + "22" * 32, START)
    assert await market.served_jobs(us, at) == []
    crowd.settled = START
    later = replace(at, number=BlockNumber(10_001), timestamp=START + 1)
    assert await market.served_jobs(us, later) == [0]


async def test_listing__of_a_flood_of_dry_jobs__reads_some_each_time_and_each_in_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(seen, "DRY_A_LOOK", 100)
    us = Address("0x" + "11" * 20)
    crowd = Crowd(250, us)
    crowd.first_ours, crowd.settled = 0, START - 10**9
    market = Market(crowd, us, MarketV1Terms())
    at = BlockRef(BlockNumber(10_000), "0x" + "22" * 32, START)
    assert await market.served_jobs(us, at) == []
    for look in range(1, 4):
        crowd.calls = 0
        at = replace(at, number=BlockNumber(10_000 + look), timestamp=START + 60 * look)
        assert await market.served_jobs(us, at) == []
        assert crowd.calls == 1 + 1 + 2 * 100
    assert len(await market.open_jobs(us, at)) == 250, "who asks for all of them has all"
    crowd.settled, found = START, set[int]()  # all are paid for again, and no event told it
    for look in range(4, 7):
        at = replace(at, number=BlockNumber(10_000 + look), timestamp=START + 60 * look)
        found.update(await market.served_jobs(us, at))
    assert found == set(range(250))


async def test_ids__of_jobs_that_may_be_young__are_scanned_again_and_below_an_old_one_none() -> (
    None
):
    us = Address("0x" + "11" * 20)
    crowd = Crowd(300, us)
    at = BlockRef(BlockNumber(10_000), "0x" + "22" * 32, START)
    for settled, again in ((START - OLD_SECONDS + 1, 300), (START - OLD_SECONDS, 0)):
        crowd.settled, crowd.calls = settled, 0
        market = Market(crowd, us, MarketV1Terms())
        await market.served_jobs(us, at)
        crowd.calls = 0
        await market.served_jobs(us, replace(at, number=BlockNumber(10_001)))
        assert crowd.calls == 1 + again
