"""`pipx install` and `uv tool install` of the wheel: the program is on the PATH and runs.

Both installers come from the index into an environment of their own; what they install, from the
wheels that the package is made of, so that the versions are those of requirements.txt.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import program
from release import wheels
from tests.real.packages import wheel
from tests.real.roots import takes_minutes

PIPX, UV = "pipx==1.18.4", "uv==0.13.8"
WHY = takes_minutes()

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("real"),
    pytest.mark.skipif(bool(WHY), reason=WHY or "all is there"),
]


@dataclass(frozen=True)
class Tools:
    """The folder of both installers' programs, the wheel, and the folder of all it needs."""

    bin: Path
    wheel: Path
    links: Path

    def run(self, *words: str, environ: Mapping[str, str]) -> str:
        """What it prints; fails the test where it fails."""
        command = [str(self.bin / words[0]), *words[1:]]
        done = subprocess.run(
            command, env={**os.environ, **environ}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    folder = tmp_path_factory.mktemp("installers")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
    words = [str(folder / "venv/bin/pip"), "install", "--quiet", PIPX, UV]
    got = subprocess.run(words, capture_output=True, text=True, check=False)
    if got.returncode:
        pytest.skip(f"{PIPX} and {UV} are not to be had here: {got.stderr.strip()[-200:]}")
    name, content = wheel()
    (folder / name).write_bytes(content)
    return Tools(folder / "venv/bin", folder / name, wheels.of_this_python())


def _is_the_program(door: Path) -> None:
    done = subprocess.run([str(door), "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"oyster-provider {program.version()} (commit ")
    shown = subprocess.run([str(door), "run", "--help"], capture_output=True, check=True)
    assert b"Usage" in shown.stdout


def test_pipx__installs_the_wheel__is_a_program_that_goes_again(
    tools: Tools, tmp_path: Path
) -> None:
    home = {"PIPX_HOME": str(tmp_path / "home"), "PIPX_BIN_DIR": str(tmp_path / "bin")}
    offline = f"--pip-args=--no-index --find-links {tools.links}"
    words = ("install", "--python", sys.executable, offline, str(tools.wheel))
    tools.run("pipx", *words, environ=home)
    _is_the_program(tmp_path / "bin/oyster-provider")
    tools.run("pipx", "uninstall", "oyster-provider", environ=home)
    assert not (tmp_path / "bin/oyster-provider").exists()


def test_uv__installs_the_wheel_as_a_tool__is_a_program_that_goes_again(
    tools: Tools, tmp_path: Path
) -> None:
    home = {
        "UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin"),
        "UV_CACHE_DIR": str(tmp_path / "cache"), "UV_OFFLINE": "1",
    }  # fmt: skip
    links = ("--no-index", "--find-links", str(tools.links))
    words = ("tool", "install", "--python", sys.executable, *links, str(tools.wheel))
    tools.run("uv", *words, environ=home)
    _is_the_program(tmp_path / "bin/oyster-provider")
    tools.run("uv", "tool", "uninstall", "oyster-provider", environ=home)
    assert not (tmp_path / "bin/oyster-provider").exists()
