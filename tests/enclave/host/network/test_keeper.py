"""The process itself: found again, begun anew, bounded, and deaf to whoever may not order it."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from devnet.processes import free_port
from enclave.host.config import Places
from enclave.host.documents import Egress, Port
from enclave.host.network import keeper as keeping
from enclave.host.network.keeper import Keeper
from enclave.host.network.orders import NOTHING, Orders, Report
from enclave.host.network.process import control_socket
from tests.enclave.host.network.carrier import (
    CID,
    SERVICE,
    accepted,
    client,
    everything,
)
from tests.enclave.host.rig import until

pytestmark = [pytest.mark.integration, pytest.mark.allow_hosts(["127.0.0.0/8"])]

IDLE = 1500
WIRES = 60


class Parent:
    """A host program's side, and a service inside the enclave."""

    def __init__(self, directory: Path, prefix: str) -> None:
        self.places = Places(directory)
        self.keeper = Keeper(self.places)
        self.port = free_port()
        self.orders = Orders(CID, (Port(self.port, SERVICE),))
        self.service = socket.socket(socket.AF_UNIX)
        self.service.settimeout(20)
        self.service.bind(f"\0{prefix}/{CID}/{SERVICE}")
        self.service.listen(4096)

    @property
    def pid(self) -> int:
        return self.keeper.pid()

    def ensure(self, now: float = 0.0) -> Report:
        return self.keeper.ensure(self.orders, now)

    def close(self) -> None:
        self.keeper.end()
        self.service.close()


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    prefix = f"oyster-test/{os.getpid()}/{tmp_path.name}"
    monkeypatch.setenv("OYSTER_HOST_VSOCK", prefix)
    one = Parent(tmp_path, prefix)
    yield one
    one.close()


def test_ensure__nothing_is_wanted__nothing_is_started(parent: Parent) -> None:
    assert parent.keeper.ensure(NOTHING, 0.0) == Report()
    with pytest.raises(ConnectionRefusedError):
        assert parent.pid


def test_ensure__something_will_be_wanted__the_process_is_there_for_it(parent: Parent) -> None:
    assert parent.keeper.ensure(NOTHING, 0.0, early=True).ready
    before = parent.pid
    assert parent.ensure(1.0).errors == {}
    assert parent.pid == before


def test_ensure__another_host_program__finds_it_and_cuts_nothing(parent: Parent) -> None:
    parent.ensure()
    with client(parent.port) as near, accepted(parent.service) as far:
        before, again = parent.pid, Keeper(parent.places)
        assert again.ensure(parent.orders, 5.0).errors == {}
        assert parent.pid == before
        near.sendall(b"on")
        assert far.recv(2) == b"on"


