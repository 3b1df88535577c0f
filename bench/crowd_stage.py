"""One agent over a crowd's world, started and measured from outside (`bench.running`)."""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench.crowd import REGIONS, Crowd, ScaledClock
from bench.crowd_world import CLOCK
from devnet.processes import Child, Children
from faults import RetryLater

SPEED = 4.0  # of the agent's clock, once it has decided about every job
_TICKS = os.sysconf("SC_CLK_TCK")


class Stage:
    """The agent, the world, and what is seen of both."""

    def __init__(
        self,
        directory: Path,
        children: Children,
        crowd: Crowd,
        world: Child,
        own: Mapping[str, str] | None = None,
    ) -> None:
        self._own = own or {}  # settings of this host alone, as the environment has them
        self._name = f"agent-{directory.name}"
        self.crowd, self.clock = crowd, ScaledClock(directory / CLOCK)
        self.directory, self._children, self._world = directory, children, world
        self._agent: Child | None = None
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(directory / "notify"))
        self._notify.settimeout(0.02)

    def beside(self, directory: Path, own: Mapping[str, str]) -> Stage:
        """Another host in the same world."""
        return Stage(directory, self._children, self.crowd, self._world, own)

    def end(self) -> None:
        """Told to, as by its service manager."""
        self._children.end(self._name)

    def kill(self) -> None:
        """As the machine that goes off."""
        self._children.kill(self._name)

    @staticmethod
    def counted(words: str) -> int:
        """How many jobs an agent's line speaks of."""
        return sum(int(count) for count in re.findall(r"(\d+) [a-z]+", words))

    def start(self) -> float:
        """Start the agent; the monotonic second in which it was asked for."""
        begun = time.monotonic()
        files = [str(self.directory / name) for name in ("provider.toml", CLOCK)]
        env = {**environment(), **self._own, "NOTIFY_SOCKET": str(self.directory / "notify")}
        arguments = [sys.executable, "-m", "bench.crowd_agent", *files]
        self._agent = self._children.start(self._name, arguments, env=env, says_hello=False)
        return begun

    def said(self) -> str:
        """The agent's newest line for `systemctl status`, if there is a new one."""
        with suppress(TimeoutError):
            for line in self._notify.recv(4096).decode().splitlines():
                if line.startswith("STATUS="):
                    return line.removeprefix("STATUS=")
        return ""

    def ask(self, path: str = "/") -> dict[str, Any]:
        url = f"http://127.0.0.1:{self._world.hello['control']}{path}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            said: dict[str, Any] = json.load(answer)
        return said

    def _seen(self) -> tuple[set[int], set[int], set[int]]:
        said = self.ask()
        launched, ended, ordered = (
            {int(job) for job in said[what]} for what in ("launched", "ended", "ordered")
        )
        return launched, ended, ordered

    def missing(self) -> int:
        """Due actions that were not made: a job assigned meanwhile and one whose instance stopped
        get an instance, one that ended loses it, one whose enclave failed gets a new run."""
        launched, ended, ordered = self._seen()
        these = self.crowd.these
        new = these("assigned") | these("stopped")
        return len(new - launched) + len(these("ended") - ended) + len(these("failed") - ordered)

    def wrong(self) -> int:
        """Those that are missing, and those that were made and not due. New hosts get orders."""
        launched, ended, ordered = self._seen()
        these = self.crowd.these
        new = these("assigned") | these("stopped")
        extra = len(launched - new) + len(ended - these("ended"))
        return self.missing() + extra + len(ordered - these("failed") - new)

    def sleep(self, seconds: float) -> None:
        """Of the agent's time."""
        until = self.clock.now() + seconds
        while (left := until - self.clock.now()) > 0:
            self.drain()
            time.sleep(min(left / SPEED, 1.0))

    def drain(self) -> None:
        """Read what the agent tells its manager, who would make it wait."""
        while self.said():
            pass

    def cpu(self) -> float:
        """Seconds that the agent's process has used, all threads."""
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def peak_mib(self) -> float:
        text = Path(f"/proc/{self._pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", text)
        assert found is not None
        return int(found[1]) / 1024

    @property
    def _pid(self) -> int:
        assert self._agent is not None
        if not self._agent.alive():
            raise RetryLater(f"the agent ended; see {self._agent.log}")
        return self._agent.pid


def environment() -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_DEFAULT_REGION": REGIONS[0],
    }
