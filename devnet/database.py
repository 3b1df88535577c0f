"""A PostgreSQL of its own: Debian's, on loopback, never as root, gone at the end.

As a program (`python -m devnet.database`) it is the journal that a devnet's hosts share: it says
where it is, and ends with its standard signals.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import sqlalchemy as sa

from agent.secret import SecretUrl
from devnet.processes import free_port
from faults import RetryLater

SCHEMES = ("postgresql+psycopg",)
ACCOUNTS = ("postgres", "nobody")  # who runs it where its maker is root
START_SECONDS = 60
AGAIN = signal.SIGUSR1
MISSING = "PostgreSQL's server is not installed: apt-get install postgresql"
NO_ACCOUNT = "PostgreSQL does not run as root, and there is no other account"


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

    @property
    def pid(self) -> int:
        """Of the process that all others of it end with."""
        return int((self.folder / "data" / "postmaster.pid").read_text().splitlines()[0])

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


@contextlib.contextmanager
def made(*, safe: bool = False) -> Iterator[Server]:
    """A running server, gone at the end. Raises RetryLater: there can be none here."""
    found = programs()
    if found is None:
        raise RetryLater(MISSING)
    account = _account()
    folder = Path(tempfile.mkdtemp(prefix="oyster-pg-"))
    try:
        if account is not None:
            shutil.chown(folder, account)
        server = Server(found, folder, free_port(), account, safe)
        server.make()
        server.start()
        yield server
        with contextlib.suppress(RuntimeError):  # somebody may have stopped it
            server.stop()
    finally:
        shutil.rmtree(folder)


def _account() -> str | None:
    """None: one's own. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise RetryLater(NO_ACCOUNT)


def _say(hello: str) -> None:
    sys.stdout.write(hello + "\n")
    sys.stdout.flush()


def main() -> None:
    """One database until a signal ends it; the first line says where. SIGUSR1 crashes the server
    and starts it again."""
    ends = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, {*ends, AGAIN})
    with made() as server:
        url = server.database().reveal()
        _say(json.dumps({"port": server.port, "url": url, "pid": server.pid}))
        while signal.sigwait({*ends, AGAIN}) == AGAIN:
            server.stop("immediate")
            server.start()


if __name__ == "__main__":
    main()