def test_process__a_second_one__ends_and_says_why(parent: Parent) -> None:
    parent.ensure()
    command = [sys.executable, "-c", keeping._MAIN, keeping._home(), parent.keeper._name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "another one serves already" in done.stderr


def test_ensure__it_was_killed__begins_anew_says_so_and_stops_saying(parent: Parent) -> None:
    parent.ensure(0.0)
    os.kill(parent.pid, signal.SIGKILL)
    assert parent.keeper._child is not None
    parent.keeper._child.wait(10)
    report = parent.ensure(10.0)
    assert report.words == "the network's process: ended and is started again"
    with client(parent.port), accepted(parent.service):
        assert parent.ensure(10.0 + keeping.WELL_SECONDS - 1).words is not None
        assert parent.ensure(10.0 + keeping.WELL_SECONDS).words is None


_SLOW_FORK = """
import os, signal
fork = os.fork
def slow():
    child = fork()
    if not child:
        signal.pause()
    return child
os.fork = slow
"""


def test_ensure__it_was_killed_before_its_fork_ran__the_fork_holds_no_place(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it forks may not have had a moment of the processor yet."""
    with monkeypatch.context() as slow:
        slow.setattr(keeping, "_MAIN", _SLOW_FORK + keeping._MAIN)
        parent.ensure(0.0)
    forked = _children(parent.pid)
    try:
        os.kill(parent.pid, signal.SIGKILL)
        assert parent.keeper._child is not None
        parent.keeper._child.wait(10)
        report = parent.ensure(10.0)
    finally:
        for one in forked:
            os.kill(one, signal.SIGKILL)
    assert len(forked) == 1
    assert report.words == "the network's process: ended and is started again"


def _children(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_ensure__it_ends_with_the_question__another_is_begun_at_once(parent: Parent) -> None:
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(_end_when_asked, control_socket(f"\0{parent.keeper._name}"))
        report = parent.ensure(0.0)
        ended.result()
    assert report.errors == {}
    assert parent.keeper._child is not None
    assert parent.pid == parent.keeper._child.pid


def _end_when_asked(control: socket.socket) -> None:
    """As a process that is killed with a question unread: the one who asked is reset."""
    with control:
        asked, _ = control.accept()
        select.select([asked], [], [])
    asked.close()


def test_ensure__it_ends_at_once__its_last_words_are_said_and_it_is_not_hurried(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeping, "_MAIN", "import sys; sys.exit('no memory for this')")
    started = []
    for tenth in range(30):
        report = parent.ensure(tenth / 10)
        child = parent.keeper._child
        assert child is not None
        child.wait(10)
        started.append(child.pid)
        assert "no memory for this" in (report.words or "")
    assert len(set(started)) == 3


def test_ensure__it_is_stuck__is_replaced(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "ANSWER_SECONDS", 0.2)
    parent.ensure(0.0)
    stuck = parent.pid
    os.kill(stuck, signal.SIGSTOP)
    assert "does not answer" in (parent.ensure(1.0).words or "")
    assert "does not answer" in (parent.ensure(1.0 + keeping.STUCK_SECONDS).words or "")
    assert parent.keeper._child is not None
    parent.keeper._child.wait(10)
    parent.ensure(20.0)
    assert parent.pid != stuck
    with client(parent.port), accepted(parent.service):
        pass


@pytest.mark.parametrize(
    "said",
    [b"not json", b"[]", b"{}", b'{"cid": 1, "ports": [1], "egress": []}', b"\xff",
     b'{"cid": 1, "ports": [{"listen": 1}], "egress": []}', b"[" * 100_000, b"null", b"1e999"],
)  # fmt: skip
def test_order__not_understood__changes_nothing(parent: Parent, said: bytes) -> None:
    parent.ensure()
    before = parent.pid
    with parent.keeper._wire() as wire:
        wire.send(said)
        assert list(json.loads(wire.recv(4096))["errors"]) == ["the order"]
    assert parent.ensure(40.0).errors == {}
    assert parent.pid == before


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become another user")
def test_order__of_another_user__is_not_heard(parent: Parent) -> None:
    parent.ensure()
    code = (
        "import os, socket; os.setuid(65534);"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
        f"s.settimeout(10); s.connect('\\0{parent.keeper._name}');"
        f"s.send({json.dumps(NOTHING.to_json())!r}.encode()); print(s.recv(9))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() in ("b''", ""), done
    with client(parent.port), accepted(parent.service):
        pass


def test_errors__cannot_listen_and_resolves_near__reach_the_words(parent: Parent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        number = squatter.getsockname()[1]
        orders = Orders(CID, (Port(number, 1),), (Egress(9, "localhost", 22),))

        def words() -> str | None:
            said = parent.keeper.ensure(orders, 0.0).words or ""
            return said if "loopback" in said else None

        said = until(words, lambda: "no words")
    assert f"in-{number}: cannot listen on TCP 0.0.0.0:{number}: Address already in use" in said
    assert "out-9: localhost leads to 127.0.0.1 (loopback), which no enclave may reach" in said


def test_connections__1500_idle_ones__one_more_is_served_by_the_same_process(
    parent: Parent,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * IDLE), hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        parent.ensure()
        for number in range(IDLE):
            stack.enter_context(client(parent.port, f"127.1.{number % 100}.1"))
            stack.enter_context(accepted(parent.service))
        assert parent.ensure(1.0).open == IDLE
        with client(parent.port) as near, accepted(parent.service) as far:
            near.sendall(b"one more")
            assert far.recv(8) == b"one more"
        assert _resident_mib(parent.pid) < 40


def _resident_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / (1 << 20)


def test_descriptors__none_are_left__said_and_served_again_when_there_are(
    parent: Parent,
) -> None:
    parent.ensure()
    pid = parent.pid
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        wires = [stack.enter_context(parent.keeper._wire()) for _ in range(WIRES)]
        until(lambda: _open_files(pid) > WIRES, lambda: "not accepted")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (_open_files(pid) + 9, limits[1]))
        waiting = [stack.enter_context(client(parent.port)) for _ in range(20)]
        for near in waiting:
            near.sendall(b"GET")
            near.shutdown(socket.SHUT_WR)
        until(lambda: "Too many open files" in _asked(wires.pop(0), parent), lambda: "no words")
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        for _ in waiting:
            with accepted(parent.service) as far:
                far.sendall(everything(far))
        assert [everything(near) for near in waiting] == [b"GET"] * len(waiting)
    until(lambda: parent.ensure(1.0).words is None, lambda: f"{parent.ensure(1.0)}")
    assert parent.pid == pid


def _open_files(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _asked(wire: socket.socket, parent: Parent) -> str:
    """Over a connection that the process accepted before it had no more descriptors: the first
    were, the last of them may be waiting still."""
    wire.send(json.dumps(parent.orders.to_json()).encode())
    return Report.from_json(json.loads(wire.recv(1 << 16))).words or ""
