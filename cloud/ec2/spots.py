"""Which zone and image an order was sent to, on disk before it is sent.

A ClientToken makes the same call launch once, but only the same call: EC2 keeps tokens apart by
zone (EC2 developer guide, "RunInstances idempotency"). A process that loses a reply, restarts and
picks another zone, because a sold-out zone has room again or a newer AMI came out, would launch a
second instance; listing first does not rule it out, since a new instance may not be listed yet.
So the choice is written down before the call, one small file an order, and is taken again until
AWS has refused it definitely. A lost directory costs only that: what was launched twice is found
by its tags, and `duplicates` decides which one stays.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog

from cloud.model import LaunchOrder, Zone

log = structlog.get_logger(__name__)

KEEP_SECONDS = 14 * 86400  # AWS does not say how long it keeps a token; an order lives for minutes


@dataclass(frozen=True, slots=True)
class Spot:
    """Where and from what image an instance is launched; with the order it makes the token.

    `least_gib` is what the image's root volume takes at least; `aws_key`, whether that is
    encrypted under AWS's own key instead of the account's default.
    """

    zone: Zone
    subnet: str
    ami: str
    root_device: str
    least_gib: int = 0
    aws_key: bool = False


class Spots(Protocol):
    """Who remembers where orders were sent: a folder of one host, or what several hosts share."""

    waits: bool
    """Whether its calls may wait for a network: then they are made on a thread."""

    def recall(self, order: LaunchOrder) -> Spot | None:
        """Where the order was sent last, unless that was refused definitely."""
        ...

    def note(self, order: LaunchOrder, spot: Spot, now: float) -> None:
        """The order is about to be sent to `spot`. Raises RetryLater: it must not be."""
        ...

    def refused(self, order: LaunchOrder, spot: Spot) -> None:
        """AWS refused the order at `spot`: nothing runs there."""
        ...


def spot_to(spot: Spot) -> dict[str, Any]:
    """As JSON keeps it. The usual key is left out: notes of earlier versions stay equal to it, and
    readable for them."""
    kept = asdict(spot)
    if not spot.aws_key:
        del kept["aws_key"]
    return kept


def spot_from(kept: Mapping[str, Any]) -> Spot:
    """What `spot_to` made. Raises TypeError: it is none."""
    return Spot(**kept)


class LaunchMemory:
    """One file an order in `directory`; small synchronous writes, each durable on return.

    A disk that is full keeps no job from its instance: this process remembers all the same.
    """

    waits = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._unwritten: dict[str, Spot] = {}

    @classmethod
    def within(cls, state_dir: Path) -> LaunchMemory:
        """Of the host that keeps its state there."""
        return cls(state_dir / "launches")

    def recall(self, order: LaunchOrder) -> Spot | None:
        """Where the order was sent last, unless that was refused definitely."""
        if spot := self._unwritten.get(order_key(order)):
            return spot
        try:
            return spot_from(json.loads(self._file(order).read_text())["spot"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def note(self, order: LaunchOrder, spot: Spot, now: float) -> None:
        """The order is about to be sent to `spot`."""
        self._unwritten[order_key(order)] = spot
        try:
            self._write(order, spot, now)
        except OSError as error:
            log.error("launch.not_noted", job=order.identity.job, error=str(error))
        else:
            del self._unwritten[order_key(order)]

    def _write(self, order: LaunchOrder, spot: Spot, now: float) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        target = self._file(order)
        fresh = target.with_suffix(".new")
        with fresh.open("w") as file:
            json.dump({"at": now, "spot": spot_to(spot)}, file)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)
        self._sync_directory()

    def refused(self, order: LaunchOrder, spot: Spot) -> None:
        """AWS refused the order at `spot`: nothing runs there. A note of another spot stays."""
        if self.recall(order) != spot:
            return
        self._unwritten.pop(order_key(order), None)
        with suppress(OSError):  # a note that stays costs one call that is refused again
            self._file(order).unlink(missing_ok=True)

    def prune(self, now: float) -> int:
        """Drop what is older than KEEP_SECONDS, and what can't be read; returns how many."""
        old = [file for file in self._files() if _written(file) < now - KEEP_SECONDS]
        for file in old:
            file.unlink(missing_ok=True)
        return len(old)

    def rows(self) -> list[dict[str, Any]]:
        """Every note that can be read, as those who share them keep it (`order_key`, `spot`,
        `at`)."""
        found = [(file.stem, _note(file)) for file in self._files()]
        return [
            {"order_key": key, "spot": note["spot"], "at": float(note["at"])}
            for key, note in found
            if note is not None
        ]

    def _files(self) -> list[Path]:
        return list(self._directory.glob("*.json")) if self._directory.is_dir() else []

    def _file(self, order: LaunchOrder) -> Path:
        return self._directory / f"{order_key(order)}.json"

    def _sync_directory(self) -> None:
        handle = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _note(file: Path) -> dict[str, Any] | None:
    """What the file says; None: nothing that could be a note."""
    try:
        note: dict[str, Any] = json.loads(file.read_text())
        spot_from(note["spot"])
        float(note["at"])
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return note


def _written(file: Path) -> float:
    note = _note(file)
    return float("-inf") if note is None else float(note["at"])


def order_key(order: LaunchOrder) -> str:
    """Tells orders apart; the deadline and the preferred zone do not make another order."""
    tags = sorted(order.identity.tags().items())
    return _digest(json.dumps([tags, order.region, order.instance_type]))


def client_token(order: LaunchOrder, spot: Spot) -> str:
    """The ClientToken of this order at this spot: 64 hex digits, all that EC2 allows."""
    key = ":aws-key" if spot.aws_key else ""
    return _digest(f"{order_key(order)}:{spot.ami}:{spot.subnet}{key}")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
