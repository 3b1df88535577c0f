"""Whose end a confirmation is about: the journal's order decides, whatever clocks say."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import sqlalchemy as sa
from hypothesis import example, given
from hypothesis import strategies as st

from agent.journal.asked_ends import asked_ends, confirmed
from agent.journal.lines import END_ASKED, END_TAKEN_BACK, ENDED, HELD
from agent.journal.migrating import migrate
from agent.journal.orders import OrderKind, Orders
from agent.journal.schema import orders, timeline
from agent.market.model import JobId

pytestmark = pytest.mark.unit

ONE, TWO = JobId(1), JobId(2)
NAMED, ALL = "confirmed by name", "all that are held confirmed"
OPS = (END_ASKED, HELD, END_TAKEN_BACK, ENDED, NAMED, ALL)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> sa.Engine:
    made = sa.create_engine(f"sqlite:///{tmp_path_factory.mktemp('asked')}/journal.sqlite")
    migrate(made)
    return made


def played(engine: sa.Engine, script: Sequence[tuple[str, float]]) -> bool:
    """Whether the journal says that ONE's end is confirmed, after lines and orders of any time."""
    with engine.begin() as connection:
        connection.execute(sa.delete(timeline))
        connection.execute(sa.delete(orders))
    for what, at in script:
        if what in (NAMED, ALL):
            job = ONE if what == NAMED else None
            Orders(engine).place(at, OrderKind.CONFIRM_TERMINATIONS, job, "me")
        else:
            row = {"at": at, "job": ONE, "name": what, "level": 20, "text": "", "fields": {}}
            with engine.begin() as connection:
                connection.execute(sa.insert(timeline).values(row))
    ends = asked_ends(engine)
    return any(ONE in confirmed(order, ends) for order in Orders(engine).after())


def meant(script: Sequence[tuple[str, float]]) -> bool:
    """The same by what a person could see when each order was given."""
    asked = held = done = False
    for what, _ in script:
        if what in (END_TAKEN_BACK, ENDED):
            asked = held = done = False
        elif what == END_ASKED:
            asked = True
        elif what == HELD:
            held = True
        elif what == NAMED:
            done |= asked or held
        else:
            done |= held
    return done


@given(st.lists(st.tuples(st.sampled_from(OPS), st.sampled_from([0.0, 100.0, -1e9, 1e9]))))
@example([(HELD, 120.0), (ALL, 105.0)])  # the host that holds is 20 s ahead of where it is ordered
@example([(ALL, 120.0), (HELD, 105.0)])  # and the other way round: it was not to be seen yet
@example([(HELD, 0.0), (NAMED, 0.0), (END_ASKED, 0.0)])
@example([(END_ASKED, 0.0), (NAMED, 0.0), (HELD, 0.0)])
def test_confirmation__by_any_host_s_clock__is_about_what_could_be_seen(
    engine: sa.Engine, script: list[tuple[str, float]]
) -> None:
    assert played(engine, script) == meant(script)


def test_confirmation__of_an_earlier_version__goes_by_its_time(engine: sa.Engine) -> None:
    played(engine, [(HELD, 100.0)])
    kind = OrderKind.CONFIRM_TERMINATIONS
    with engine.begin() as connection:
        for at in (99.0, 101.0):
            connection.execute(sa.insert(orders).values(at=at, kind=kind, by="me"))
    ends = asked_ends(engine)
    assert [confirmed(order, ends) for order in Orders(engine).after()] == [set(), {ONE}]


def test_confirmation__of_one_job__is_about_no_other(engine: sa.Engine) -> None:
    played(engine, [(HELD, 100.0)])
    Orders(engine).place(200.0, OrderKind.CONFIRM_TERMINATIONS, TWO, "me")
    (order,) = Orders(engine).after()
    assert confirmed(order, asked_ends(engine)) == set()
