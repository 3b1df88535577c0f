"""What an enclave is booted with, and where it is kept: outside of any tree, built once.

`XDG_CACHE_HOME/oyster-provider/nitro/`: a folder for what comes from Debian, whose name says by
which recipe, and beside it the init, whose name says of which sources.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

KERNEL, FIRMWARE, MODULES = "vmlinuz", "firmware", "modules"
QEMU, VSOCK_DEVICE, MANIFEST = "qemu", "vhost-device-vsock", "parts.json"
GUEST = Path(__file__).parent / "guest"
# Another one when what is built, or how, changes (build.py).
RECIPE = "qemu-10.0-1"
HOW = "`make real-nitro`, or `python -m devnet.nitro`, builds it"


@dataclass(frozen=True)
class Parts:
    """The folder with all of it and the init; `versions` of Debian's packages by name."""

    folder: Path
    init: Path
    versions: Mapping[str, str]

    @property
    def qemu(self) -> Path:
        return self.folder / QEMU

    @property
    def firmware(self) -> Path:
        return self.folder / FIRMWARE

    @property
    def vsock_device(self) -> Path:
        return self.folder / VSOCK_DEVICE

    @property
    def kernel(self) -> Path:
        return self.folder / KERNEL

    def modules(self) -> list[Path]:
        """The kernel's modules in the order in which they are loaded."""
        return sorted((self.folder / MODULES).iterdir())

    def words(self) -> str:
        """Which ones, for a reader."""
        return ", ".join(f"{name} {version}" for name, version in sorted(self.versions.items()))


def cache() -> Path:
    """Where all recipes are."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "oyster-provider/nitro"


def init_place(kept: Path | None = None) -> Path:
    """Where the init of these sources is, or would be."""
    sources = b"\0".join(path.read_bytes() for path in sorted(GUEST.iterdir()))
    return (kept or cache()) / f"init-{hashlib.sha256(sources).hexdigest()[:12]}"


def built(kept: Path | None = None) -> Parts | None:
    """All of it, or None where a part is not built. `kept`: another cache than this user's."""
    folder, init = (kept or cache()) / RECIPE, init_place(kept)
    try:
        found = Parts(folder, init, json.loads((folder / MANIFEST).read_text()))
    except FileNotFoundError:
        return None
    return found if init.is_file() else None
