"""The agent's journal from a command: timelines to read, orders to leave for the agent."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from agent.config import Config
from agent.journal import Event, Reader, open_engine
from agent.market.model import JobId
from faults import UsageFault

_LEVELS = {10: "debug", 20: "", 30: "warning", 40: "ERROR", 50: "ERROR"}


@contextmanager
def open_reader(config: Config) -> Iterator[Reader]:
    """The journal of the configured agent; made when the agent has not run yet."""
    try:
        engine = open_engine(config.journal_file)
    except OSError as error:
        raise UsageFault(
            f"{config.journal_file}: {error.strerror}; run this as the agent's user or as root"
        ) from error
    try:
        yield Reader(engine)
    finally:
        engine.dispose()


def order(config: Config, at: float, kind: str, job: JobId | None) -> None:
    """Leave an order; the agent takes it up within a second, or when it starts."""
    with open_reader(config) as reader:
        reader.order(at, kind, job, getpass.getuser())


def words(event: Event) -> str:
    """One line of a timeline without its time."""
    level = _LEVELS.get(event.level, "")
    fields = " ".join(f"{name}={_said(name, value)}" for name, value in event.fields.items())
    return " ".join(filter(None, (level, event.name, event.text, fields)))


def _said(name: str, value: object) -> str:
    """A field as a person reads it: seconds as a time of day, measurements by their first bytes."""
    if (name == "deadline" or name.endswith("_at")) and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC).strftime("%H:%M:%S")
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{str(each)[:12]}" for key, each in value.items())
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
