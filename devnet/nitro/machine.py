"""One enclave that boots: QEMU, the device that emulates vsock, and the parent's end of its wires.

A wire to the enclave is a Unix socket beside the device's, with one line of dialogue before the
stream (READMEs of vhost-device-vsock and of Firecracker's vsock). The device knows the parent by
context id 2 only, and takes the end of what the parent sends for the end of all.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from devnet.nitro.parts import Parts

HEARTBEAT_PORT = 9000  # AWS's init and nitro-cli; the byte that goes to and fro
HEARTBEAT = b"\xb7"
SIGNER_PORT = 9001  # ours: QEMU's security module leaves the signature blank
# What Debian's kernel wants to be told where there is no KVM: no clock can be calibrated then.
# It follows the image's own command line and is in no measurement.
_APPENDED = (
    f"tsc_early_khz=2500000 no_timer_check lpj=5000000 oyster.parent=2 oyster.signer={SIGNER_PORT}"
)
# The kernel finds virtio's devices by ACPI: it is built without the command line's way.
_MACHINE = "nitro-enclave,vsock=c,acpi=on,pit=on,pic=on,rtc=on"
_BUFFER_BYTES = 64 << 20
_DEVICE_SECONDS = 10.0
_ANSWER_SECONDS = 30.0
_DIES_WITH_US = ("/usr/bin/setpriv", "--pdeathsig", "KILL")  # util-linux; it becomes the program


class NotBooted(Exception):
    """It did not come up; the text says how far it came."""


@dataclass(frozen=True)
class Order:
    """`module_id` and `instance_id` are what its security module says; `console` is a file."""

    image: Path
    instance_id: str
    module_id: str
    cid: int
    cpus: int
    memory_mib: int
    console: Path
    signed: bool = True


class Machine:
    """Runs from `start` to `end`. `folder` is its own: it holds the sockets."""

    def __init__(self, parts: Parts, folder: Path, order: Order) -> None:
        self._parts, self._order = parts, order
        # By its descriptor a path is short enough for a socket's address (unix(7)), wherever it is.
        self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._children: list[subprocess.Popen[bytes]] = []
        self._heartbeat = self.listen(HEARTBEAT_PORT)

    @property
    def qemu(self) -> subprocess.Popen[bytes]:
        """The enclave, as far as this machine's kernel is concerned."""
        return self._children[-1]

    def start(self) -> None:
        """Raises NotBooted."""
        device = f"guest-cid={self._order.cid},socket=device,uds-path=wire"
        self._run(
            [str(self._parts.vsock_device), "--vm", f"{device},tx-buffer-size={_BUFFER_BYTES}"]
        )
        _wait(self._path("device"), _DEVICE_SECONDS)
        self._run([str(self._parts.qemu), *self._arguments()])

    def wait_until_up(self, seconds: float) -> None:
        """Take the heartbeat and give it back. Raises NotBooted."""
        end = time.monotonic() + seconds
        while not select.select([self._heartbeat], [], [], 0.1)[0]:
            if self.qemu.poll() is not None:
                raise NotBooted(f"QEMU ended: {self._last_words()}")
            if time.monotonic() > end:
                raise NotBooted(f"no heartbeat within {seconds:.0f} s: {self._last_words()}")
        wire, _ = self._heartbeat.accept()
        with wire:
            wire.settimeout(_ANSWER_SECONDS)
            if wire.recv(1) != HEARTBEAT:
                raise NotBooted("its first byte is no heartbeat")
            wire.sendall(HEARTBEAT)

    def connect(self, port: int) -> socket.socket:
        """To a port of the enclave. Raises OSError: nothing listens there, or nothing answers."""
        wire = socket.socket(socket.AF_UNIX)
        try:
            wire.settimeout(_ANSWER_SECONDS)
            wire.connect(self._path("wire"))
            wire.sendall(f"CONNECT {port}\n".encode())
            said = b""
            while not said.endswith(b"\n"):
                byte = wire.recv(1)
                if not byte:
                    raise ConnectionRefusedError(f"nothing listens on port {port} of the enclave")
                said += byte
            wire.settimeout(None)
        except OSError:
            wire.close()
            raise
        return wire

    def listen(self, port: int) -> socket.socket:
        """What the enclave reaches as a port of its parent."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(self._path(f"wire_{port}"))
        listener.listen(128)
        return listener

    def end(self) -> None:
        """At once, as the power does."""
        for child in reversed(self._children):
            child.kill()
            child.wait()
        self._children = []
        self._heartbeat.close()
        with contextlib.suppress(OSError):
            os.close(self._folder)

    def _path(self, name: str) -> str:
        return f"/proc/self/fd/{self._folder}/{name}"

    def _arguments(self) -> list[str]:
        order, firmware = self._order, str(self._parts.firmware)
        machine = f"{_MACHINE},id={order.module_id},parent-id={order.instance_id}"
        appended = _APPENDED if order.signed else _APPENDED.partition(" oyster.signer")[0]
        return [
            "-L", firmware, "-accel", "tcg,thread=multi", "-M", machine, "-cpu", "max",
            "-smp", str(order.cpus), "-m", str(order.memory_mib), "-kernel", str(order.image),
            "-append", appended, "-chardev", "socket,id=c,path=device",
            "-display", "none", "-monitor", "none", "-nodefaults", "-no-reboot",
            "-chardev", f"file,id=console,path={_escaped(order.console)}",
            "-serial", "chardev:console",
        ]  # fmt: skip

    def _run(self, words: Sequence[str]) -> None:
        """In the folder, since its sockets' names are relative; what it says goes to a log."""
        place = f"/proc/{os.getpid()}/fd/{self._folder}"
        with self._order.console.with_suffix(".log").open("ab") as log:
            child = subprocess.Popen(
                [*_DIES_WITH_US, *words],
                cwd=place,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self._children.append(child)

    def _last_words(self) -> str:
        files = (self._order.console.with_suffix(".log"), self._order.console)
        for file in files:
            with contextlib.suppress(OSError):
                lines = file.read_text(errors="replace").strip().splitlines()
                if lines:
                    return lines[-1].strip()
        return "it said nothing"


@contextlib.contextmanager
def booted(parts: Parts, folder: Path, order: Order, seconds: float) -> Iterator[Machine]:
    """Up inside of the block. Raises NotBooted."""
    machine = Machine(parts, folder, order)
    try:
        machine.start()
        machine.wait_until_up(seconds)
        yield machine
    finally:
        machine.end()


def _escaped(path: Path) -> str:
    """For an option of QEMU's, in which a comma ends a value (qemu(1))."""
    return str(path).replace(",", ",,")


def _wait(path: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not Path(path).exists():
        if time.monotonic() > end:
            raise NotBooted("the device that emulates vsock did not come up")
        time.sleep(0.02)
