"""What a type cost at each moment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.journal.lines import COSTED, Event
from agent.load.cost_history import CostHistory
from agent.load.costs import Cost
from agent.market.model import Price

pytestmark = pytest.mark.unit

KIND = "us-east-1/c6a.xlarge"
NOW = Cost(Price(7), "now")
times = st.integers(0, 1000)


def history(changes: list[tuple[int, int]]) -> CostHistory:
    return CostHistory.of(
        Event(at, COSTED, fields={"type": KIND, "price": str(raw), "source": "then"})
        for at, raw in changes
    )


@given(st.lists(st.tuples(times, st.integers(1, 9)), max_size=6), times, times)
def test_spans__of_any_changes__are_each_second_once_at_its_own_cost(
    changes: list[tuple[int, int]], start: int, end: int
) -> None:
    found = list(history(changes).spans(KIND, start, end, NOW))
    seconds = [
        (at, span.cost.price.raw)
        for span in found
        for at in range(int(span.start), int(span.end))
        if span.cost.price is not None
    ]
    known = sorted(changes, key=lambda one: one[0])
    for (at, raw), wanted in zip(seconds, range(start, end), strict=True):
        before = [price for when, price in known if when <= at]
        assert at == wanted
        assert raw == (before[-1] if before else known[0][1] if known else 7)


def test_spans__lines_that_say_nothing__are_left_out() -> None:
    broken = [Event(5, COSTED, fields={"type": KIND}), Event(6, COSTED)]
    (span,) = CostHistory.of(broken).spans(KIND, 0, 10, NOW)
    assert span.cost == NOW
