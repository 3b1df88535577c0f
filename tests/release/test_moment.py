"""The moment of a release is one, whatever happens to the tree while it is built twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import program
from faults import Refused
from release import dist, moment

pytestmark = pytest.mark.integration

SAY = "import os, sys; open(sys.argv[1], 'w').write(os.environ['SOURCE_DATE_EPOCH'])"
Commit = Callable[[int], None]


@pytest.fixture
def commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commit]:
    """Commits at a second of the epoch, to a tree that stands for this one."""
    tree = tmp_path / "tree"
    nobody = ("-c", "user.name=x", "-c", "user.email=x@y.example", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "init", "-q", str(tree)], check=True)

    def made(at: int) -> None:
        dated = {"GIT_COMMITTER_DATE": f"{at} +0000", "GIT_AUTHOR_DATE": f"{at} +0000"}
        words = ["git", "-C", str(tree), *nobody, "commit", "-q", "--allow-empty", "-m", "x"]
        subprocess.run(words, env={**os.environ, **dated}, check=True)

    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setattr(program, "HOME", tree)
    moment.epoch.cache_clear()
    yield made
    moment.epoch.cache_clear()


def test_twice__a_commit_between_the_two_builds__is_no_difference(
    commit: Commit, tmp_path: Path
) -> None:
    commit(1_000_000_000)
    builds = 0

    def build() -> dist.Files:
        nonlocal builds
        builds += 1
        dist._run(sys.executable, "-c", SAY, str(tmp_path / "said"))
        commit(1_000_000_000 + builds)
        return {"bill": (tmp_path / "said").read_bytes()}

    assert dist.twice(build) == {"bill": b"1000000000"}
    assert builds == 2


def test_twice__what_differs_for_another_reason__is_refused_by_its_name() -> None:
    builds = iter([{"a": b"1", "b": b"1"}, {"a": b"1", "b": b"2"}])
    with pytest.raises(Refused, match="not reproducible: b differ"):
        dist.twice(lambda: next(builds))


def test_epoch__given_by_whoever_builds__is_that(
    commit: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(1_000_000_000)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "7")
    assert moment.epoch() == 7
