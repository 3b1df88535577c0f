"""What takes minutes is made by one, whole or not at all, whoever else wants it at the time."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from devnet.kept import once

pytestmark = pytest.mark.unit

WANTING = 8


def test_once__many_want_it_at_the_same_time__is_made_by_one_and_whole_for_all(
    tmp_path: Path,
) -> None:
    """Each has a descriptor of the lock of its own, as processes have."""
    place, begun, makers = tmp_path / "cache/thing", threading.Barrier(WANTING), list[Path]()

    def make(work: Path) -> Path:
        makers.append(work)
        (work / "thing").mkdir()
        (work / "thing/one").write_text("1")
        (work / "thing/two").write_text("2")
        return work / "thing"

    def want() -> list[str]:
        begun.wait()
        return sorted(file.name for file in once(place, make).iterdir())

    with ThreadPoolExecutor(WANTING) as pool:
        seen = [each.result() for each in [pool.submit(want) for _ in range(WANTING)]]
    assert seen == [["one", "two"]] * WANTING
    assert len(makers) == 1
    assert sorted(file.name for file in place.parent.iterdir()) == [".lock", "thing"]


def test_once__maker_fails_or_was_cut_off__leaves_nothing_and_the_next_one_makes_it(
    tmp_path: Path,
) -> None:
    place, cut_off = tmp_path / "thing", tmp_path / "part-cut-off"
    cut_off.mkdir()
    (cut_off / "half").touch()

    def fail(work: Path) -> Path:
        (work / "half").touch()
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        once(place, fail)
    assert [file.name for file in tmp_path.iterdir()] == [".lock"]

    def make(work: Path) -> Path:
        (work / "thing").write_text("whole")
        return work / "thing"

    assert once(place, make).read_text() == "whole"
    assert once(place, fail).read_text() == "whole"
