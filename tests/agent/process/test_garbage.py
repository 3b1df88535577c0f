"""What a full collection looks at: what is new, and all of it once an hour."""

from __future__ import annotations

import gc
import weakref

import pytest

from agent.process.garbage import ALL_SECONDS, set_aside

pytestmark = pytest.mark.unit


class Ring:
    """Only a collection frees it."""

    def __init__(self) -> None:
        self.me = self


def test_collection__what_survived_one__is_looked_at_once_an_hour() -> None:
    now = [0.0]
    with set_aside(lambda: now[0]):
        old = Ring()
        gc.collect()
        assert gc.get_freeze_count() > 0
        new = Ring()
        seen_old, seen_new = weakref.ref(old), weakref.ref(new)
        del old, new
        gc.collect()
        assert seen_new() is None
        assert seen_old() is not None
        now[0] = ALL_SECONDS
        gc.collect()
        assert seen_old() is None
    assert gc.get_freeze_count() == 0
    assert not any("set_aside" in repr(each) for each in gc.callbacks)


def test_collection__of_young_values__sets_nothing_aside() -> None:
    with set_aside(lambda: 0.0):
        gc.unfreeze()
        gc.collect(0)
        assert gc.get_freeze_count() == 0
