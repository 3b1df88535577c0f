"""The journal on both of its databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from agent.journal import writing
from agent.journal.engines import open_file, open_server
from tests import pooler, postgres

Open = Callable[[], sa.Engine]


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.Server]:
    """One for all tests of this process."""
    yield from postgres.made()


@pytest.fixture(scope="session")
def pooled(server: postgres.Server) -> Iterator[int]:
    """The port of a pooler before it."""
    yield from pooler.through(server)


@pytest.fixture(params=["sqlite", "postgresql", "pgbouncer"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Opens one journal as often as is asked: each as another process would."""
    if request.param == "sqlite":
        how: Open = lambda: open_file(tmp_path / "journal.sqlite")  # noqa: E731 - one of two
    else:
        server: postgres.Server = request.getfixturevalue("server")
        url = server.database()
        if request.param == "pgbouncer":
            port = request.getfixturevalue("pooled")
            url = server.url(url.reveal().rpartition("/")[2], port)
        how = lambda: open_server(url)  # noqa: E731 - the other
    engines = list[sa.Engine]()

    def open_() -> sa.Engine:
        engines.append(how())
        return engines[-1]

    yield open_
    for engine in engines:
        engine.dispose()


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no held file: how long a commit takes is not what these tests are about."""
    monkeypatch.setattr(writing, "PATIENCE_SECONDS", 60.0)
