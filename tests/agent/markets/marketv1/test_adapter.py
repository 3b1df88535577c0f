"""The provider's view of MarketV1: what it remembers beside the chain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.market.model import JobId, Price, StopReason
from agent.markets.marketv1.adapter import ProviderMarketV1
from agent.markets.marketv1.reads import Market
from tests.agent.markets.marketv1.conftest import CARD, Live

pytestmark = pytest.mark.integration


async def test_took__a_rate_that_is_lowered_afterwards__ends_the_job_for_every_reader(
    live: Live, market: Market
) -> None:
    """As the core asks it, and as a second endpoint tells it, by the same memory."""
    nobody: Any = None
    view = ProviderMarketV1(market, nobody, live.address(0))
    live.open(rate=CARD.raw)
    job = (await view.jobs([JobId(0)], live.head))[JobId(0)]
    assert job.agreed is None
    assert view.took(job)
    assert not view.took(replace(job, price=Price(1)))  # what it was taken for stays
    live.send(1, live.calls.announce(JobId(0), Price(CARD.raw - 1)))
    live.clock.at = float(live.head.timestamp + 301)
    live.send(1, live.calls.revise(JobId(0)))
    for reader in (market, market.through(market._reader)):
        lowered = (await reader.jobs([JobId(0)], live.head))[JobId(0)]
        assert (lowered.agreed, lowered.notice) == (CARD, None)
        end = market.own_terms.ending(lowered)
        assert end is not None
        assert end.reason is StopReason.RATE_LOWERED
        assert market.own_terms.is_over(lowered, live.head.timestamp)
    assert await market.served_jobs(live.address(0), live.head) == []
