"""The real attestation documents, where they are at hand."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Known:
    """A document that somebody published, and what the manifest says of it."""

    name: str
    data: bytes
    at: float
    module_id: str
    pcrs: dict[int, str]
    debug: bool
    genuine: bool


def known_documents() -> list[Known]:
    """All documents of the manifest; none where the folder is absent."""
    folder = _folder()
    if folder is None:
        return []
    manifest = json.loads((folder / "manifest.json").read_text())
    return [_known(folder, entry) for entry in manifest["documents"]]


def genuine() -> list[Known]:
    """Those that AWS's hardware made and nobody altered; skips the test when there are none."""
    found = [each for each in known_documents() if each.genuine]
    if not found:
        pytest.skip("no folder with real documents: set OYSTER_TESTDATA")
    return found


def _known(folder: Path, entry: dict[str, object]) -> Known:
    name = str(entry["file"])
    return Known(
        name=name,
        data=(folder / name).read_bytes(),
        at=int(str(entry["timestamp_ms"])) / 1000,
        module_id=str(entry["module_id"]),
        pcrs={number: str(entry[f"pcr{number}"]) for number in (0, 1, 2, 3, 4, 8)},
        debug=bool(entry["debug_mode"]),
        genuine=not entry.get("must_reject", False),
    )


def _folder() -> Path | None:
    given = os.environ.get("OYSTER_TESTDATA")
    places = [Path(given)] if given else []
    places += [ROOT / up / "shared" / "testdata" for up in ("..", "../..")]
    found = [place / "attestation" for place in places]
    return next((place for place in found if (place / "manifest.json").exists()), None)
