"""House rules for every test: one marker each, no wall-clock sleep in a unit test."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import NoReturn

import pytest
import sqlalchemy as sa
import structlog
from hypothesis import settings

# hypothesis chooses "ci" by itself where CI is set; a busy machine's slow example is no failure.
settings.register_profile("house", settings(), deadline=None)
settings.register_profile("thorough", settings(), deadline=None, max_examples=2_000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))

# By default structlog draws a traceback with every local in it: a second for each that is logged.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)

KINDS = frozenset({"unit", "integration"})


@pytest.hookimpl(tryfirst=True)  # before xdist adds the groups to the names
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each has its marker; who says that it may take long begins first, so that at the end no
    process works on one test alone while the others have none left."""
    items.sort(key=lambda item: -_limit(item))
    for item in items:
        kinds = {mark.name for mark in item.iter_markers()} & KINDS
        if len(kinds) != 1:
            raise pytest.UsageError(
                f"{item.nodeid} needs one marker, unit or integration; it has {sorted(kinds)}"
            )


def _limit(item: pytest.Item) -> float:
    """The test's own time limit in seconds; 0 where it has the suite's."""
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark is not None else 0.0


@pytest.fixture(autouse=True)
def _log_as_it_was() -> Iterator[None]:
    """Whoever quiets the log, or sets it up as the program does, does so for one test."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.fixture(autouse=True)
def _databases_closed() -> Iterator[None]:
    """Whatever a test opened and left open. Python 3.13 tells of such connections when it finds
    them, which is in the middle of another test."""
    used = set[sa.Engine]()

    def note(connection: sa.Connection) -> None:
        used.add(connection.engine)

    sa.event.listen(sa.Engine, "engine_connect", note)
    yield
    sa.event.remove(sa.Engine, "engine_connect", note)
    for engine in used:
        engine.dispose()


@pytest.fixture(autouse=True)
def _no_sleep_in_unit_tests(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if request.node.get_closest_marker("unit") is None:
        return

    def refuse(seconds: float) -> NoReturn:
        pytest.fail(f"a unit test slept {seconds} s on the wall clock; pass a clock in")

    monkeypatch.setattr(time, "sleep", refuse)
