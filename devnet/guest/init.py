"""Stands for one instance's kernel, systemd and cloud-init: boots, runs user data, keeps units.

Its standard input is the instance's power: when it closes, whoever held it died or ended the
instance, and every process of this session is killed, the enclaves with them.
"""

from __future__ import annotations

import ctypes
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from devnet.guest import allocator, place

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER, prctl(2)
_NOTHING_TO_REAP_SECONDS = 0.05
ALLOCATOR = "nitro-enclaves-allocator.service"


class Init:
    """One instance."""

    def __init__(self) -> None:
        self.root, self.machine = place.root(), place.machine()
        self._lock = threading.Lock()
        self._enabled: set[str] = set()
        self._running: dict[int, str] = {}
        self._allocator_said = ""
        self._halted = False

    def boot(self) -> None:
        """The kernel comes up; units that are enabled start."""
        time.sleep(self.machine["timings"]["boot"])
        allocator.prepare(self.root)
        if self.machine["enclave"]:
            place.write_whole(self.root / "dev/nitro_enclaves", "simulated\n")
        place.write_whole(self.root / "run/systemd/booted", f"{time.time()}\n")
        for unit in sorted(self._enabled):
            self._start(unit)

    def halt(self) -> None:
        """Start no unit from here on; one that is just being started is there when this returns."""
        with self._lock:
            self._halted = True

    def cloud_init(self) -> None:
        """Run user data once, by its first line, as cloud-init does."""
        script = self.root / "var/lib/cloud/instance/user-data.txt"
        first = script.read_bytes().partition(b"\n")[0].decode(errors="replace")
        if first.startswith("#!"):
            command = [Path(first[2:].strip()).name, str(script)]
            self._spawn(command, self.root / "var/log/cloud-init-output.log")

    def answer(self, arguments: list[str]) -> tuple[int, str]:
        """systemctl and the fleet's own commands: (exit code, text)."""
        words = [word for word in arguments if not word.startswith("--")]
        flags = [word for word in arguments if word.startswith("--")]
        command, unit = words[0], words[-1]
        if command == "enable":
            self._enabled.add(unit)
            if "--now" in flags and unit not in self._running.values():
                self._start(unit)
        elif command in ("restart", "start") and unit == ALLOCATOR:
            return self._allocate()
        elif command == "status" and unit == ALLOCATOR:
            return 0, self._allocator_said
        elif command == "kill-unit":
            return 0, f"{self._kill_unit(unit)}"
        elif command == "reboot":
            threading.Thread(target=self._reboot, daemon=True).start()
        return 0, ""

    def reap(self) -> None:
        """For ever: collect the dead, restart units that died."""
        while True:
            try:
                pid, _ = os.waitpid(-1, 0)
            except ChildProcessError:
                time.sleep(_NOTHING_TO_REAP_SECONDS)
                continue
            with self._lock:
                unit = self._running.pop(pid, None)
            if unit is not None and unit in self._enabled and not self._halted:
                pause = self.machine["restart_seconds"]
                threading.Timer(pause, self._start, (unit,)).start()

    def _start(self, unit: str) -> None:
        text = (self.root / "etc/systemd/system" / unit).read_text()
        line = next(row for row in text.split("\n") if row.startswith("ExecStart="))
        command = shlex.split(line.partition("=")[2])
        command[0] = Path(command[0]).name
        with self._lock:
            if not self._halted:
                self._running[self._spawn(command, self.root / f"var/log/{unit}.log")] = unit

    def _spawn(self, command: list[str], log: Path) -> int:
        log.parent.mkdir(parents=True, exist_ok=True)
        program = shutil.which(command[0]) or command[0]
        with log.open("ab") as out:
            child = subprocess.Popen(
                [program, *command[1:]], stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        child.returncode = 0  # reaped by `reap`, not by subprocess
        return child.pid

    def _kill_unit(self, unit: str) -> int:
        with self._lock:
            pids = [pid for pid, name in self._running.items() if name == unit]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return len(pids)

    def _allocate(self) -> tuple[int, str]:
        time.sleep(self.machine["timings"]["allocate"])
        busy = any((self.root / "run/nitro_enclaves").glob("*.json"))
        try:
            faults = place.faults()
            self._allocator_said = allocator.allocate(self.root, self.machine, faults, busy)
        except (ValueError, OSError) as error:
            self._allocator_said = f"Error: {error}\n"
            return 1, (
                f"Job for {ALLOCATOR} failed because the control process exited with error code.\n"
            )
        return 0, ""

    def _reboot(self) -> None:
        self.halt()
        kill_session(but=os.getpid())
        shutil.rmtree(self.root / "run", ignore_errors=True)
        self._halted = False
        self.boot()


def kill_session(but: int) -> None:
    """Kill until nothing of this session is left but `but`."""
    while others := [pid for pid in place.session(os.getsid(0)) if pid != but]:
        for pid in others:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(0.01)


def main() -> None:
    """Boot, then serve until the power goes."""
    ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
    init = Init()
    threading.Thread(target=_power, args=(init,), daemon=True).start()
    threading.Thread(target=_control, args=(init,), daemon=True).start()
    init.boot()
    init.cloud_init()
    init.reap()


def _power(init: Init) -> None:
    sys.stdin.buffer.read()
    init.halt()
    kill_session(but=os.getpid())
    os._exit(0)


def _control(init: Init) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(place.init_address(init.machine["instance_id"]))
        server.listen(16)
        while True:
            wire, _ = server.accept()
            threading.Thread(target=_talk, args=(init, wire), daemon=True).start()


def _talk(init: Init, wire: socket.socket) -> None:
    with wire, wire.makefile("rw") as lines:
        arguments: Any = json.loads(lines.readline())
        code, text = init.answer([str(word) for word in arguments])
        lines.write(json.dumps({"code": code, "text": text}) + "\n")
        lines.flush()
