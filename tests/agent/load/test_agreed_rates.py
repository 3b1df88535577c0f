"""What jobs were taken for, over restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.journal.engines import open_file
from agent.journal.lines import TAKEN, Event
from agent.journal.reading import Reader
from agent.journal.writing import Journal
from agent.load.agreed_rates import agreed_rates
from agent.market.model import JobId, Price

pytestmark = pytest.mark.unit


def test_rates__of_the_journal__are_the_jobs_and_old_or_odd_lines_tell_none(tmp_path: Path) -> None:
    engine = open_file(tmp_path / "journal.sqlite")
    journal = Journal(engine)
    told = {0: {"price": str(2**256 - 1)}, 1: {}, 2: {"price": "-5"}, 3: {"price": "7"}}
    for job, fields in told.items():
        journal.event(Event(5.0, TAKEN, JobId(job), 1, fields=fields))
    journal.event(Event(9.0, TAKEN, JobId(3), 1, fields={"price": "1"}))  # the first one counts
    journal.flush()
    assert agreed_rates(Reader(engine)) == {0: Price(2**256 - 1), 3: Price(7)}
    journal.close()
