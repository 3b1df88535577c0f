"""`make dist deb`: everything that a release publishes, each made twice to the same bytes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import program
from release.wheels import REQUIREMENTS, entries
from tests.real.roots import takes_minutes

WHY = takes_minutes()
SHIPPED = (
    "opt/oyster-provider/bin/oyster-provider",
    "usr/bin/oyster-provider",
    "usr/lib/systemd/system/oyster-provider.service",
    "usr/lib/sysusers.d/oyster-provider.conf",
    "usr/lib/tmpfiles.d/oyster-provider.conf",
    "usr/share/man/man1/oyster-provider.1.gz",
    "usr/share/bash-completion/completions/oyster-provider",
    "usr/share/zsh/vendor-completions/_oyster-provider",
    "usr/share/fish/vendor_completions.d/oyster-provider.fish",
    "usr/share/doc/oyster-provider/copyright",
    "usr/share/doc/oyster-provider/examples/config.toml",
    "usr/share/doc/oyster-provider/monitoring/alerts.yml",
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("real"),
    pytest.mark.skipif(bool(WHY), reason=WHY or "all is there"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exit code 0 says that a second build gave the same bytes."""
    folder = tmp_path_factory.mktemp("dist")
    for what in ("dist", "deb"):
        done = subprocess.run(
            [sys.executable, "-m", "release", what, str(folder)],
            cwd=program.HOME, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    return folder


def test_release__all_that_is_published__is_there_under_its_sums(made: Path) -> None:
    names = sorted(file.name for file in made.iterdir())
    ends = (".cdx.json", ".deb", ".tar.gz", ".whl", "SHA256SUMS")
    assert sorted(end for name in names for end in ends if name.endswith(end)) == sorted(ends)
    assert len(names) == len(ends)
    words = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    checked = subprocess.run(words, cwd=made, capture_output=True, text=True, check=True)
    assert checked.stdout.count(": OK") == 4


def test_bill__is_cyclonedx__and_has_every_pin_of_what_is_shipped(made: Path) -> None:
    (place,) = made.glob("*.cdx.json")
    bill = json.loads(place.read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "oyster-provider"
    held = {(_normal(each["name"]), each["version"]) for each in bill["components"]}
    pins = _pins()
    assert len(pins) > 50
    assert pins - held == set()


def _pins() -> set[tuple[str, str]]:
    """Name and version of what requirements.txt pins for this machine."""
    texts = (entry.partition("\\")[0] for entry in entries(REQUIREMENTS.read_text()))
    wanted = [Requirement(text) for text in texts]
    here = [one for one in wanted if one.marker is None or one.marker.evaluate()]
    return {(_normal(one.name), str(one.specifier).removeprefix("==")) for one in here}


def test_package__by_dpkg__has_each_file_that_a_provider_is_promised(made: Path) -> None:
    (package,) = made.glob("*.deb")
    words = ["dpkg-deb", "--contents", str(package)]
    listed = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    held = {line.split()[5].removeprefix("./") for line in listed.splitlines()}
    assert set(SHIPPED) <= held
    owners = {line.split()[1] for line in listed.splitlines()}
    assert owners == {"root/root"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
