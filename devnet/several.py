"""Several hosts of one provider: a database they share, and for each a machine and a way to it.

And what can happen to them: the machine is off, the agent freezes, the way to the database is cut.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import program
from devnet.database import MISSING, programs
from devnet.detached import lives
from devnet.machine import OFF, PID
from devnet.processes import Child, Children, born, free_port
from devnet.state import Devnet, environment
from faults import Refused, RetryLater, UsageFault

MOST_HOSTS = 5
GONE_SECONDS = 5.0
Settings = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Database:
    """The PostgreSQL that hosts share."""

    child: Child
    url_file: Path

    @property
    def port(self) -> int:
        return int(self.child.hello["port"])

    @property
    def url(self) -> str:
        return str(self.child.hello["url"])

    def added_to(self, settings: Settings) -> dict[str, Mapping[str, Any]]:
        """The configuration of all hosts; a terminal's own way to the database is never cut."""
        journal = {**settings.get("journal", {}), "url_file": str(self.url_file)}
        return {**settings, "journal": journal}


def names_of(count: int) -> tuple[str, ...]:
    """a, b, c, ... Raises UsageFault: so many are not a devnet's."""
    if not 1 <= count <= MOST_HOSTS:
        raise UsageFault(f"--hosts {count}: from 1 to {MOST_HOSTS}")
    return tuple(ascii_lowercase[:count])


def require_database() -> None:
    """Raises RetryLater: there is no PostgreSQL here."""
    if programs() is None:
        raise RetryLater(f"several hosts share a journal, and {MISSING}")


def start_database(directory: Path, children: Children) -> Database:
    """Raises RetryLater: there is no PostgreSQL here, or it does not start."""
    require_database()
    child = children.start("database", program.module("devnet.database"))
    return Database(child, _secret(directory / "hosts" / "journal-url", str(child.hello["url"])))


def _secret(file: Path, text: str) -> Path:
    file.write_text(text)
    file.chmod(0o600)
    return file


def start_hosts(
    devnet: Devnet,
    directory: Path,
    children: Children,
    database: Database,
    names: Sequence[str],
    ahead_seconds: Mapping[str, float],
) -> Devnet:
    """The machines: one configuration, each with a folder, a name and a way to the database, and
    maybe a clock that is ahead."""
    started = {"database": database.child.pid, "postgres": int(database.child.hello["pid"])}
    hosts = dict[str, Mapping[str, str]]()
    for name in names:
        folder = directory / "hosts" / name
        folder.mkdir(mode=0o700)
        to = program.module("devnet.relay", "--to", str(database.port))
        relay = children.start(f"relay-{name}", to)
        hosts[name] = _own_environment(folder, name, database, int(relay.hello["port"]))
        env = {**environment(devnet), **hosts[name]}
        ahead = str(ahead_seconds.get(name, 0.0))
        words = program.module("devnet.machine", "--folder", str(folder), "--ahead", ahead)
        machine = children.start(f"machine-{name}", words, env=env)
        started |= {f"relay-{name}": relay.pid, f"machine-{name}": machine.pid}
    births = {pid: born(pid) for pid in started.values()}
    children_, births = {**devnet.children, **started}, {**devnet.born, **births}
    return replace(devnet, hosts=hosts, children=children_, born=births)


def _own_environment(folder: Path, name: str, database: Database, port: int) -> dict[str, str]:
    """What differs between hosts; a terminal asks the first one's agent."""
    url = database.url.replace(f":{database.port}/", f":{port}/")
    own = {
        "OYSTER_STATE_DIR": str(folder / "state"),
        "OYSTER_JOURNAL__URL_FILE": str(_secret(folder / "journal-url", url)),
        "OYSTER_JOURNAL__HOST": name,
    }
    listens = {} if name == ascii_lowercase[0] else {"OYSTER_STATUS__LISTEN": _listen()}
    return {**own, **listens}


def _listen() -> str:
    return f"127.0.0.1:{free_port()}"


# What can happen to a host. Each raises UsageFault: there is no such host; Refused: it is so
# already, or can't be.


def kill(directory: Path, devnet: Devnet, host: str) -> None:
    """The machine is off: its agent ends as by kill -9, and nothing starts it again."""
    folder, pid = _folder(directory, devnet, host), _agent(directory, devnet, host)
    (folder / OFF).touch()
    os.kill(pid, signal.SIGKILL)
    until = time.monotonic() + GONE_SECONDS
    while (folder / PID).exists() and time.monotonic() < until:
        time.sleep(0.05)


def start(directory: Path, devnet: Devnet, host: str) -> None:
    """The machine is on again."""
    folder = _folder(directory, devnet, host)
    if not (folder / OFF).exists():
        raise Refused(f"host {host} is not off")
    (folder / OFF).unlink()


def freeze(directory: Path, devnet: Devnet, host: str) -> None:
    """Its agent stands still, as a machine that hangs or a virtual one that is paused."""
    os.kill(_agent(directory, devnet, host), signal.SIGSTOP)


def thaw(directory: Path, devnet: Devnet, host: str) -> None:
    """It goes on where it was."""
    os.kill(_agent(directory, devnet, host), signal.SIGCONT)


def cut(directory: Path, devnet: Devnet, host: str) -> None:
    """Nothing comes through between it and the database, and no connection is closed."""
    os.kill(_relay(directory, devnet, host), signal.SIGSTOP)


def heal(directory: Path, devnet: Devnet, host: str) -> None:
    """The way is there again."""
    os.kill(_relay(directory, devnet, host), signal.SIGCONT)


def _folder(directory: Path, devnet: Devnet, host: str) -> Path:
    environment(devnet, host)  # names those that are there
    return directory / "hosts" / host


def _agent(directory: Path, devnet: Devnet, host: str) -> int:
    folder = _folder(directory, devnet, host)
    if (folder / OFF).exists():
        raise Refused(f"host {host} is off: 'devnet start {host}' brings it back")
    try:
        return int((folder / PID).read_text())
    except (OSError, ValueError):
        raise RetryLater(f"host {host} has no agent just now: it is being started") from None


def _relay(directory: Path, devnet: Devnet, host: str) -> int:
    _folder(directory, devnet, host)
    pid = devnet.children[f"relay-{host}"]
    if not lives(devnet, pid):
        raise RetryLater(f"the way from host {host} to the database is gone; see devnet status")
    return pid
