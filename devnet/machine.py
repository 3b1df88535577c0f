"""One host of several: a machine with the agent, and the service manager that starts it again.

As systemd does with the packaged unit: an agent that ends is started again after two seconds, but
for one that was told to end. A machine that is off (`off` in its folder) starts nothing until it is
on again.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

import program

RESTART_SECONDS = 2.0  # RestartSec= of systemd/oyster-provider.service
LOOK_SECONDS = 0.1
PID, OFF = "agent.pid", "off"


class Machine:
    """Its agent runs in the machine's own process group: what ends the group ends both."""

    def __init__(self, folder: Path, ahead_seconds: float = 0.0) -> None:
        self._folder = folder
        self._ahead = ahead_seconds
        self._agent: subprocess.Popen[bytes] | None = None
        self._ending = False

    def run(self) -> None:
        """Until SIGTERM."""
        signal.signal(signal.SIGTERM, self._end)
        _say(json.dumps({"folder": str(self._folder)}))
        while not self._ending:
            if not (self._folder / OFF).exists():
                self._start()
                self._wait()
            time.sleep(RESTART_SECONDS if not (self._folder / OFF).exists() else LOOK_SECONDS)

    def _start(self) -> None:
        with (self._folder / "agent.log").open("ab") as log:
            self._agent = subprocess.Popen(
                self._words(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._folder,
            )
        part = self._folder / f"{PID}.part"
        part.write_text(str(self._agent.pid))
        part.replace(self._folder / PID)

    def _words(self) -> list[str]:
        if not self._ahead:
            return program.command("run")
        return program.module("devnet.ahead", str(self._ahead), "run")

    def _wait(self) -> None:
        assert self._agent is not None
        while self._agent.poll() is None and not self._ending:
            time.sleep(LOOK_SECONDS)
        (self._folder / PID).unlink(missing_ok=True)
        if self._ending:
            self._agent.send_signal(signal.SIGCONT)  # it may be frozen
            self._agent.terminate()
            self._agent.wait()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True


def _say(hello: str) -> None:
    sys.stdout.write(hello + "\n")
    sys.stdout.flush()


def main() -> None:
    words = argparse.ArgumentParser()
    words.add_argument("--folder", type=Path, required=True)
    words.add_argument("--ahead", type=float, default=0.0)
    asked = words.parse_args()
    Machine(asked.folder, asked.ahead).run()


if __name__ == "__main__":
    main()
