"""What MarketV1 paid us, counted once, however often and in whatever words logs come."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.history.earnings import Earnings, settled_topic
from agent.journal.engines import open_file
from agent.journal.lines import PAID, Event
from agent.journal.reading import Reader
from agent.journal.writing import Journal
from agent.market.model import Address, JobId
from tests.agent.samples import OTHER, US
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit

DAY = 86_400
T0 = 20_000 * DAY


def settled(job: int, amount: int, at: int = T0, tx: str = "0x1") -> dict[str, Any]:
    data = f"0x{amount:064x}{at:064x}"
    return {
        "topics": [settled_topic(), f"0x{job:064x}"], "data": data, "transactionHash": tx,
    }  # fmt: skip


def counted(told: list[Event], *ours: int, provider: Address = US) -> Earnings:
    return Earnings(provider, {JobId(job) for job in ours}, StandingClock(5.0), told.append)


def test_settlement__of_ours__is_told_once_with_its_time() -> None:
    told: list[Event] = []
    earnings = counted(told, 0)
    for _ in range(3):
        assert earnings.jobs_in([settled(0, 70, T0 + 9)]) == {0}
    (event,) = told
    assert (event.name, event.job, event.at) == (PAID, 0, T0 + 9)
    assert (event.fields["amount"], earnings.total) == ("70", 70)


def test_settlement__of_somebody_else_or_of_nothing__is_not_told() -> None:
    told: list[Event] = []
    earnings = counted(told, 1)
    earnings.jobs_in([settled(0, 70), settled(1, 0)])
    assert (told, earnings.total) == ([], 0)


def test_settlements__of_several_days__are_told_apart() -> None:
    earnings = counted([], 0)
    earnings.jobs_in(
        [settled(0, 1, T0 - 1, "a"), settled(0, 20, T0, "b"), settled(0, 300, T0 + 99, "c")]
    )
    assert (earnings.total, earnings.since(T0), earnings.since(T0 + DAY)) == (321, 320, 0)
    assert (earnings.of(JobId(0)), earnings.of(JobId(1))) == (321, 0)


def test_restored__from_the_journal__counts_on_and_tells_nothing_twice(tmp_path: Path) -> None:
    journal = Journal(open_file(tmp_path / "j.sqlite"))
    try:
        first = Earnings(US, {JobId(0)}, StandingClock(5.0), journal.event)
        first.jobs_in([settled(0, 70, tx="a"), settled(0, 5, tx="b")])
        journal.flush()
        told: list[Event] = []
        again = counted(told)
        again.restore(Reader(journal.engine))()
        again.jobs_in([settled(0, 70, tx="a"), settled(0, 8, tx="c")])
        assert ([one.fields["tx"] for one in told], again.total) == (["c"], 83)
    finally:
        journal.close()


def test_restored__from_a_journal_in_which_two_hosts_told_of_one__counts_it_once() -> None:
    class Twice:
        def named(self, _name: str) -> list[Event]:
            return [Event(T0, PAID, JobId(0), fields={"amount": "70", "tx": "a"})] * 2

        def assigned(self) -> set[JobId]:
            return set()

    earnings = counted([])
    earnings.restore(cast(Reader, Twice()))()
    assert (earnings.total, earnings.of(JobId(0))) == (70, 70)


odd = st.one_of(
    st.none(), st.integers(), st.text(max_size=5), st.lists(st.text(max_size=70), max_size=3)
)


KEYS = st.sampled_from(["topics", "data", "transactionHash"])


@given(st.dictionaries(KEYS, odd, max_size=3), odd)
def test_logs__that_are_none__are_passed_over(log: dict[str, Any], job: object) -> None:
    told: list[Event] = []
    earnings = counted(told, 0, provider=OTHER)
    for each in (log, {**log, "topics": [settled_topic(), job]}, {**settled(0, 5), **log}):
        earnings.jobs_in([each])
    assert len(told) <= 1
