"""A Debian with its real systemd, as a container that boots in a second and shares our loopback.

The root is made by debootstrap once and kept in the cache folder; each machine is an overlay over
it, so nothing that happens in one is left. Needs root, debootstrap, systemd-nspawn and, the first
time, Debian's archive.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

SUITE = "bookworm"
PACKAGES = (
    "ca-certificates", "dbus", "init-system-helpers", "iproute2", "libstdc++6",
    "procps", "python3", "systemd", "systemd-sysv",
)  # fmt: skip
_ENVIRON = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


class Unavailable(Exception):
    """No such machine can be had here; the text says why."""


def needs() -> str:
    """Why this can't run here; empty when it can."""
    if os.geteuid() != 0:
        return "a container with its own systemd needs root"
    missing = [name for name in ("debootstrap", "systemd-nspawn") if shutil.which(name) is None]
    return f"not on this machine: {', '.join(missing)}" if missing else ""


def cached_root() -> Path:
    """The root that machines stand on. Raises Unavailable where debootstrap can't make it."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(" ".join((SUITE, *PACKAGES)).encode()).hexdigest()[:12]
    kept = cache / f"oyster-provider/real/{SUITE}-{digest}"
    if kept.is_dir():
        return kept
    part = kept.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    command = ("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE)
    done = subprocess.run([*command, str(part)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"debootstrap failed: {done.stdout.strip().splitlines()[-1:]}")
    (part / "etc/hosts").write_text("127.0.0.1 localhost\n")
    _add_cloud_init(part)
    part.rename(kept)
    return kept


def _add_cloud_init(root: Path) -> None:
    """Debian's, switched off: its one test runs it by hand, and skips where it is missing.

    By apt: debootstrap configures in an order that what it needs does not take.
    """
    shutil.copy2("/etc/resolv.conf", root / "etc/resolv.conf")
    words = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "cloud-init")
    environ = {**_ENVIRON, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["chroot", str(root), *words], env=environ, capture_output=True, check=False)
    (root / "etc/cloud").mkdir(exist_ok=True)
    (root / "etc/cloud/cloud-init.disabled").touch()


class Machine:
    """One running container; a context manager that leaves nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.root = folder / "root"
        self._nspawn: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Machine:
        upper, work = self._folder / "upper", self._folder / "work"
        for each in (upper, work, self.root):
            each.mkdir(parents=True)
        options = f"lowerdir={cached_root()},upperdir={upper},workdir={work}"
        words = ["mount", "-t", "overlay", "overlay", "-o", options, str(self.root)]
        mounted = subprocess.run(words, capture_output=True, text=True, check=False)
        if mounted.returncode:
            raise Unavailable(f"no overlay can be mounted: {mounted.stderr.strip()}")
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.power_off()
        subprocess.run(["umount", "-l", str(self.root)], check=False)

    def boot(self) -> None:
        """Start it and wait until its systemd is done with starting."""
        with (self._folder / "console.log").open("ab") as log:
            self._nspawn = self._start(log)
        self._wait_until_up()

    def _start(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            ["systemd-nspawn", "--register=no", "--keep-unit", "-q", "-D", str(self.root),
             "--console=pipe", "-b"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip

    def power_off(self) -> None:
        """As by a switch: systemd-nspawn takes everything with it."""
        if self._nspawn is not None:
            self._nspawn.kill()
            self._nspawn.wait()
            self._nspawn = None

    def reboot(self) -> None:
        """`systemctl reboot`: systemd-nspawn(1) ends with 133 to be started again (--keep-unit)."""
        self("systemctl", "reboot", check=False)
        assert self._nspawn is not None
        assert self._nspawn.wait(120) == 133, "the machine ended, and not for a reboot"
        self.boot()

    def __call__(
        self, *command: str, check: bool = True, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root."""
        init = self._init()
        assert init is not None, "the machine is not up"
        variables = [f"{k}={v}" for k, v in {**_ENVIRON, **(environ or {})}.items()]
        done = subprocess.run(
            ["nsenter", "-t", str(init), "-a", "env", "-i", *variables, *command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=600,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """A file in it, root's."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        place.chmod(mode)

    def _wait_until_up(self) -> None:
        def up() -> bool:
            if self._init() is None:
                return False
            said = self("systemctl", "is-system-running", check=False).stdout.strip()
            return said in ("running", "degraded")

        until(up, 60, "systemd did not come up")

    def _init(self) -> int | None:
        if self._nspawn is None:
            return None
        pid = self._nspawn.pid
        with suppress(OSError):
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            for child in children:
                if "systemd" in Path(f"/proc/{child}/comm").read_text():
                    return int(child)
        return None


def until(done: Callable[[], object], seconds: float, otherwise: str | Callable[[], str]) -> None:
    """Ask until it is so: a real machine has no clock to pass in. Fails after `seconds`."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise AssertionError(otherwise if isinstance(otherwise, str) else otherwise())
        time.sleep(0.25)
