"""What the host remembers on disk, so that kill -9 and a reboot without S3 lose nothing.

Two small files, each replaced whole: the last desired document that was understood, and the
counters of the run. A file that cannot be read is as good as none, and a disk that is full costs
only that: the program goes on, and a reboot begins anew.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from enclave.host.config import Places
from enclave.host.decide import Tries
from enclave.host.documents import Desired, DocumentRefused


@dataclass(frozen=True)
class Run:
    """One run's counters, and when each phase of it was entered last (unix seconds)."""

    tries: Tries = field(default_factory=Tries)
    phases: dict[str, float] = field(default_factory=dict)


class Memory:
    """Reads and writes below the state directory."""

    def __init__(self, places: Places) -> None:
        self._desired = places.state / "desired.json"
        self._run = places.state / "run.json"

    def desired(self) -> Desired | None:
        """The last desired that was saved, if it can be understood."""
        try:
            return Desired.from_json(_load(self._desired))
        except DocumentRefused:
            return None

    def save_desired(self, desired: Desired) -> None:
        _save(self._desired, desired.to_json())

    def run(self) -> Run:
        """The counters that were saved; none if they cannot be read."""
        data = _load(self._run)
        try:
            return Run(Tries(**data["tries"]), dict(data["phases"]))
        except (KeyError, TypeError):
            return Run()

    def save_run(self, run: Run) -> None:
        _save(self._run, asdict(run))


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _save(path: Path, data: Any) -> None:
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(".new")
        with whole.open("w") as file:
            json.dump(data, file)
            file.flush()
            os.fsync(file.fileno())
        whole.replace(path)
