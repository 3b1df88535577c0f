"""A real pgbouncer before a test's PostgreSQL: each transaction gets whichever backend is free."""

from __future__ import annotations

import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from devnet.processes import free_port
from tests.postgres import Server

BACKENDS = 2  # for all clients of a database and a user: what one leaves there another finds
START_SECONDS = 20
MISSING = "pgbouncer is not installed: apt-get install pgbouncer"

SETTINGS = """
[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {backends}
server_login_retry = 1
"""


@contextmanager
def made(server: Server, *, mode: str = "transaction", backends: int = BACKENDS) -> Iterator[int]:
    """Its port. Skips where there is no pgbouncer."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip(MISSING)
    port, folder = free_port(), Path(tempfile.mkdtemp(prefix="oyster-pooler-"))
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        SETTINGS.format(server=server.port, port=port, folder=folder, mode=mode, backends=backends)
    )
    (folder / "users").write_text('"oyster" ""\n')
    if server.account is not None:
        owner = pwd.getpwnam(server.account)
        shutil.chown(folder, owner.pw_uid)
    process = subprocess.Popen(
        [program, "-q", str(settings)],
        user=server.account,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _answers(port)
        yield port
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _answers(port: int) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0):
            return
        time.sleep(0.02)
    raise AssertionError("pgbouncer took no connection")


def through(server: Server) -> Iterator[int]:
    """For a fixture."""
    with made(server) as port:
        yield port
