"""How `run` ends: by codes that say to a service manager what they mean."""

from __future__ import annotations

from pathlib import Path

import pytest

import faults
from commands.run import service_code
from faults import Bug, Fault, Fenced, MustStop, Refused, RetryLater, TryElsewhere, UsageFault

from .program import oyster_here

pytestmark = pytest.mark.unit

CODES: dict[type[Fault], int] = {
    UsageFault: 78, MustStop: 3, RetryLater: 69, TryElsewhere: 69, Refused: 1, Bug: 1,
    Fault: 1, Fenced: 75,
}  # fmt: skip


@pytest.mark.parametrize(("kind", "code"), CODES.items())
def test_code__each_kind_of_fault__is_what_systemd_takes_it_for(
    kind: type[Fault], code: int
) -> None:
    assert service_code(kind("x")) == code


def test_codes__every_kind_that_faults_has__is_in_the_table() -> None:
    kinds = {each for each in vars(faults).values() if isinstance(each, type)}
    assert {each for each in kinds if issubclass(each, Fault)} == set(CODES)


def test_run__a_file_that_is_wrong__ends_with_78_and_one_line(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text("nonsense = 1\n")
    done = oyster_here("run", "--config", config)
    assert done.returncode == 78
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1
