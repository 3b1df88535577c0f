"""The agent's journal from a command: timelines to read, orders to leave for the agent."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from agent.config import Config
from agent.journal.engines import open_file
from agent.journal.lines import SLASHED, Event
from agent.journal.orders import Orders
from agent.journal.reading import Reader
from agent.journal.schema import migrate
from agent.market.model import JobId
from agent.wiring.journal import open_engine
from commands.amounts import show_coin
from faults import UsageFault

_NONE: Mapping[str, str] = {}
_LEVELS = {10: "debug", 20: "", 30: "warning", 40: "ERROR", 50: "ERROR"}


@contextmanager
def open_reader(config: Config, *, make: bool = False) -> Iterator[Reader]:
    """The journal of the configured agent. Where it has not run yet there is none, and who only
    reads gets an empty one; `make` makes it."""
    try:
        server = bool(config.journal.url_file)
        engine = open_engine(config) if server else _opened(config.journal_file, make)
    except OSError as error:
        raise UsageFault(
            f"{config.journal_file}: {error.strerror}; run this as the agent's user or as root"
        ) from error
    try:
        yield Reader(engine)
    finally:
        engine.dispose()


def _opened(file: Path, make: bool) -> sa.Engine:
    if file.exists():
        return open_file(file)
    if not make:
        empty = sa.create_engine("sqlite://")
        migrate(empty)
        return empty
    engine, owner = open_file(file), file.parent.stat()
    if os.geteuid() == 0 and owner.st_uid != 0:  # root made it for the agent's own account
        for each in file.parent.glob(f"{file.name}*"):
            os.chown(each, owner.st_uid, owner.st_gid)
    return engine


def order(
    config: Config, at: float, kind: str, job: JobId | None, fields: Mapping[str, str] = _NONE
) -> int:
    """Leave an order, and its number; the agent takes it up within a second, or when it starts."""
    with open_reader(config, make=True) as reader:
        return Orders(reader.engine).place(at, kind, job, getpass.getuser(), fields)


def words(event: Event) -> str:
    """One line of a timeline without its time."""
    level = _LEVELS.get(event.level, "")
    said = event.fields.items()
    if event.name == SLASHED:
        said = {}.items()  # its text has the amount, in its symbol
    fields = " ".join(_field(name, value) for name, value in said)
    return " ".join(filter(None, (level, event.name, event.text, fields)))


def _field(name: str, value: object) -> str:
    """One name=value; wei as an amount of the chain's coin."""
    if name.endswith("_wei") and isinstance(value, int | str):
        return f"{name.removesuffix('_wei')}={show_coin(int(value))}"
    return f"{name}={_said(name, value)}"


def _said(name: str, value: object) -> str:
    """A field as a person reads it: seconds as a time of day, measurements by their first bytes."""
    if (name == "deadline" or name.endswith("_at")) and isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC).strftime("%H:%M:%S")
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{str(each)[:12]}" for key, each in value.items())
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
