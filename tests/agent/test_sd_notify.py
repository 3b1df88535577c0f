"""sd_notify over a real datagram socket."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.sd_notify import Notifier

pytestmark = pytest.mark.unit


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(2)
        yield listening


def test_notifier__under_systemd__says_each_thing_in_its_words(
    manager: socket.socket, tmp_path: Path
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    assert notifier.ready("3 jobs,\n2 running")
    assert manager.recv(999) == b"READY=1\nSTATUS=3 jobs, 2 running"
    assert notifier.alive()
    assert manager.recv(999) == b"WATCHDOG=1"
    assert notifier.status("x" * 999)
    assert manager.recv(999) == b"STATUS=" + b"x" * 200
    assert notifier.reloading()
    assert manager.recv(999).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert notifier.stopping("bye")
    assert manager.recv(999) == b"STOPPING=1\nSTATUS=bye"


def test_notifier__abstract_socket__is_reached() -> None:
    name = f"oyster-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0{name}")
        listening.settimeout(2)
        assert Notifier({"NOTIFY_SOCKET": f"@{name}"}).alive()
        assert listening.recv(99) == b"WATCHDOG=1"


@pytest.mark.parametrize("address", ["", "/nowhere/at/all", "vsock:2:1234", "relative"])
def test_notifier__no_systemd__loses_the_message_and_nothing_else(address: str) -> None:
    assert not Notifier({"NOTIFY_SOCKET": address}).ready()


def test_notifier__manager_reads_nothing__does_not_block(
    manager: socket.socket, tmp_path: Path
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    sent = sum(notifier.alive() for _ in range(2000))
    assert 0 < sent < 2000
