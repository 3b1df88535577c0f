"""Whoever asks for a reload hears how it went; a file that is refused changes nothing."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

from agent.config import Config
from agent.process import reloading
from agent.process.reloading import Reloading, ask
from agent.sd_notify import Notifier
from faults import Refused, RetryLater, UsageFault

pytestmark = pytest.mark.unit


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"RUNTIME_DIRECTORY": str(tmp_path)}


@pytest.fixture
def here(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Reloading, list[str]]]:
    """An agent in this process: it reloads on SIGHUP; what the file says is the list's last."""
    says, each = list[str](), Reloading(None, Notifier({}), environ)

    def load(_: Path | None) -> Config:
        if says and says[-1]:
            raise UsageFault(says[-1])
        return Config()

    def take(_: Config) -> None:
        if says and says[-1] == "":
            raise Refused("the price of x is none")

    def hear(_number: int, _frame: FrameType | None) -> None:
        each.again(take, lambda: "2 running")

    monkeypatch.setattr(reloading, "load", load)
    before = signal.signal(signal.SIGHUP, hear)
    yield each, says
    signal.signal(signal.SIGHUP, before)


Agent = tuple[Reloading, list[str]]


def test_reload__good_bad_and_good_again__is_answered_each_time(
    here: Agent, environ: dict[str, str]
) -> None:
    agent, says = here
    ask(os.getpid(), environ)
    says.append("config.toml line 3: no such key")
    with pytest.raises(UsageFault, match="line 3"):
        ask(os.getpid(), environ)
    assert agent.words("2 running").startswith("reload refused, the old rules stay: config.toml")
    says.append("")
    with pytest.raises(UsageFault, match="the price of x"):
        ask(os.getpid(), environ)
    says.clear()
    ask(os.getpid(), environ)
    assert agent.words("2 running") == "2 running"


def test_reload__after_a_restart__the_answer_is_the_new_processs(
    here: Agent, environ: dict[str, str]
) -> None:
    """Nothing that a process counts itself tells its first answer from its predecessor's."""
    ask(os.getpid(), environ)
    here[0].__init__(None, Notifier({}), environ)  # type: ignore[misc]  # a new one in its place
    ask(os.getpid(), environ)
    assert here[0].refused == ""


def test_reload__nobody_answers__is_said_in_time(environ: dict[str, str]) -> None:
    slept = list[float]()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with pytest.raises(RetryLater, match="within 3 s"):
            ask(os.getpid(), environ, seconds=3.0, sleep=slept.append)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert sum(slept) == pytest.approx(3.0)


def test_reload__no_such_process_or_no_unit__is_said(environ: dict[str, str]) -> None:
    with pytest.raises(RetryLater, match="can't be told"):
        ask(2**22 - 1, environ)
    with pytest.raises(UsageFault, match="systemctl reload"):
        ask(os.getpid(), {})


def test_reload__before_the_start_is_over__is_read_and_answered_and_says_no_ready(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for READY=1 (systemctl start) would go on before the jobs were read."""
    monkeypatch.setattr(reloading, "load", lambda _: Config())
    taken = list[Config]()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        agent = Reloading(None, Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}), environ)
        agent.again(taken.append, lambda: "reading the jobs")
        assert manager.recv(4096) == b"STATUS=reading the jobs"
        agent.announce("2 running")
        assert manager.recv(4096) == b"READY=1\nSTATUS=2 running"
        agent.again(taken.append, lambda: "2 running")
        assert manager.recv(4096).startswith(b"RELOADING=1")
        assert manager.recv(4096).startswith(b"READY=1")
    assert len(taken) == 2
