"""Talking to systemd: sd_notify(3) over its datagram socket, with the standard library alone.

Nothing here ever fails the agent: where there is no systemd, or its socket does not take a
message, the message is lost and that is all.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping

_MAX_STATUS = 200


class Notifier:
    """Sends to $NOTIFY_SOCKET; every method returns whether the message was handed over."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._said = ""

    def ready(self, status: str = "") -> bool:
        """Started: systemd counts the unit as active from here on."""
        return self._send("READY=1", _status(status))

    def starting(self, seconds: float, status: str = "") -> bool:
        """Not there yet, and not failing: `seconds` more from now (EXTEND_TIMEOUT_USEC)."""
        return self._send(f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}", _status(status))

    def status(self, text: str) -> bool:
        """One line for `systemctl status`; False also where it is shown already."""
        return _status(text) != self._said and self._send(_status(text))

    def alive(self) -> bool:
        """The loop made progress; for the watchdog, and only then."""
        return self._send("WATCHDOG=1")

    def reloading(self) -> bool:
        """A reload began; `ready` ends it (Type=notify-reload wants the time as well)."""
        return self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str = "") -> bool:
        """The end began."""
        return self._send("STOPPING=1", _status(status))

    def _send(self, *lines: str) -> bool:
        message = "\n".join(filter(None, lines))
        if not self._address or not message:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except OSError:
            return False
        self._said = next((line for line in lines if line.startswith("STATUS=")), self._said)
        return True


def _address(text: str) -> str:
    """A leading @ means Linux's abstract namespace; other forms are not of this machine."""
    if text.startswith("@"):
        return "\0" + text[1:]
    return text if text.startswith("/") else ""


def _status(text: str) -> str:
    line = " ".join(text.split())[:_MAX_STATUS]
    return f"STATUS={line}" if line else ""
