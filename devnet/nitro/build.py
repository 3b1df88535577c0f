"""Build the parts, once: some six minutes of CPU, of which QEMU is nearly all.

QEMU is Debian's source of trixie (10.0), only x86-64 in software and only with the machine
`nitro-enclave`, which wants libcbor and GnuTLS; Debian's own build leaves it out. Firmware and
kernel are Debian's binaries, the device that emulates vsock comes from the suite after it.
"""

from __future__ import annotations

import json
import lzma
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from devnet.kept import once
from devnet.nitro import debian, parts
from devnet.nitro.parts import Parts
from faults import RetryLater, UsageFault

SUITE, NEWER_SUITE = "trixie", "forky"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
# QEMU 10.0 wants meson 1.5 (python/scripts/mkvenv.py); Debian 12 has 1.0.
_TOOLS = ("meson==1.5.0", "ninja==1.13.0")
_HEADERS = {
    "glib-2.0/glib.h": "libglib2.0-dev", "gnutls/gnutls.h": "libgnutls28-dev",
    "cbor.h": "libcbor-dev", "libfdt.h": "libfdt-dev", "zlib.h": "zlib1g-dev",
}  # fmt: skip
_PROGRAMS = {
    "gcc": "gcc", "make": "make", "pkg-config": "pkg-config", "strip": "binutils",
    "dpkg-source": "dpkg-dev",
}  # fmt: skip
_CONFIGURE = (
    "--target-list=x86_64-softmmu", "--without-default-features", "--without-default-devices",
    "--with-devices-x86_64=nitro", "--enable-system", "--enable-tcg", "--enable-gnutls",
    "--enable-libcbor", "--enable-vhost-user", "--enable-fdt=system", "--disable-docs",
    "--disable-install-blobs", "--disable-werror", "--disable-download", "--disable-tools",
    "--disable-guest-agent",
)  # fmt: skip
_DEVICES = "CONFIG_NITRO_ENCLAVE=y\n"
# What each needs before it.
_MODULES = (
    "drivers/virtio/virtio_mmio",
    "net/vmw_vsock/vsock",
    "net/vmw_vsock/vmw_vsock_virtio_transport_common",
    "net/vmw_vsock/vmw_vsock_virtio_transport",
    "drivers/misc/nsm",
    "drivers/net/tun",
)
_FIRMWARE = {
    "seabios": ("usr/share/seabios/bios-microvm.bin",),
    "qemu-system-data": ("usr/share/qemu/qboot.rom", "usr/share/qemu/linuxboot_dma.bin"),
}


def needs() -> str:
    """Why nothing can be built here, with what to do; empty when it can."""
    if platform.machine() != "x86_64" or not shutil.which("apt-get"):
        return "this is built on x86-64 from Debian's packages, and this machine has not both"
    include = Path("/usr/include")
    lacking = {package for name, package in _HEADERS.items() if not (include / name).is_file()}
    lacking |= {package for name, package in _PROGRAMS.items() if not shutil.which(name)}
    if lacking:
        return f"QEMU can't be built without: apt-get install {' '.join(sorted(lacking))}"
    gone = debian.missing()
    return f"not on this machine: {', '.join(gone)}" if gone else ""


def build(say: Callable[[str], None] = lambda _: None) -> Parts:
    """The parts; made when they are not there. Raises UsageFault (what is missing), RetryLater."""
    found = parts.built()
    if found:
        return found
    why = needs()
    if why:
        raise UsageFault(why)
    try:
        once(parts.cache() / parts.RECIPE, lambda work: _make(work, say))
        once(parts.init_place(), _init)
    except OSError as error:
        raise RetryLater(f"nothing can be built in {parts.cache()}: {error}") from error
    made = parts.built()
    assert made is not None
    return made


def _make(work: Path, say: Callable[[str], None]) -> Path:
    say("fetching QEMU's source, a kernel, firmware and the device for vsock")
    archive = debian.Archive(work / "apt", (SUITE, NEWER_SUITE))
    versions, into = dict[str, str](), work / "parts"
    into.mkdir()
    (into / parts.FIRMWARE).mkdir()
    for package, names in _FIRMWARE.items():
        files, versions[package] = archive.unpacked(package, SUITE)
        for each in names:
            shutil.copy2(files / each, into / parts.FIRMWARE)
    files, versions["vhost-device-vsock"] = archive.unpacked("vhost-device-vsock", NEWER_SUITE)
    shutil.copy2(files / "usr/bin/vhost-device-vsock", into / parts.VSOCK_DEVICE)
    files, versions["linux"] = archive.unpacked(archive.newest(f"{KERNEL_PACKAGE}/{SUITE}"), SUITE)
    _kernel(files, into)
    source, versions["qemu"] = archive.source("qemu", SUITE)
    say(f"building QEMU {versions['qemu']}: minutes")
    _qemu(work, source, into)
    (into / parts.MANIFEST).write_text(json.dumps(versions))
    return into


def _kernel(files: Path, into: Path) -> None:
    (kernel,) = (files / "boot").glob("vmlinuz-*")
    shutil.copy2(kernel, into / parts.KERNEL)
    (modules,) = (files / "usr/lib/modules").iterdir()
    (into / parts.MODULES).mkdir()
    for number, name in enumerate(_MODULES):
        packed = (modules / f"kernel/{name}.ko.xz").read_bytes()
        place = into / parts.MODULES / f"{number}-{Path(name).name}.ko"
        place.write_bytes(lzma.decompress(packed))


def _qemu(work: Path, source: Path, into: Path) -> None:
    tools, out = work / "tools", work / "out"
    _do([sys.executable, "-m", "venv", str(tools)], work)
    _do([str(tools / "bin/pip"), "install", "--quiet", *_TOOLS], work)
    (source / "configs/devices/x86_64-softmmu/nitro.mak").write_text(_DEVICES)
    out.mkdir()
    environ = {**os.environ, "PATH": f"{tools / 'bin'}:{os.environ['PATH']}"}
    python = f"--python={tools / 'bin/python'}"
    _do([str(source / "configure"), *_CONFIGURE, python], out, environ)
    _do(["ninja", "qemu-system-x86_64"], out, environ)
    _do(["strip", "-o", str(into / parts.QEMU), "qemu-system-x86_64"], out)


def _init(work: Path) -> Path:
    sources = [str(path) for path in sorted(parts.GUEST.glob("*.c"))]
    place = work / "init"
    _do(["gcc", "-static", "-Os", "-s", "-Wall", "-Wextra", "-o", str(place), *sources], work)
    return place


def _do(words: Sequence[str], folder: Path, environ: Mapping[str, str] | None = None) -> None:
    """At low priority: it is nobody's hurry. Raises RetryLater with its last words."""
    done = subprocess.run(
        ["nice", *words], cwd=folder, env=environ, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        last = "; ".join(done.stdout.strip().splitlines()[-3:])
        raise RetryLater(f"{Path(words[0]).name} failed: {last}")
