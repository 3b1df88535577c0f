"""The container file by the rules that need no builder; where docker has a daemon, it is built."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "release/Containerfile"
KNOWN = {"FROM", "RUN", "COPY", "USER", "VOLUME", "STOPSIGNAL", "ENTRYPOINT", "CMD"}

pytestmark = pytest.mark.integration


def _instructions() -> list[tuple[str, str]]:
    whole = re.sub(r"\\\n\s*", "", FILE.read_text())
    lines = [line for line in whole.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_containerfile__its_words__are_instructions_in_a_sound_order() -> None:
    words = [word for word, _ in _instructions()]
    assert set(words) <= KNOWN
    assert words.count("FROM") == 2
    assert words.index("USER") > max(i for i, word in enumerate(words) if word in ("RUN", "COPY"))


def test_containerfile__who_it_runs_as__is_not_root_and_what_it_runs_is_no_shell() -> None:
    last = dict(_instructions())
    assert int(last["USER"]) > 0
    assert json.loads(last["ENTRYPOINT"])[0].startswith("/opt/")
    assert json.loads(last["CMD"])[0] == "run"


def test_containerfile__packages_it_takes__leave_no_lists_and_have_no_floating_image() -> None:
    for word, rest in _instructions():
        if word == "RUN" and "apt-get install" in rest:
            assert "--no-install-recommends" in rest
            assert "rm -rf /var/lib/apt/lists" in rest
        if word == "FROM":
            assert ":" in rest.split()[0]
            assert not rest.split()[0].endswith(":latest")


def test_containerfile__what_it_copies__is_there_or_made_by_make_dist() -> None:
    sources = [
        source
        for word, rest in _instructions()
        if word == "COPY" and not rest.startswith("--from")
        for source in rest.split()[:-1]
    ]
    assert sources
    for source in sources:
        assert source.startswith("dist/") or (ROOT / source).exists()


def test_containerfile__built_where_a_daemon_is__says_its_version() -> None:
    try:
        subprocess.run(["docker", "info"], capture_output=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("no docker daemon on this machine")
    words = ["docker", "build", "-q", "-f", str(FILE), str(ROOT)]
    built = subprocess.run(words, capture_output=True, text=True, check=True)
    ran = subprocess.run(
        ["docker", "run", "--rm", built.stdout.strip(), "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ran.stdout.startswith("oyster-provider ")
