"""The market as the agent reads it, against the reference contracts on a real EVM."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.chain.rpc import NodeRefused
from agent.chain.transactions import Call
from agent.market.model import (
    Address,
    BlockNumber,
    BlockRef,
    JobId,
    JobStatus,
    Offer,
    Price,
    StopReason,
    Wei,
)
from agent.markets.registry.reads import Market, Stake, changed_jobs, job_topics, registry_abi
from agent.markets.registry.terms import RegistryTerms, dry_at

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration

TYPE = "us-east-1/c6a.xlarge"


async def test_params_tokens_stake__deployed__are_read(stage: Stage, market: Market) -> None:
    at = stage.head
    assert await market.params(at) == RegistryTerms(Wei(10**18), 300, 600, 120, 1)
    pond, payment = await market.tokens(at)
    assert (pond.address, pond.decimals) == (stage.pond, 18)
    assert (payment.address, payment.decimals) == (stage.payment, 6)
    assert await market.stake_of(stage.provider, at) == Stake(Wei(100 * 10**18), Wei(0))
    assert await market.balance(stage.payment, stage.provider, at) == 10**24
    assert await market.allowance(stage.pond, stage.signers[1].address, at) == 2**255


async def test_offers__of_two__come_cheapest_first(stage: Stage, market: Market) -> None:
    stage.offer(0, 500)
    stage.offer(2, 400)
    at = stage.head
    other = stage.signers[2].address
    assert await market.offers(TYPE, at) == [
        Offer(other, Price(400)),
        Offer(stage.provider, Price(500)),
    ]
    assert await market.offer(stage.provider, TYPE, at) == Price(500)
    assert await market.offer(stage.provider, "eu-west-1/c6a.xlarge", at) is None


async def test_rival__without_stake_for_a_job__is_passed_over(stage: Stage, market: Market) -> None:
    """An offer that nobody stands behind costs nothing to leave there: it moves nobody's price."""
    at, us, other = stage.head, stage.provider, stage.signers[2].address
    assert await market.rival(us, TYPE, at) is None
    stage.offer(0, 500)
    stage.offer(2, 400)
    assert await market.rival(us, TYPE, stage.head) == Price(400)
    assert await market.rival(other, TYPE, stage.head) == Price(500)
    stage.send(2, stage.calls.unstake(Wei(100 * 10**18)))
    assert await market.rival(us, TYPE, stage.head) is None


async def test_job__through_its_life__matches_the_arithmetic(stage: Stage, market: Market) -> None:
    stage.offer()
    job = stage.request(deposit=1000)
    params = await market.params(stage.head)
    seen = (await market.jobs([job], stage.head))[job]
    assert (seen.status, seen.provider, seen.escrow) == (
        JobStatus.BOOTSTRAPPING,
        stage.provider,
        1000,
    )
    stage.send(0, stage.calls.report_started(job, "1.2.3.4:1300"))
    started = (await market.jobs([job], stage.head))[job]
    assert started.endpoint == "1.2.3.4:1300"
    stage.clock.at += 100
    due = params.accrued(started, int(stage.clock.now()))
    stage.send(0, stage.calls.settle(job))
    settled = (await market.jobs([job], stage.head))[job]
    assert settled.escrow == 1000 - due
    assert dry_at(settled) == dry_at(started) == started.started_at + 1000
    stage.clock.at = float(started.started_at + 1000)
    assert params.is_over(settled, int(stage.clock.at))
    stage.send(0, stage.calls.settle(job))
    over = (await market.jobs([job], stage.head))[job]
    assert (over.stop_reason, over.stopped_at) == (
        StopReason.ESCROW_EXHAUSTED,
        started.started_at + 1000,
    )


async def test_jobs__some_unknown__leaves_those_out(stage: Stage, market: Market) -> None:
    stage.offer()
    first, second = stage.request(), stage.request()
    ids = [JobId(0), first, JobId(999), second, first, JobId(2**255)]
    head, before = stage.head, stage.node.requests
    assert set(await market.jobs(ids, head)) == {first, second}
    assert stage.node.requests - before == 1
    assert await market.jobs([], stage.head) == {}


async def test_jobs__user_wrote_no_utf8_and_any_price__reads_the_rest(
    stage: Stage, market: Market
) -> None:
    stage.offer()
    good = stage.request()
    data = registry_abi().encode("requestJob", TYPE, 2**256 - 1, "ipfs://AAAA", 5)
    stage.send(1, Call(stage.registry, data.replace(b"AAAA", b"\xff\xfe\x00\xc3"), "hostile"))
    hostile = JobId(good + 1)
    seen = await market.jobs([good, hostile], stage.head)
    assert seen[good].enclave_url == "ipfs://image"
    assert seen[hostile].enclave_url == "ipfs://\\xff\\xfe\x00\\xc3"
    assert seen[hostile].max_price.raw == Price.MAX_RAW


async def test_jobs_of__more_than_a_wave__lists_all_in_few_exchanges(
    stage: Stage, market: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.markets.registry.reads.PAGE", 2)
    stage.offer()
    mine = [stage.request(10) for _ in range(9)]
    before = stage.node.requests
    assert sorted(await market.jobs_of(stage.provider, stage.head)) == mine
    assert stage.node.requests - before == 3  # what bounds the list, then the list
    assert await market.jobs_of(stage.signers[2].address, stage.head) == []
    before = stage.node.requests
    assert len(await market.jobs(mine, stage.head)) == 9
    assert stage.node.requests - before == 1


async def test_reads__at_an_older_block__see_that_block(stage: Stage, market: Market) -> None:
    stage.offer()
    before = stage.head
    job = stage.request()
    assert await market.jobs([job], before) == {}
    assert await market.job_count(before) == 0
    assert await market.job_count(stage.head) == 1


async def test_reads__at_a_block_of_another_fork__are_refused(stage: Stage, market: Market) -> None:
    nowhere = BlockRef(BlockNumber(3), "0x" + "ab" * 32, 0)
    with pytest.raises(NodeRefused):
        await market.params(nowhere)


def test_changed_jobs__own_and_foreign_logs__names_ours_and_the_open_ones() -> None:
    topics = registry_abi().topics
    us, them = "0x" + "11" * 20, "0x" + "22" * 20

    def log(name: str, job: int, who: str) -> dict[str, Any]:
        return {"topics": [topics[name], f"0x{job:064x}", "0x" + "00" * 12 + who[2:]]}

    logs = [
        log("JobAssigned", 1, us), log("JobAssigned", 2, them), log("FundsAdded", 3, them),
        log("JobSlashed", 4, us), log("JobRequested", 5, us), log("JobStopped", 6, them),
        {"topics": []}, {}, {"topics": ["0x12"]}, {"topics": [topics["JobStopped"], "zz", "0x"]},
        {"topics": None}, {"topics": [7, 8, 9]},
    ]  # fmt: skip
    assert changed_jobs(logs, Address(us)) == {1, 3, 4}
    assert changed_jobs(logs) == {1, 2, 3, 4, 6}
    assert len(job_topics()) == 8
