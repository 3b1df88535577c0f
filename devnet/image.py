"""Make an enclave image from a folder, for the devnet.

The kernel is a stand-in (the simulated nitro-cli measures it and starts a process of its own)
unless `boots` brings a real one, with an init and its modules. Command line and folder are real
sections, so PCRs, sizes and signatures are what AWS's builder would measure of the same bytes. The
same folder and parts give the same image, on any machine.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devnet.nitro.parts import Parts
from enclave.eif.writer import ImageSpec, SigningKey, build, default_metadata
from faults import UsageFault

CMDLINE = "reboot=k panic=30 pci=off nomodules console=ttyS0 random.trust_cpu=on root=/dev/ram0"
KERNEL_STAND_IN_BYTES = 512 * 1024
MAX_FOLDER_BYTES = 512 * 1024 * 1024  # the whole image is put together in memory

_TRAILER = "TRAILER!!!"
_INIT_STAND_IN = b"#!/bin/sh\n# stands in for the enclave's init\n"


@dataclass(frozen=True)
class Entry:
    """One file, folder or link of the ramdisk; `name` is relative with forward slashes."""

    name: str
    mode: int
    data: bytes


def build_image(
    folder: Path,
    *,
    cmdline: str = CMDLINE,
    arm64: bool = False,
    boots: Parts | None = None,
    signer: SigningKey | None = None,
) -> bytes:
    """An image (EIF version 4) whose second ramdisk holds `folder`.

    Raises UsageFault: the folder is not there, too large, or holds what a ramdisk can't.
    """
    if not folder.is_dir():
        raise UsageFault(f"{folder} is not a folder; name the one whose files go into the image")
    first = _booting(boots) if boots else [_executable("init", _INIT_STAND_IN)]
    spec = ImageSpec(
        kernel=boots.kernel.read_bytes() if boots else kernel_stand_in(),
        cmdline=cmdline.strip().encode(),
        ramdisks=[cpio(first), cpio(list(_entries(folder)))],
        arm64=arm64,
        metadata=default_metadata(folder.resolve().name),
        signer=signer,
    )
    return build(spec)


def _booting(parts: Parts) -> list[Entry]:
    """The first ramdisk: the init, and the modules in the order in which it loads them."""
    modules = parts.modules()
    order = "".join(f"{path.name}\n" for path in modules).encode()
    return [
        _executable("init", parts.init.read_bytes()),
        Entry("modules", stat.S_IFDIR | 0o755, b""),
        Entry("modules/order", stat.S_IFREG | 0o644, order),
        *(
            Entry(f"modules/{path.name}", stat.S_IFREG | 0o644, path.read_bytes())
            for path in modules
        ),
    ]


def _executable(name: str, data: bytes) -> Entry:
    return Entry(name, stat.S_IFREG | 0o755, data)


def kernel_stand_in(size_bytes: int = KERNEL_STAND_IN_BYTES) -> bytes:
    """Bytes that say what they are and, like a kernel, do not compress away."""
    title = b"oyster-provider devnet: stands in for a kernel and boots nothing\n"
    noise = hashlib.shake_256(title).digest(size_bytes - len(title))
    return title + noise


def cpio(entries: list[Entry]) -> bytes:
    """A newc archive (cpio(5), "New ASCII Format"), with all times and owners zero."""
    parts = [_record(number, entry) for number, entry in enumerate(entries, start=1)]
    return b"".join([*parts, _record(0, Entry(_TRAILER, 0, b""))])


def _record(number: int, entry: Entry) -> bytes:
    name = entry.name.encode() + b"\0"
    links = 0 if entry.name == _TRAILER else 1
    numbers = (number, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % number for number in numbers)
    return _aligned(header + name) + _aligned(entry.data)


def _aligned(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)


def _entries(folder: Path) -> Iterator[Entry]:
    total = 0
    for path in sorted(folder.rglob("*")):
        entry = _entry(path, path.relative_to(folder).as_posix())
        total += len(entry.data)
        if total > MAX_FOLDER_BYTES:
            raise UsageFault(f"{folder} holds more than {MAX_FOLDER_BYTES >> 20} MiB; use less")
        yield entry


def _entry(path: Path, name: str) -> Entry:
    info = path.lstat()
    if stat.S_ISLNK(info.st_mode):
        return Entry(name, stat.S_IFLNK | 0o777, os.fsencode(path.readlink()))
    if stat.S_ISDIR(info.st_mode):
        return Entry(name, stat.S_IFDIR | 0o755, b"")
    if stat.S_ISREG(info.st_mode):
        executable = 0o755 if info.st_mode & 0o111 else 0o644
        return Entry(name, stat.S_IFREG | executable, path.read_bytes())
    raise UsageFault(f"{path} is neither file, folder nor link; an image can't hold it")
