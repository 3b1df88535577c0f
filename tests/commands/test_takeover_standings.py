"""What a takeover holds for over: what is so at the head and in the final block, not one alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agent.market.model import JobId, Price, Wei
from agent.markets.marketv1.reads import Market
from commands.takeover_plan import Standing as Stands
from commands.taking_over import _standings
from tests.agent.markets.marketv1.conftest import Live, endpoints, live, market, opened

__all__ = ["endpoints", "live", "market", "opened"]

pytestmark = [pytest.mark.integration, pytest.mark.asyncio]

JOB = JobId(0)
FINAL_BEHIND = 3  # blocks


async def stands(live: Live, market: Market) -> Stands:
    """How job 0 stands by the command."""
    chain = SimpleNamespace(
        finality=str(FINAL_BEHIND), market="marketv1", chain_id=1, registry=market.contract
    )
    config = SimpleNamespace(chain=chain)
    desk: Any = SimpleNamespace(
        config=config, endpoints=market._reader, reads=market, provider=live.address(0)
    )
    standing: Any = SimpleNamespace(at=live.head, terms=market.own_terms)
    return (await _standings(desk, standing, [JOB], None))[JOB].standing


async def test_takeover__job_that_a_deposit_revived_just_now__is_not_over(
    live: Live, market: Market
) -> None:
    live.open(balance=400)
    live.clock.at = float(live.head.timestamp + 500)
    live.mine(FINAL_BEHIND + 2)
    assert await stands(live, market) is Stands.OVER
    live.send(1, live.calls.deposit(JOB, Wei(5_000)))
    assert await stands(live, market) is Stands.OURS_COMES


async def test_takeover__notice_that_was_taken_back_just_now__leaves_the_job_alive(
    live: Live, market: Market
) -> None:
    live.open(balance=100_000)
    live.send(1, live.calls.announce(JOB, Price(0)))
    live.clock.at = float(live.head.timestamp + 301)
    live.mine(FINAL_BEHIND + 2)
    assert await stands(live, market) is Stands.OVER
    live.send(1, live.calls.cancel(JOB))
    assert await stands(live, market) is Stands.OURS_COMES
