"""`python -m tests.fuzz`: finds all fuzzers, and says what it found by its exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import __main__ as entry
from tests.fuzz.budget import VARIABLE, examples

pytestmark = pytest.mark.unit


def test_fuzzers__of_all_readers__are_found_by_name() -> None:
    assert {"rpc", "ipfs"} <= entry.fuzzers().keys()


def test_main__a_name_that_is_none__is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        entry.main(["1", "nothing"])
    assert end.value.code == 2
    assert "there are" in capsys.readouterr().err


@pytest.mark.parametrize("found_in", [None, 1, 3])
def test_main__rounds__have_a_seed_each_and_end_at_what_is_found(
    found_in: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds: list[int] = []
    ticks = iter(range(100))

    def rounds(paths: list[Path], seed: int) -> bool:
        assert [path.name for path in paths] == ["test_fuzz_rpc.py"]
        seeds.append(seed)
        return len(seeds) != found_in

    monkeypatch.setattr(entry, "_round", rounds)
    code = entry.main(["5", "rpc", "--seed", "7"], now=lambda: float(next(ticks)))
    assert code == (0 if found_in is None else 1)
    assert seeds == [7, 8, 9, 10][: found_in or 4]
    assert f"--seed {seeds[-1]}" in capsys.readouterr().out or found_in is None


def test_examples__in_a_long_run__are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert examples(30) == 30
    monkeypatch.setenv(VARIABLE, "10")
    assert examples(30) == 300
