"""A devnet in the background: start it, see whether it lives, end it."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import program
from devnet import state
from devnet.processes import born, wait_until_gone
from devnet.state import Devnet
from faults import RetryLater, UsageFault

UP_SECONDS = 90.0
DOWN_SECONDS = 30.0
POLL_SECONDS = 0.1


def start(directory: Path, arguments: Sequence[str]) -> Devnet:
    """Run `cli <arguments>` in a session of its own until devnet.json is there.

    Raises RetryLater with the process's last words when it ends before that, UsageFault when
    it cannot be such a folder.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageFault(f"{directory} cannot be a devnet's folder: {error.strerror}") from error
    log = directory / "devnet.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            program.command(*arguments),
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
    if lives(devnet, devnet.pid):
        os.kill(devnet.pid, signal.SIGTERM)
        if not wait_until_gone(devnet.pid, DOWN_SECONDS):
            log = directory / "devnet.log"
            raise RetryLater(f"the devnet (pid {devnet.pid}) does not end; see {log}")
    # Left where their parent was killed.
    left = [pid for pid in devnet.children.values() if lives(devnet, pid)]
    for pid in left:
        os.killpg(pid, signal.SIGKILL)  # it leads a session of its own
    for pid in left:
        wait_until_gone(pid, DOWN_SECONDS)  # till then it holds its ports
    state.remove(directory)
    return devnet


def lives(devnet: Devnet, pid: int) -> bool:
    """Whether this process of the devnet runs; another one under its number does not count."""
    return devnet.born.get(pid, 0) != 0 and born(pid) == devnet.born[pid]
