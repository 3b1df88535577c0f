"""A market for each test, on a fork of one that was deployed once."""

from __future__ import annotations

import pytest

from tests.contracts.market import UNIT, Market


@pytest.fixture
def market() -> Market:
    return Market()


@pytest.fixture
def running(market: Market) -> Market:
    """Job 1 of USER by PROVIDERS[0], a base unit a second, 1000 deposited, started at T0."""
    market.serve()
    return market


@pytest.fixture
def assigned(market: Market) -> Market:
    """The same job, not started."""
    market.provider(0, UNIT)
    market.request(deposit=1000)
    return market
