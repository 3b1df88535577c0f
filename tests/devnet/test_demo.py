"""The demo that the README promises, as a test: the whole story, seen on chain and in AWS."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import program
from devnet.processes import born

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(400),
    pytest.mark.xdist_group("story"),  # not beside the other whole market: two cores
]

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("market", ["registry", "marketv1"])
def test_demo__the_whole_story__is_seen_and_leaves_nothing(tmp_path: Path, market: str) -> None:
    command = program.command("demo", "--dir", str(tmp_path), "--market", market)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "money is exact" in done.stdout
    said = " ".join(done.stdout.split())  # as wide as whoever reads it
    proven = "and so says the agent: `jobs show` init params proven: PCR16 is what they lead to"
    assert (proven in said) == (market == "marketv1")
    assert not (tmp_path / "devnet.json").exists()
    assert not _processes_of(tmp_path)


def _processes_of(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and born(int(entry.name)):
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue  # it ended while we looked
            if str(folder).encode() in line:
                found.append(int(entry.name))
    return found
