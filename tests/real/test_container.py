"""The container file, built by buildah without a daemon, and the program that runs in it.

Its base is Debian 13's root as debootstrap makes it (`roots.py`), under the name that the file
says: no registry is asked. The rules that need no builder are in tests/release.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import program
from release.wheels import REQUIREMENTS
from tests.real.packages import wheel
from tests.real.roots import NEWER_SUITE, Unavailable, cached, needs, takes_minutes

FILE = program.HOME / "release/Containerfile"
BASE = "docker.io/library/debian:trixie-slim"
# What a machine behind a proxy of its own has, so that pip and apt reach their archives inside.
OURS = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/resolv.conf")
MISSING = "" if shutil.which("buildah") else "no buildah on this machine: apt-get install buildah"
WHY = takes_minutes() or needs() or MISSING

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("real"),
    pytest.mark.skipif(bool(WHY), reason=WHY or "all is there"),
]


@dataclass(frozen=True)
class Builder:
    """buildah with storage of its own."""

    folder: Path

    def __call__(self, *words: str, check: bool = True) -> str:
        place = ("--root", str(self.folder / "root"), "--runroot", str(self.folder / "run"))
        done = subprocess.run(
            ["buildah", *place, "--storage-driver", "vfs", *words],
            env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
        return done.stdout.strip()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Builder, str]]:
    """What the file builds of this tree's wheel."""
    folder = tmp_path_factory.mktemp("container")
    buildah = Builder(folder)
    try:
        _base(buildah)
    except Unavailable as why:
        pytest.skip(str(why))
    context = folder / "context"
    (context / "dist").mkdir(parents=True)
    shutil.copy2(REQUIREMENTS, context)
    name, content = wheel()
    (context / "dist" / name).write_bytes(content)
    words = ("--pull-never", "-t", "oyster-provider", "-f", str(FILE), str(context))
    buildah("build", *words)
    yield buildah, buildah("from", "--pull-never", "oyster-provider")
    buildah("rm", "--all", check=False)
    shutil.rmtree(folder, ignore_errors=True)


def _base(buildah: Builder) -> None:
    """Raises Unavailable."""
    root = cached(NEWER_SUITE, ())
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, str(root), "/")
    for place in filter(os.path.isfile, OURS):
        buildah("copy", "--quiet", container, place, place)
    buildah("commit", "--quiet", "--rm", container, BASE)


def test_container__runs__is_the_program_and_not_root(image: tuple[Builder, str]) -> None:
    buildah, container = image
    entry = "/opt/oyster-provider/bin/oyster-provider"
    said = buildah("run", container, "--", entry, "--version")
    assert said.startswith(f"oyster-provider {program.version()} (commit ")
    assert buildah("run", container, "--", "id", "-u") == "65532"


def test_container__started_without_a_configuration__says_so_and_ends_with_78(
    image: tuple[Builder, str],
) -> None:
    buildah, container = image
    entry = "/opt/oyster-provider/bin/oyster-provider run --config /etc/oyster-provider/config.toml"
    said = buildah("run", container, "--", "sh", "-c", f"{entry} 2>&1; echo $?")
    assert said.endswith("78")
    assert "config.toml" in said
    assert "Traceback" not in said
