"""A market for each test, on a fork of one that was deployed once."""

from __future__ import annotations

import pytest

from tests.contracts.market import Market


@pytest.fixture
def market() -> Market:
    return Market()
