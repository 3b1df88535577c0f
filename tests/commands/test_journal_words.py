"""What a line of a timeline says of an event, and a journal that is not there yet."""

from __future__ import annotations

from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import pytest

from agent.journal.lines import Event
from agent.journal.wording import words
from commands.journal import open_reader

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


def test_words__a_price__is_said_in_the_markets_token_where_that_is_known() -> None:
    event = Event(at=1.0, name="job.taken", fields={"price": "555555555555555"})
    assert words(event) == "job.taken price=555555555555555"
    assert words(event, lambda price: f"{price.text(6)}!") == "job.taken price=2/h!"


def test_reader__no_journal_yet__is_an_empty_one_for_every_thread(tmp_path: Path) -> None:
    config = SimpleNamespace(
        journal=SimpleNamespace(url_file=""), journal_file=tmp_path / "journal.db"
    )
    with open_reader(config) as reader:  # type: ignore[arg-type] # what it looks at
        found: list[object] = []
        asking = Thread(target=lambda: found.append(list(reader.launches_outside(["us-east-1"]))))
        asking.start()
        asking.join()
        assert found == [list(reader.launches_outside(["us-east-1"]))] == [[]]
