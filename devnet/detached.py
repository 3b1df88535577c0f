"""A devnet in the background: start it, see whether it lives, end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from devnet import state
from devnet.processes import wait_until_gone
from devnet.state import Devnet
from faults import RetryLater, UsageFault

UP_SECONDS = 90.0
DOWN_SECONDS = 30.0
POLL_SECONDS = 0.1


def start(directory: Path, arguments: Sequence[str]) -> Devnet:
    """Run `cli <arguments>` in a session of its own until devnet.json is there.

    Raises RetryLater with the process's last words when it ends before that.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageFault(f"{directory} cannot be a devnet's folder: {error.strerror}") from error
    log = directory / "devnet.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    until = time.monotonic() + UP_SECONDS
    while time.monotonic() < until and process.poll() is None:
        if (directory / state.FILE).exists():
            return state.read(directory)
        time.sleep(POLL_SECONDS)
    process.terminate()
    words = log.read_text(errors="replace").strip().splitlines() or ["nothing"]
    raise RetryLater(f"the devnet did not come up; it said {words[-1]!r} (all of it: {log})")


def stop(directory: Path) -> Devnet:
    """End the devnet of `directory`, whole or broken. Raises UsageFault, RetryLater."""
    devnet = state.read(directory)
    _signal(devnet.pid, signal.SIGTERM)
    if not wait_until_gone(devnet.pid, DOWN_SECONDS):
        raise RetryLater(f"the devnet (pid {devnet.pid}) does not end; see {directory}/devnet.log")
    for pid in devnet.children.values():
        _signal_group(pid)
    state.remove(directory)
    return devnet


def alive(pid: int) -> bool:
    """Whether there is such a process (a zombie counts as gone)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return True


def _signal(pid: int, number: signal.Signals) -> None:
    if alive(pid):
        os.kill(pid, number)


def _signal_group(pid: int) -> None:
    """A child leads a session of its own; if it is there still, its parent was killed."""
    if alive(pid) and os.getpgid(pid) == pid:
        os.killpg(pid, signal.SIGKILL)
