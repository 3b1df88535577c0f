"""What jobs were taken for, over restarts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.decide.job_view import Facts, JobView
from agent.journal.engines import open_file
from agent.journal.lines import ENDED, TAKEN, Event
from agent.journal.reading import Reader
from agent.journal.writing import Journal
from agent.load.agreements import accepted_asks, agreed_rates, fields_of, rate_counts
from agent.market.model import ZERO_ADDRESS, Job, JobId, Price, Wei
from agent.market.workload import Ask
from agent.markets.marketv1.terms import MarketV1Terms
from tests.agent.samples import ACCOUNT, BLOCK, JOB, NOW

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


def test_line__of_what_a_job_asks_for_alone__states_no_rate(tmp_path: Path) -> None:
    """Its user lowered the rate after such a line: the present one of then, which nobody had agreed
    to, was the first in the journal, and after the next restart the job was ended for paying
    less."""
    engine = open_file(tmp_path / "journal.sqlite")
    journal = Journal(engine)
    ask = Ask("0xu", "us-east-1/c6a.xlarge", "aaaa", "bbbb")
    for price in (None, Price(3)):
        journal.event(Event(5.0, TAKEN, JobId(0), 1, fields=fields_of(price, ask)))
    journal.flush()
    assert agreed_rates(Reader(engine)) == {0: Price(3)}
    assert accepted_asks(Reader(engine)) == {0: ask}
    journal.close()


def test_ask__of_the_journal__is_the_last_that_was_accepted(tmp_path: Path) -> None:
    engine = open_file(tmp_path / "journal.sqlite")
    journal = Journal(engine)
    first = Ask("0xu", "us-east-1/c6a.xlarge", "aaaa", "bbbb")
    second = replace(first, content="cccc")
    for ask in (first, second):
        fields = fields_of(Price(7), ask)
        journal.event(Event(5.0, TAKEN, JobId(0), 1, fields=fields))
    journal.event(Event(5.0, TAKEN, JobId(1), 1, fields={"price": "7"}))  # of an older version
    journal.flush()
    assert accepted_asks(Reader(engine)) == {0: second}
    journal.close()


@pytest.mark.parametrize(
    ("outcome", "standing"), [("unknown", Price(7)), ("escrow_exhausted", Price(2**200))]
)
def test_agreement__of_an_id_that_came_to_nothing__is_not_the_next_ones(
    outcome: str, standing: Price, tmp_path: Path
) -> None:
    """A node had told of a job at a rate that nobody pays: the true one of that id, lowered by
    nothing, was ended as paying less. One that ran dry is the same job when money comes."""
    engine = open_file(tmp_path / "journal.sqlite")
    journal = Journal(engine)
    lie, true = (Ask("0xu", "us-east-1/c6a.xlarge", word, "bbbb") for word in ("lie", "true"))
    for at, price, ask in ((5.0, Price(2**200), lie), (9.0, Price(7), true)):
        journal.event(Event(at, TAKEN, JobId(0), 1, fields=fields_of(price, ask)))
        if at == 5.0:
            journal.event(Event(6.0, ENDED, JobId(0), 1, text=outcome))
    journal.flush()
    assert agreed_rates(Reader(engine)) == {0: standing}
    assert accepted_asks(Reader(engine)) == {0: true}
    journal.close()


OPEN = replace(JOB, started_at=NOW - 10, settled_until=NOW - 10, escrow=Wei(10_000))


@pytest.mark.parametrize(
    ("buys", "proven", "job", "counts"),
    [
        (True, None, OPEN, True),
        (False, 1, OPEN, True),  # up, whoever brought it up
        (False, None, OPEN, False),  # refused, or waiting
        (False, 1, replace(OPEN, escrow=Wei(0)), False),  # over: what it pays is no price of ours
        (False, 1, replace(OPEN, price=Price(0)), False),
        (False, 1, replace(OPEN, provider=ZERO_ADDRESS), False),
        (True, 1, None, False),
    ],
)
def test_rate__of_a_job_that_is_bought_for_or_up__is_what_it_is_served_for(
    buys: bool, proven: int | None, job: Job | None, counts: bool
) -> None:
    view = JobView(
        JobId(1), ACCOUNT, MarketV1Terms(), BLOCK, job, facts=Facts(proven=proven)
    )  # fmt: skip
    assert (rate_counts(view, float(NOW), buys=buys) is not None) == counts
