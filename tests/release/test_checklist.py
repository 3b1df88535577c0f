"""What a release still needs is said a line each, and nothing is ready that was not looked at."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

import program
from faults import Refused
from release import dist
from release.checklist import points, shown

pytestmark = pytest.mark.integration

NAMES = ("o-1.tar.gz", "o-1-py3-none-any.whl", "o-1.cdx.json", "o_1_amd64.deb")


def _made(folder: Path, commit: str) -> Path:
    """All four kinds of files, of that commit as the wheel says it, and their sums."""
    for name in NAMES:
        (folder / name).write_bytes(name.encode())
    with zipfile.ZipFile(folder / NAMES[1], "w") as wheel:
        wheel.writestr("oyster_provider/commit.txt", f"{commit}\n")
    dist.write(folder, {})
    return folder


def _todo(folder: Path) -> dict[str, str]:
    """What is to be done about the files; git and the changelog have points of their own."""
    return {point.what: point.todo for point in points(folder) if str(folder) in point.what} | {
        point.what: point.todo for point in points(folder) if "built" in point.what
    }


def test_checklist__nothing_was_made__names_each_file_and_what_makes_it(tmp_path: Path) -> None:
    todo = _todo(tmp_path)
    assert len(todo) == 5
    assert set(todo.values()) == {"make dist deb"}
    said, done = shown(tmp_path)
    assert not done
    assert "git tag" not in said
    assert said.count("todo") >= 5


def test_checklist__all_was_made_of_this_commit__has_nothing_to_say_of_it(tmp_path: Path) -> None:
    assert set(_todo(_made(tmp_path, program.commit())).values()) == {""}


def test_checklist__made_of_another_commit__says_of_which(tmp_path: Path) -> None:
    todo = _todo(_made(tmp_path, "0123456789ab"))
    assert todo["what was built is of this commit"].startswith("the wheel is of 0123456789ab")


def test_checklist__a_file_was_changed_afterwards__its_sum_tells(tmp_path: Path) -> None:
    (_made(tmp_path, program.commit()) / NAMES[3]).write_bytes(b"other")
    (sums,) = [p for p in points(tmp_path) if p.what.startswith("SHA256SUMS")]
    assert "make dist deb" in sums.todo


def test_twice__another_build_gives_other_bytes__is_refused_by_name() -> None:
    numbers = itertools.count()

    def build() -> Mapping[str, bytes]:
        return {"same": b"", "moody": str(next(numbers)).encode()}

    with pytest.raises(Refused, match="not reproducible: moody differ"):
        dist.twice(build)
