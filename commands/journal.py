"""The agent's journal from a command: timelines to read, orders to leave for the agent."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from agent.config import Config
from agent.journal.engines import BUSY_MILLISECONDS, open_file
from agent.journal.migrating import migrate
from agent.journal.orders import Orders
from agent.journal.reading import Reader
from agent.market.model import JobId
from agent.wiring.journal import open_engine
from faults import UsageFault

_NONE: Mapping[str, str] = {}
READ_MILLISECONDS = 60_000  # of one read: a report goes through the lines of years


@contextmanager
def open_reader(config: Config, *, make: bool = False) -> Iterator[Reader]:
    """The journal of the configured agent. Where it has not run yet there is none, and who only
    reads gets an empty one; `make` makes it."""
    try:
        server = bool(config.journal.url_file)
        engine = (
            open_engine(config, BUSY_MILLISECONDS if make else READ_MILLISECONDS)
            if server
            else _opened(config.journal_file, make)
        )
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
        empty = sa.create_engine(  # one for all threads: each would get an empty one of its own
            "sqlite://", poolclass=sa.StaticPool, connect_args={"check_same_thread": False}
        )
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
