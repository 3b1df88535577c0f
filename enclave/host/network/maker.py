"""The only part of the network's process that keeps its rights: it makes devices and rules.

A process of its own, forked before the other one gives its rights up, which sees no byte of an
enclave. It hears two orders, a device with its rules (whether mail is open is all that can be said
about them) or none, hands the device's descriptor over and keeps none; it ends with the other.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import traceback
from collections.abc import Callable

from enclave.host.network import nat, raw, tun
from enclave.host.network.device import Device, TunDevice
from enclave.host.network.orders import ENCLAVE_ADDRESS, HOST_ADDRESS
from enclave.host.network.raw import RawDevice
from enclave.host.network.wires import Wires

# Longer than all tools together may take (`nat.TOOL_SECONDS`).
ANSWER_SECONDS = 60.0
_MAKE, _MAKE_WITH_MAIL, _REMOVE = b"make", b"make with mail", b"remove"
_ANSWER_BYTES = 4096


# A machine, or whoever runs this there, that can't have a TUN device, today or tomorrow.
_NO_TUN = (errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP)
Made = tuple[str, list[int]]
"""A word ("tun", or this machine's address for raw sockets), and descriptors."""


class Maker:
    """The unprivileged end."""

    def __init__(self, wire: socket.socket) -> None:
        self._wire = wire
        wire.settimeout(ANSWER_SECONDS)

    def device(self, _: Wires, mail: bool) -> Device:
        """A device with rules behind it. Raises NatRefused."""
        said, descriptors = self._ask(_MAKE_WITH_MAIL if mail else _MAKE)
        if not descriptors:
            raise nat.NatRefused(said)
        if len(descriptors) > 1:
            return RawDevice(said, descriptors[0], descriptors[1], lambda: self._ask(_REMOVE))
        return TunDevice(descriptors[0], lambda: self._ask(_REMOVE))

    def _ask(self, order: bytes) -> tuple[str, list[int]]:
        """What it says and gives. Where it is gone this process ends too, and another pair is begun
        in its place (`keeper`): it can't have its rights back."""
        try:
            self._wire.send(order)
            said, descriptors, _, _ = socket.recv_fds(self._wire, _ANSWER_BYTES, 2)
        except OSError as error:
            raise SystemExit(f"what makes its devices does not answer: {error}") from error
        if not said:
            raise SystemExit("what makes its devices ended")
        return said.decode(errors="replace"), descriptors


def begin(wires: Wires) -> Maker:
    """Fork it; before this process has threads, and before it has the control socket: whoever
    holds that, be it for a moment, is who serves."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        there.close()
        return Maker(here)
    try:
        here.close()
        serve(there, lambda mail: made(wires, mail))
    except BaseException:  # noqa: BLE001 - a fork's end, whatever it is of
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def serve(wire: socket.socket, make: Callable[[bool], Made]) -> None:
    """Until the other end is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while order := wire.recv(64):
        if order == _REMOVE:
            nat.remove()
            wire.send(b"removed")
            continue
        try:
            said, descriptors = make(order == _MAKE_WITH_MAIL)
        except (OSError, nat.NatRefused) as refused:
            wire.send(f"{refused}".encode()[:_ANSWER_BYTES] or b"?")
            continue
        socket.send_fds(wire, [said.encode()], descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def made(wires: Wires, mail: bool) -> Made:
    """A TUN device's descriptor, or a raw device's two with this machine's address; with rules in
    force. Raises NatRefused."""
    if wires.tun is None:
        raise nat.NatRefused("there is no TUN device where something else stands for vsock")
    try:
        return "tun", [_tun(wires.tun, mail)]
    except OSError as no_tun:
        if no_tun.errno not in _NO_TUN:  # busy, say: soon again
            raise nat.NatRefused(f"{wires.tun}: {no_tun.strerror}") from no_tun
        try:
            return _raw(mail)
        except OSError as no_raw:
            text = f"no TUN device ({wires.tun}: {no_tun.strerror}) and no raw sockets ({no_raw})"
            raise nat.NatRefused(text) from no_raw


def _tun(device: str, mail: bool) -> int:
    descriptor = tun.open_tun(HOST_ADDRESS, ENCLAVE_ADDRESS, device, framed=True)
    try:
        nat.apply(tun.NAME, mail)
    except nat.NatRefused:
        os.close(descriptor)
        raise
    return descriptor


def _raw(mail: bool) -> Made:
    address, descriptors = raw.open_sockets()
    try:
        nat.apply_raw(mail)
    except nat.NatRefused:
        for descriptor in descriptors:
            os.close(descriptor)
        raise
    return address, descriptors
