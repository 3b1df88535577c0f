"""Whatever JSON a node answers MarketV1's reader, it is at worst unusable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.chain.endpoints import Endpoints
from agent.market.model import JobId
from agent.markets.marketv1.reads import Market, jobs_in
from agent.markets.marketv1.seen import Seen
from agent.markets.marketv1.terms import MarketV1Terms
from tests.agent.markets.marketv1.conftest import CARD, KIND, Live
from tests.fuzz.liar import MANY, NODE_S, Json, Liar, usable, worded

pytestmark = pytest.mark.integration


async def _jobs(market: Market, live: Live) -> Json:
    found = await market.jobs([JobId(0), JobId(1), JobId(7)], live.head)
    usable([asdict(job) for job in found.values()])


async def _listing(market: Market, live: Live) -> Json:
    usable(list(await market.listing(live.address(0), live.head)))


async def _token(market: Market, live: Live) -> Json:
    usable(asdict(await market.payment_token(live.head)))
    usable([await market.provider_url(live.address(0), live.head)])
    usable([await market.implementation(live.head)])


async def _logs(market: Market, live: Live) -> Json:
    ours = set[JobId]()
    found = jobs_in(await market.job_logs(1, live.head), live.address(0), ours)
    assert all(0 <= job < 2**63 for job in found | ours)


@pytest.mark.parametrize("reader", [_jobs, _listing, _token, _logs])
def test_reader__any_json_from_its_node__gives_usable_values_or_a_fault(
    live: Live, reader: Callable[[Market, Live], Awaitable[Json]], quiet: None
) -> None:
    live.open(balance=500)
    live.open(provider=2)

    async def once(data: st.DataObject) -> None:
        liar = Liar(live.node)
        endpoints = await Endpoints.over([liar], live.clock)
        market = Market(endpoints, live.contract, MarketV1Terms({str(KIND): CARD}), Seen())
        liar.data, before = data, live.clock.at
        await worded(reader(market, live), NODE_S)
        liar.data, live.clock.at = None, before + 400
        await reader(market, live)
        await endpoints.close()
        live.clock.at = before

    @MANY
    @given(st.data())
    def run(data: st.DataObject) -> None:
        asyncio.run(once(data))

    run()
