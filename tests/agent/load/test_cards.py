"""What our rate cards asked over time; a job is judged by what stood when it was matched."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.job_view import Facts, JobView
from agent.decide.refusal import PolicyRules, vet
from agent.journal.migrating import migrate
from agent.journal.reading import Reader
from agent.journal.writing import Journal
from agent.load.cards import READING_SECONDS, Cards
from agent.market.model import Price
from agent.markets.marketv1.terms import MarketV1Terms
from tests.agent.samples import ACCOUNT, BLOCK, JOB

pytestmark = pytest.mark.unit

KIND = JOB.instance_type
HOUR = 3600.0


def shown(*changes: tuple[float, int | None]) -> Cards:
    cards = Cards()
    for at, raw in changes:
        cards.show({} if raw is None else {KIND: Price(raw)}, at, lambda event: None)
    return cards


@pytest.mark.parametrize(
    ("matched_at", "asked"),
    [
        (0.0, 5),
        (HOUR + 10, 5),  # read before it was raised
        (HOUR + READING_SECONDS - 1, 5),
        (HOUR + READING_SECONDS + 1, 9),
        (2 * HOUR + 10, 9),  # read before it was taken away
        (3 * HOUR, None),
    ],
)
def test_asked__at_a_match__is_the_least_that_could_have_been_read(
    matched_at: float, asked: int | None
) -> None:
    cards = shown((0, 5), (HOUR, 9), (2 * HOUR, None))
    found = cards.asked(KIND, matched_at)
    assert (found.raw if found else None) == asked


def test_asked__of_what_was_never_shown__is_not_known() -> None:
    assert Cards().asked(KIND, 5.0) is None


@given(st.lists(st.tuples(st.integers(0, 5000), st.one_of(st.none(), st.integers(1, 9)))))
def test_cards__after_a_start__are_what_the_journal_was_told(
    changes: list[tuple[int, int | None]],
) -> None:
    engine = sa.create_engine("sqlite://")
    migrate(engine)
    journal, cards = Journal(engine), Cards()
    for at, raw in sorted(changes, key=lambda one: one[0]):
        cards.show({} if raw is None else {KIND: Price(raw)}, at, journal.event)
    journal.flush()
    again = Cards()
    again.restore(Reader(engine))()
    assert again == cards
    engine.dispose()


def judged(pays: int, asked: int | None, now: int | None) -> list[str]:
    job = replace(JOB, price=Price(pays))
    rules = PolicyRules(
        prices={KIND: Price(now)} if now else {"us-east-1/m5.large": Price(1)},
        min_escrow_seconds=0,
    )
    facts = Facts(asked=None if asked is None else Price(asked))
    view = JobView(
        id=job.id, account=ACCOUNT, terms=MarketV1Terms(), head=job, head_block=BLOCK, facts=facts
    )
    return [one.rule for one in vet(view, rules) if one.rule in ("price", "type")]


@pytest.mark.parametrize(
    ("pays", "asked", "now", "refused"),
    [
        (5, 5, 9, []),  # raised while it was on its way
        (5, 9, 5, []),  # lowered: what is asked now is enough
        (4, 5, 9, ["price"]),
        (5, 5, None, []),  # taken out of the file while it was on its way
        (5, None, None, ["type"]),
        (5, None, 9, ["price"]),
    ],
)
def test_job__of_a_market_without_listings__is_judged_by_the_card_of_its_match(
    pays: int, asked: int | None, now: int | None, refused: list[str]
) -> None:
    assert judged(pays, asked, now) == refused
