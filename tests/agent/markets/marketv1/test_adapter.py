"""The provider's view of MarketV1: what it remembers beside the chain."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.market.model import JobId, Price, StopReason, Wei
from agent.markets.marketv1.adapter import ProviderMarketV1
from agent.markets.marketv1.reads import Market
from agent.markets.marketv1.terms import MarketV1Terms
from tests.agent.markets.marketv1.conftest import CARD, Live
from tests.agent.samples import JOB, REGISTRY

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
    assert view.took(job, bought=True) == job.price
    lower = replace(job, price=Price(1))
    assert view.took(lower, bought=True) is None  # what it was taken for stays
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


@pytest.mark.parametrize(
    ("rate", "bought", "taken"),
    [
        (CARD.raw, False, CARD.raw),
        (3 * CARD.raw, False, 3 * CARD.raw),
        (CARD.raw // 2, False, CARD.raw // 2),  # of the time before the card was raised
        (CARD.raw // 2 - 1, False, CARD.raw // 2),
        (1, False, CARD.raw // 2),
        (0, False, CARD.raw // 2),
        (1, True, 1),  # vetted just now
    ],
)
def test_took__a_job_that_is_found_running_for_next_to_nothing__was_not_taken_so(
    rate: int, bought: bool, taken: int
) -> None:
    """Its journal is lost, and its user lowered the rate long ago: it is not served for ever."""
    nobody: Any = None
    market = Market(nobody, REGISTRY, MarketV1Terms({JOB.instance_type: CARD}))
    view = ProviderMarketV1(market, nobody, JOB.provider)
    job = replace(JOB, price=Price(rate), escrow=Wei(10**6))
    assert view.took(job, bought=bought) == Price(taken)
    lowered = replace(job, agreed=market.seen.taken[job.id])
    end = market.own_terms.ending(lowered)
    assert end is not None
    assert (end.reason is StopReason.RATE_LOWERED) == (rate < taken)
