"""Carries streams between two kinds of wires, a thread each way.

Who connected may end what it sends and still wait for an answer; the device that emulates vsock
would take that for the end of both ways. So it is told only when that one has hung up altogether.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable

_PIECE = 1 << 16


def relay(listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
    """For ever, in the background: who connects to `listener` is led to where `connect` leads."""
    threading.Thread(target=_accept, args=(listener, connect), daemon=True).start()


def connected(address: str) -> socket.socket:
    """To a Unix socket. Raises OSError."""
    wire = socket.socket(socket.AF_UNIX)
    try:
        wire.connect(address)
    except OSError:
        wire.close()
        raise
    return wire


def _accept(listener: socket.socket, connect: Callable[[], socket.socket]) -> None:
    while True:
        near, _ = listener.accept()
        threading.Thread(target=_carry, args=(near, connect), daemon=True).start()


def _carry(near: socket.socket, connect: Callable[[], socket.socket]) -> None:
    with near:
        try:
            far = connect()
        except OSError:  # as vsock does where nothing listens: the connection ends
            return
        with far:
            inward = threading.Thread(target=_inward, args=(near, far), daemon=True)
            inward.start()
            _pump(far, near)
            _cut(near, far)
            inward.join()


def _inward(near: socket.socket, far: socket.socket) -> None:
    _pump(near, far)
    hung_up = select.poll()
    hung_up.register(near, 0)  # which is always reported: POLLHUP, POLLERR
    hung_up.poll()
    _cut(near, far)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_PIECE):
            sink.sendall(data)


def _cut(*both: socket.socket) -> None:
    for each in both:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
