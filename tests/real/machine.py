"""A Debian with its real systemd, as a container that boots in a second and shares our loopback.

Each machine is an overlay over a root that is kept (`roots.py`), so nothing that happens in one is
left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from tests.real.roots import CLOUD_INIT, ENVIRON, SUITE, Overlay


class Machine:
    """One running container; a context manager that leaves nothing."""

    def __init__(self, folder: Path, suite: str = SUITE, also: Sequence[str] = CLOUD_INIT) -> None:
        self._folder = folder
        self._overlay = Overlay(folder, suite, also)
        self.root = self._overlay.root
        self._nspawn: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Machine:
        self._overlay.mount()
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.power_off()
        self._overlay.unmount()

    def boot(self) -> None:
        """Start it and wait until its systemd is done with starting."""
        with (self._folder / "console.log").open("ab") as log:
            self._nspawn = self._start(log)
        self._wait_until_up()

    def _start(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["systemd-nspawn", "--register=no", "--keep-unit", "-q", "-D", str(self.root),
             "--console=pipe", "-b"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip

    def power_off(self) -> None:
        """As by a switch. The init is the first of its PID namespace: all in there ends with it.
        Killed alone, systemd-nspawn would leave it behind, in the way of the next machine."""
        if self._nspawn is None:
            return
        init = self._init()
        if init is not None:
            os.kill(init, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._nspawn.wait(10)
        self._nspawn.kill()
        self._nspawn.wait()
        self._nspawn = None

    def reboot(self) -> None:
        """`systemctl reboot`: systemd-nspawn(1) ends with 133 to be started again (--keep-unit)."""
        self("systemctl", "reboot", check=False)
        assert self._nspawn is not None
        assert self._nspawn.wait(120) == 133, "the machine ended, and not for a reboot"
        self.boot()

    def __call__(
        self, *command: str, check: bool = True, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root."""
        init = self._init()
        assert init is not None, "the machine is not up"
        variables = [f"{k}={v}" for k, v in {**ENVIRON, **(environ or {})}.items()]
        done = subprocess.run(
            ["nsenter", "-t", str(init), "-a", "env", "-i", *variables, *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """A file in it, root's."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        place.chmod(mode)

    def _wait_until_up(self) -> None:
        def up() -> bool:
            if self._init() is None:
                return False
            said = self("systemctl", "is-system-running", check=False).stdout.strip()
            return said in ("running", "degraded")

        until(up, 60, "systemd did not come up")

    def _init(self) -> int | None:
        if self._nspawn is None:
            return None
        pid = self._nspawn.pid
        with suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for child in children:
                if "systemd" in Path(f"/proc/{child}/comm").read_text():
                    return int(child)
        return None


def until(done: Callable[[], object], seconds: float, otherwise: str | Callable[[], str]) -> None:
    """Ask until it is so: a real machine has no clock to pass in. Fails after `seconds`."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise AssertionError(otherwise if isinstance(otherwise, str) else otherwise())
        time.sleep(0.25)
