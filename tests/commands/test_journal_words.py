"""What a line of a timeline says of an event."""

from __future__ import annotations

import pytest

from agent.journal.lines import Event
from commands.journal import words

pytestmark = pytest.mark.unit


def _event(**fields: object) -> Event:
    return Event(at=1.0, name="tx.report_started", fields=fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"fee_wei": "128722196590416"}, "fee=0.000129 coin"),
        ({"fee_wei": 21_000}, "fee=21000wei"),
        ({"race": False}, "race=false"),
        ({"attempt": 2}, "attempt=2"),
        ({"deadline": 3_600}, "deadline=01:00:00"),
    ],
)
def test_words__a_field__is_said_as_a_person_reads_it(fields: dict[str, object], said: str) -> None:
    assert words(_event(**fields)) == f"tx.report_started {said}"
