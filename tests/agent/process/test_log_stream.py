"""A log whose reader stands still or is gone: nothing waits for it, and nothing ends by it."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import termios
from collections.abc import Iterator

import pytest

from agent.process.log_stream import PATIENCE_SECONDS, LogStream

pytestmark = pytest.mark.unit

MANY = 5_000  # lines: more than a pipe holds
SCRIPT = f"""
import signal
import structlog
from agent.config import Config
from agent.process.log import configure_log, say_error
configure_log(Config())
signal.alarm(30)
log = structlog.get_logger()
for n in range({MANY}):
    log.info("a.fact", n=n)
say_error("the end")
"""


@pytest.fixture
def pipe() -> Iterator[tuple[int, LogStream]]:
    """A pipe's end for who reads, and a log into it."""
    out, into = os.pipe()
    with os.fdopen(into, "w") as stream:
        yield out, LogStream(stream)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Milliseconds that were waited in vain, each time."""
    found, real = list[float](), select.poll

    class Poll:
        def __init__(self) -> None:
            self._real = real()

        def register(self, fd: int, events: int) -> None:
            self._real.register(fd, events)

        def poll(self, milliseconds: float) -> list[tuple[int, int]]:
            ready = self._real.poll(milliseconds)
            found.extend([] if ready else [milliseconds])
            return ready

    monkeypatch.setattr(select, "poll", Poll)
    return found


@pytest.mark.parametrize("reader", ["stands still", "is gone"])
def test_process__whose_log_nobody_takes__goes_on_and_ends_as_ever(reader: str) -> None:
    out, into = os.pipe()
    if reader == "is gone":
        os.close(out)
    try:
        done = subprocess.run([sys.executable, "-c", SCRIPT], stderr=into)
    finally:
        os.close(into)
        if reader != "is gone":
            os.close(out)
    assert done.returncode == 0


def test_lines__of_which_some_are_lost__are_whole_and_the_next_one_says_how_many(
    pipe: tuple[int, LogStream], waits: list[float]
) -> None:
    out, log = pipe
    line = "x" * 6_000
    for n in range(100):
        log.write(f"{n} {line}\n")
    assert [one for one in waits if one] == [PATIENCE_SECONDS * 1000]  # those after it do not
    lost = log.lost
    assert lost
    heard = os.read(out, 10**6).decode()
    log.write("after\n")
    assert log.lost == 0
    lines = (heard + os.read(out, 10**6).decode()).split("\n")
    assert lines[-2:] == ["after", ""]
    whole = 100 - lost
    assert lines[:whole] == [f"{n} {line}" for n in range(whole)]
    assert all(f"{whole} {line}".startswith(torn) for torn in lines[whole:-2])


def test_lines__into_a_descriptor_that_does_not_block__are_taken_or_lost(
    pipe: tuple[int, LogStream],
) -> None:
    out, log = pipe
    os.set_blocking(log._fd, False)
    for _ in range(MANY):
        log.write("a line that is as long as many of a log\n")
    assert log.lost
    os.read(out, 10**6)
    log.write("\n")
    assert not log.lost


def test_lines__to_a_terminal_that_was_stopped__are_lost() -> None:
    """By Ctrl-S, which is easily pressed; and a terminal has less room than a pipe."""
    screen, terminal = os.openpty()
    try:
        with os.fdopen(terminal, "w") as stream:
            log = LogStream(stream)
            for room in range(200, 4_000, 200):
                log.write("y" * room + "\n")
            termios.tcflow(terminal, termios.TCOOFF)
            log.write("a line\n")
            assert log.lost
            termios.tcflow(terminal, termios.TCOON)
            while select.select([screen], [], [], 0.5)[0]:
                os.read(screen, 10**6)
            log.write("a line\n")
            assert not log.lost
    finally:
        os.close(screen)


def test_lines__on_a_full_disk__are_lost() -> None:
    with open("/dev/full", "w") as stream:  # noqa: PTH123 - a device
        log = LogStream(stream)
        log.write("a line\n")
        assert log.lost == 1


def test_lines__to_a_socket_that_nobody_reads__are_lost() -> None:
    """As systemd's journal has it."""
    here, there = socket.socketpair()
    with here, there, here.makefile("w") as stream:
        log = LogStream(stream)
        for _ in range(MANY):
            log.write("a line that is as long as many of a log\n" * 5)
        assert log.lost
        while select.select([there], [], [], 0)[0]:
            there.recv(10**6)
        log.write("a line\n")
        assert not log.lost
