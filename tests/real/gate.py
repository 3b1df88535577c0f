"""A TCP door to a node on loopback that can be shut, as a network or a provider does it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from urllib.parse import urlsplit


class Gate:
    """`url` leads to `target` while it is open; shut, it refuses and cuts what is connected."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._listener: socket.socket | None = None
        self._pairs: list[socket.socket] = []
        self._port = 0
        self.open()
        self.url = f"http://127.0.0.1:{self._port}"

    def open(self) -> None:
        """Listen, always on the same port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        listener.listen(64)
        self._port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def shut(self) -> None:
        """Refuse from now on."""
        if self._listener is not None:
            _cut(self._listener)
            self._listener = None
        pairs, self._pairs = self._pairs, []
        for each in pairs:
            _cut(each)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near, _ = listener.accept()
                self._pairs.append(near)
                try:
                    far = socket.create_connection(self._target)
                except OSError:
                    _cut(near)
                    continue
                self._pairs.append(far)
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(data)
    for each in (source, sink):
        _cut(each)


def _cut(each: socket.socket) -> None:
    """End it for both sides; another thread may have done so before."""
    with suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
