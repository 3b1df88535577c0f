"""Roots of Debian, made by debootstrap once and kept in the cache folder; overlays stand on them.

Needs root, debootstrap, systemd-nspawn and, the first time, Debian's archive.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from devnet.kept import once

SUITE, NEWER_SUITE = "bookworm", "trixie"
CLOUD_INIT = ("cloud-init",)
ENVIRON = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}
_PACKAGES = (
    "ca-certificates", "dbus", "init-system-helpers", "iproute2", "libstdc++6",
    "procps", "python3", "systemd", "systemd-sysv",
)  # fmt: skip


class Unavailable(Exception):
    """No such root or machine can be had here; the text says why."""


def needs() -> str:
    """Why this can't run here; empty when it can."""
    if os.geteuid() != 0:
        return "a container with its own systemd needs root"
    missing = [name for name in ("debootstrap", "systemd-nspawn") if shutil.which(name) is None]
    return f"not on this machine: {', '.join(missing)}" if missing else ""


def takes_minutes() -> str:
    """Why what takes minutes is not run now; empty when it is."""
    if "OYSTER_REAL" not in os.environ:
        return "takes minutes: make real"
    return "takes minutes: make real, outside of CI" if "CI" in os.environ else ""


def why_not_newer(also: Sequence[str] = (), *, quick: bool = False) -> str:
    """Why there is no root of the newer suite. CI has no minutes for one: there it is used where it
    is kept already, and for what is `quick` alone."""
    if "OYSTER_REAL" not in os.environ:
        return "takes minutes: make real"
    if "CI" in os.environ and not (quick and place(NEWER_SUITE, also).is_dir()):
        return "takes minutes: make real, outside of CI"
    return needs()


def cache() -> Path:
    """Where what takes minutes is kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "oyster-provider/real"


def place(suite: str, also: Sequence[str]) -> Path:
    """Where the root of the suite with these packages is, or would be."""
    digest = hashlib.sha256(" ".join((suite, *_PACKAGES, *also)).encode()).hexdigest()[:12]
    return cache() / f"{suite}-{digest}"


def cached(suite: str = SUITE, also: Sequence[str] = CLOUD_INIT) -> Path:
    """The root that machines stand on. Raises Unavailable where debootstrap can't make it."""
    return once(place(suite, also), lambda work: _bootstrap(work / "root", suite, also))


def _bootstrap(root: Path, suite: str, also: Sequence[str]) -> Path:
    root.mkdir()
    command = ("debootstrap", "--variant=minbase", f"--include={','.join(_PACKAGES)}", suite)
    done = subprocess.run([*command, str(root)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"debootstrap failed: {done.stdout.strip().splitlines()[-1:]}")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    _add(root, also)
    return root


def _add(root: Path, packages: Sequence[str]) -> None:
    """By apt, which debootstrap's order of configuring is not enough for. A test of a package that
    could not be had skips; cloud-init is switched off: its one test runs it by hand."""
    shutil.copy2("/etc/resolv.conf", root / "etc/resolv.conf")
    words = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    environ = {**ENVIRON, "DEBIAN_FRONTEND": "noninteractive"}
    if packages:
        subprocess.run(["chroot", str(root), *words], env=environ, capture_output=True, check=False)
    (root / "etc/cloud").mkdir(exist_ok=True)
    (root / "etc/cloud/cloud-init.disabled").touch()


class Overlay:
    """What is written below `root` is gone with `folder`; the kept one stays as it is."""

    def __init__(self, folder: Path, suite: str, also: Sequence[str]) -> None:
        self._folder, self._suite, self._also = folder, suite, also
        self.root = folder / "root"

    def mount(self) -> None:
        """Raises Unavailable."""
        upper, work = self._folder / "upper", self._folder / "work"
        for each in (upper, work, self.root):
            each.mkdir(parents=True)
        lower = cached(self._suite, self._also)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        words = ["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)]
        mounted = subprocess.run(words, capture_output=True, text=True, check=False)
        if mounted.returncode:
            raise Unavailable(f"no overlay can be mounted: {mounted.stderr.strip()}")

    def unmount(self) -> None:
        """At once, whoever still has a file of it open."""
        subprocess.run(["umount", "-l", str(self.root)], check=False)
