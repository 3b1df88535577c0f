"""What the journal told of each job, read from a real one as it grows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.decide.job_view import LaunchPhase
from agent.journal.engines import open_file
from agent.journal.lines import ASSIGNED, ATTESTED, ENDED, SLASHED, Event, LaunchRecord
from agent.journal.reading import Reader
from agent.journal.writing import Journal
from agent.market.model import JobId
from agent.status import notebook
from agent.status.books import ended_at, past_row, start_seconds
from agent.status.notebook import Notebook
from tests.agent.samples import JOB

pytestmark = pytest.mark.unit

ONE, TWO = JobId(1), JobId(2)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(open_file(tmp_path / "journal.sqlite"))


def _line(journal: Journal, at: float, name: str, job: JobId = ONE, **fields: object) -> None:
    journal.event(Event(at, name, job, 1, 20, str(fields.pop("text", "")), fields))


def _launched(journal: Journal, at: float, phase: LaunchPhase = LaunchPhase.LAUNCHED) -> None:
    journal.launch(LaunchRecord(at, ONE, 1, 1, "us-east-1", "c6a.xlarge", phase, "i-1"))


def test_notebook__a_whole_job__is_told_from_its_assignment_to_its_end(journal: Journal) -> None:
    kind = "us-east-1/c6a.xlarge"
    _line(journal, 110.0, ASSIGNED, assigned_at=100, instance_type=kind)
    _launched(journal, 112.0, LaunchPhase.ASKED)
    _launched(journal, 113.0)
    _line(journal, 140.0, ATTESTED)
    _line(journal, 150.0, "job.refused", text="price: too low")
    _line(journal, 190.0, ATTESTED)
    _line(journal, 900.0, ENDED, text="user_request")
    journal.flush()
    book = Notebook()
    book.read(Reader(journal.engine))
    row = past_row(ONE, book.jobs[ONE], 5, None)
    assert (row.instance_type, row.assigned_at, row.ended_at) == (kind, 100.0, 900.0)
    assert (row.outcome, row.harms, row.start_seconds) == ("user_request", ("refused",), 40.0)
    assert row.earned == 5
    assert book.jobs[ONE].launches == [113.0]
    assert [harm.text for harm in book.harms(since=0.0)] == ["price: too low"]
    assert list(book.harms(since=151.0)) == []


def test_notebook__read_again__takes_what_is_new_and_doubles_nothing(journal: Journal) -> None:
    book, reader = Notebook(), Reader(journal.engine)
    _line(journal, 1.0, ASSIGNED, assigned_at=1)
    _launched(journal, 2.0)
    journal.flush()
    book.read(reader)
    _launched(journal, 50.0)
    _line(journal, 60.0, SLASHED, TWO, amount=str(10**20), text="100 POND")
    journal.flush()
    for _ in range(2):
        book.read(reader)
    assert book.jobs[ONE].launches == [2.0, 50.0]
    assert book.jobs[TWO].slashed == 10**20
    assert len(list(book.harms(since=0.0))) == 1


def test_notebook__too_many_jobs__lets_the_oldest_go(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "MOST_JOBS", 3)
    monkeypatch.setattr(notebook, "PART", 2)
    for number in range(1, 8):
        _line(journal, float(number), ASSIGNED, JobId(number))
    journal.flush()
    book = Notebook()
    book.read(Reader(journal.engine))
    assert sorted(book.jobs) == [5, 6, 7]


def test_start_and_end__by_the_chain_where_it_tells__else_by_what_was_seen() -> None:
    seen = notebook.Chapter("t", assigned_at=100.0, attested_at=130.0, ended_at=500.0)
    told = replace(JOB, assigned_at=100, started_at=145, stopped_at=480)
    assert (start_seconds(seen, None), start_seconds(seen, told)) == (30.0, 45.0)
    assert (ended_at(seen, None), ended_at(seen, told)) == (500.0, 480.0)
    assert start_seconds(notebook.Chapter("t", 100.0), None) is None
    opened = replace(told, started_at=told.assigned_at)
    assert start_seconds(seen, opened, told=False) == 30.0, "paid from its opening, up by its proof"
