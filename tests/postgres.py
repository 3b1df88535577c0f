"""A PostgreSQL for tests: Debian's, started by the session on loopback, never as root.

One database a test. Without the server's programs, or an account to run them, tests skip and say
why.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

from agent.secret import SecretUrl

SCHEMES = ("postgresql+psycopg",)
ACCOUNTS = ("postgres", "nobody")  # who runs it where the tests are root's
START_SECONDS = 60


def programs() -> Path | None:
    """Where initdb and postgres are: Debian keeps them off PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


@dataclass
class Server:
    """One cluster in a folder of its own."""

    bin: Path
    folder: Path
    port: int
    account: str | None
    safe: bool = False  # whether commits reach the disk: slower, and wanted where it is killed
    _numbers: Iterator[int] = field(default_factory=count)

    def make(self) -> None:
        """The cluster's files; whoever comes over loopback is believed."""
        self._run("initdb", "-D", "data", "-U", "oyster", "-A", "trust", "-N", "-E", "UTF8")

    def start(self) -> None:
        """Returns when it takes connections."""
        sync = "on" if self.safe else "off"
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories="
            f" -c fsync={sync} -c max_connections=60"
        )
        wait = ("-w", "-t", str(START_SECONDS))
        self._run("pg_ctl", "-D", "data", *wait, "-l", "log", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """`immediate`: as a crash; `fast`: connections are ended, all is written."""
        self._run("pg_ctl", "-D", "data", "-m", mode, "-w", "stop")

    def database(self) -> SecretUrl:
        """A new one; its URL."""
        name = f"t{next(self._numbers)}"
        engine = sa.create_engine(self.url("postgres").reveal(), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return self.url(name)

    def url(self, database: str, port: int | None = None) -> SecretUrl:
        """Of a database, or of what stands before it at another port."""
        where = f"127.0.0.1:{port or self.port}/{database}"
        return SecretUrl(f"postgresql+psycopg://oyster@{where}", SCHEMES)

    def _run(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [str(self.bin / program), *words],
            cwd=self.folder,
            user=self.account,
            env={"PATH": f"{self.bin}:/usr/bin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            log = self.folder / "log"
            raise RuntimeError(done.stderr + (log.read_text() if log.exists() else ""))


def made(*, safe: bool = False) -> Iterator[Server]:
    """A running server, gone at the end; skips where there can be none."""
    found = programs()
    if found is None:
        pytest.skip("PostgreSQL's server is not installed")
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="oyster-pg-"))
    try:
        if account is not None:
            shutil.chown(folder, account)
        server = Server(found, folder, _free_port(), account, safe)
        server.make()
        server.start()
        yield server
        with contextlib.suppress(RuntimeError):  # a test may have stopped it
            server.stop()
    finally:
        shutil.rmtree(folder)


def _account() -> str | None:
    """None: the tests' own. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    pytest.skip("PostgreSQL does not run as root, and there is no other account")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
