"""Children come up, say where they are, and never outlive us."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from devnet.processes import Children, wait_until_gone
from faults import RetryLater

pytestmark = pytest.mark.integration

HELLO = "import json, os, time; print(json.dumps({'pid': os.getpid()}), flush=True); "
PARENT = (
    "import json, subprocess, sys, time; "
    "kid = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "print(json.dumps({'kid': kid.pid}), flush=True); time.sleep(600)"
)


def test_children__leaving__ends_grandchildren_too(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("parent", [sys.executable, "-c", PARENT])
        kid = int(child.hello["kid"])
        os.kill(kid, 0)
    assert wait_until_gone(kid, 5)
    assert not child.alive()


def test_children__one_that_ignores_sigterm__is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devnet.processes.POLITE_SECONDS", 0.2)
    code = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + HELLO + "time.sleep(600)"
    )
    with Children(tmp_path) as children:
        child = children.start("deaf", [sys.executable, "-c", code])
        assert children.end("deaf") == -signal.SIGKILL
    assert not child.alive()


def test_start__child_ends_at_once__names_its_last_words(tmp_path: Path) -> None:
    code = "import sys; sys.exit('the port is taken')"
    with Children(tmp_path) as children, pytest.raises(RetryLater, match="the port is taken"):
        children.start("doomed", [sys.executable, "-c", code])


def test_start__child_says_something_else__is_ended(tmp_path: Path) -> None:
    with Children(tmp_path) as children, pytest.raises(RetryLater, match="did not come up"):
        children.start(
            "babbler",
            [sys.executable, "-c", "print('hello', flush=True); import time; time.sleep(600)"],
        )


def test_dead__after_a_crash__names_the_child(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        child = children.start("frail", [sys.executable, "-c", HELLO + "time.sleep(600)"])
        assert children.dead() == []
        os.kill(child.pid, signal.SIGKILL)
        child.process.wait()
        assert [dead.name for dead in children.dead()] == ["frail"]


def test_kill__one_child__leaves_the_others(tmp_path: Path) -> None:
    with Children(tmp_path) as children:
        first = children.start("first", [sys.executable, "-c", HELLO + "time.sleep(600)"])
        second = children.start("second", [sys.executable, "-c", HELLO + "time.sleep(600)"])
        children.kill("first")
        assert not first.alive()
        assert second.alive()
