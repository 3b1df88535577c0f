"""Debian's archive through an apt of one folder's own: other suites than this machine's, unpacked.

Nothing is installed and no list, cache or preference of this machine is touched. What is fetched is
verified by apt against the archive's keys, as always; the mirror is the one that this machine uses.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from faults import RetryLater, UsageFault

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_TOOLS = ("apt-get", "dpkg-deb", "dpkg-source")
_CONFIG = """\
Dir::Etc::sourcelist "{folder}/sources.list";
Dir::Etc::sourceparts "{folder}/none";
Dir::Etc::preferences "{folder}/preferences";
Dir::Etc::preferencesparts "{folder}/none";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "root";
"""


def missing() -> list[str]:
    """What of apt is not on this machine."""
    found = [tool for tool in _TOOLS if shutil.which(tool) is None]
    return found if KEYRING.is_file() else [*found, str(KEYRING)]


class Archive:
    """The suites of Debian that are named, below `folder`. Raises UsageFault, RetryLater."""

    def __init__(self, folder: Path, suites: Sequence[str]) -> None:
        self._folder = folder.resolve()
        for name in ("none", "lists/partial", "cache/archives/partial", "files", "unpacked"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        mirror = _mirror()
        kinds = [(kind, suite) for suite in suites for kind in ("deb", "deb-src")]
        lines = [f"{kind} [signed-by={KEYRING}] {mirror} {suite} main" for kind, suite in kinds]
        (self._folder / "sources.list").write_text("\n".join([*lines, ""]))
        self._config = self._folder / "apt.conf"
        self._config.write_text(_CONFIG.format(folder=self._folder))
        self._apt("update")

    def unpacked(self, package: str, suite: str) -> tuple[Path, str]:
        """The files of a binary package, and its version."""
        self._apt("download", f"{package}/{suite}")
        (deb,) = (self._folder / "files").glob(f"{package}_*.deb")
        into = self._folder / "unpacked" / package
        _run(["dpkg-deb", "-x", str(deb), str(into)])
        version = _run(["dpkg-deb", "-f", str(deb), "Version"]).strip()
        deb.unlink()
        return into, version

    def source(self, package: str, suite: str) -> tuple[Path, str]:
        """The source of a package with Debian's changes, and its version."""
        self._apt("source", "--download-only", f"{package}/{suite}")
        (dsc,) = (self._folder / "files").glob(f"{package}_*.dsc")
        into = self._folder / "source" / package
        into.parent.mkdir(exist_ok=True)
        # apt has verified it against the archive; who uploaded it is in no keyring here.
        _run(["dpkg-source", "--no-check", "-x", str(dsc), str(into)])
        fields = dict(line.split(": ", 1) for line in dsc.read_text().splitlines() if ": " in line)
        return into, fields["Version"]

    def newest(self, package: str) -> str:
        """The package that this one, which is empty, depends on: kernels are numbered so."""
        said = self._apt("depends", "--important", package, tool="apt-cache")
        return next(line.split()[1] for line in said.splitlines() if "Depends:" in line)

    def _apt(self, *words: str, tool: str = "apt-get") -> str:
        environ = {**os.environ, "APT_CONFIG": str(self._config)}
        return _run([tool, "-qq", *words], self._folder / "files", environ)


def _mirror() -> str:
    """Of this machine's own sources (apt-get(8), indextargets)."""
    said = _run(["apt-get", "indextargets", "--format", "$(ORIGIN) $(REPO_URI)"])
    found = [line.split()[1] for line in said.splitlines() if line.startswith("Debian ")]
    plain = [uri for uri in found if "security" not in uri]
    if not plain:
        raise UsageFault("apt knows no archive of Debian here: run 'apt-get update' first")
    return plain[0]


def _run(
    words: Sequence[str], folder: Path | None = None, environ: dict[str, str] | None = None
) -> str:
    done = subprocess.run(
        words, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["nothing"]
        raise RetryLater(f"{' '.join(words[:3])} failed: {said[-1]}")
    return done.stdout
