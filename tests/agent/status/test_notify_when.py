"""Word of trouble: told once it lasts, told when it is over, and never a flood."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.status.health import STANDBY, Grade, Health, Part
from agent.status.notify_when import HOUR, Word, WordRules

pytestmark = pytest.mark.unit

AWAY = Part("region", "us-east-1", Grade.FAIL, "AWS was not seen for 70 s")
FILE = Part("file", "", Grade.WARN, "the file differs")
RULES = WordRules(lasting_seconds=60, repeat_seconds=HOUR, per_hour=3)


def titles(word: Word, now: float, *parts: Part, rules: WordRules = RULES) -> list[str]:
    return [each.title.removeprefix("oyster-provider: ") for each in
            word.look(Health(parts), now, rules)]  # fmt: skip


def test_word__a_trouble_that_lasts__is_told_once_then_after_long_then_its_end() -> None:
    word = Word()
    assert titles(word, 0, AWAY) == []
    assert titles(word, 59, AWAY) == []
    assert titles(word, 60, AWAY) == ["region us-east-1: not ready"]
    assert titles(word, 1000, AWAY) == []
    assert titles(word, 60 + HOUR, AWAY) == ["region us-east-1: not ready"]
    assert titles(word, 62 + HOUR) == ["region us-east-1 is well again"]
    assert titles(word, 63 + HOUR) == []


def test_word__a_trouble_of_a_moment__is_not_told_nor_its_end() -> None:
    word = Word()
    assert titles(word, 0, AWAY) == titles(word, 30) == titles(word, 200) == []


def test_word__each_harm__is_told_at_once() -> None:
    word = Word()
    for number in (1, 2):
        harm = Part("jobs", "", Grade.WARN, f"{number} missed within the hour")
        assert titles(word, number, harm) == ["jobs: look"]
        assert titles(word, number + 0.5, harm) == []


def test_word__only_what_is_wanted__is_told() -> None:
    rules = WordRules(least=Grade.FAIL, lasting_seconds=0)
    assert titles(Word(), 0, FILE, AWAY, rules=rules) == ["region us-east-1: not ready"]


def test_word__more_than_an_hour_takes__is_held_back_and_counted() -> None:
    word, rules = Word(), WordRules(lasting_seconds=0, per_hour=3)
    parts = [Part("offer", f"t{n}", Grade.WARN, "x") for n in range(5)]
    assert len(word.look(Health(tuple(parts)), 0, rules)) == 3
    (later,) = word.look(Health((*parts, AWAY)), HOUR + 1, rules)
    assert later.body.endswith("(2 more were held back; see `status`)")


@given(
    st.lists(st.tuples(st.floats(0, 600), st.sets(st.integers(0, 8))), min_size=1, max_size=60),
    st.integers(1, 5),
)
def test_word__any_troubles__never_more_an_hour_than_asked(
    looks: list[tuple[float, set[int]]], per_hour: int
) -> None:
    word, rules, now = Word(), WordRules(lasting_seconds=0, per_hour=per_hour), 0.0
    sent: list[float] = []
    for step, names in looks:
        now += step
        parts = tuple(Part("offer", str(n), Grade.WARN, "x") for n in sorted(names))
        sent += [now] * len(word.look(Health(parts), now, rules))
    for at in sent:
        within = Counter(at <= other < at + HOUR for other in sent)
        assert within[True] <= per_hour


def test_word__another_host_leads__is_no_trouble_nor_is_that_it_ends() -> None:
    word, waits = Word(), Part(STANDBY, "", Grade.FAIL, "stands by: another host leads")
    assert titles(word, 0, waits) == titles(word, 60, waits) == titles(word, 61) == []
