"""Addresses of the names that an enclave may reach: asked again when old, only those allowed.

The resolver of the system blocks, so each question has a thread, and each name one question at a
time. What a name led to is used for an hour when it can't be asked any more.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass

from enclave.host.network import reach

FRESH_SECONDS = 30.0  # as short as the records of services that move (Route 53's are 60 s)
USABLE_SECONDS = 3600.0

Resolve = Callable[[str], list[str]]
WhyNot = Callable[[str], "str | None"]


@dataclass(frozen=True)
class Found:
    """Addresses that may be reached, in the resolver's order; or why there are none."""

    addresses: tuple[str, ...]
    error: str | None
    at: float


def resolve(host: str) -> list[str]:
    """The system's answer. Raises OSError (gaierror) and UnicodeError (no host name)."""
    answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return [str(address[0]) for _, _, _, _, address in answers]


def allowed(host: str, addresses: list[str], why_not: WhyNot, now: float) -> Found:
    """Those that an enclave may reach; when there are none, what the others are."""
    reasons = {address: why_not(address) for address in dict.fromkeys(addresses)}
    good = tuple(address for address, reason in reasons.items() if reason is None)
    if good:
        return Found(good, None, now)
    refused = ", ".join(f"{address} ({reason})" for address, reason in list(reasons.items())[:3])
    return Found((), f"{host} leads to {refused or 'no address'}, which no enclave may reach", now)


class Names:
    """`soon` has a thunk called by the thread that owns this; `clock` counts seconds."""

    def __init__(
        self,
        soon: Callable[[Callable[[], None]], None],
        clock: Callable[[], float],
        resolve: Resolve = resolve,
        why_not: WhyNot = reach.why_not,
    ) -> None:
        self._soon, self._clock = soon, clock
        self._resolve, self._why_not = resolve, why_not
        self._known: dict[str, Found] = {}
        self._asking: dict[str, list[Callable[[Found], None]]] = {}

    def find(self, host: str, then: Callable[[Found], None]) -> None:
        """Call `then` with the addresses, at once when they are known well enough."""
        known = self._known.get(host)
        if known is not None and known.addresses and self._clock() - known.at < FRESH_SECONDS:
            then(known)
            return
        waiting = self._asking.setdefault(host, [])
        waiting.append(then)
        if len(waiting) == 1:
            threading.Thread(target=self._ask, args=(host,), daemon=True).start()

    def _ask(self, host: str) -> None:
        addresses: list[str] = []
        error = None
        try:
            addresses = self._resolve(host)
        except (OSError, UnicodeError) as failed:
            error = f"{host} does not resolve: {getattr(failed, 'strerror', None) or failed}"
        self._soon(lambda: self._take(host, addresses, error))

    def _take(self, host: str, addresses: list[str], error: str | None) -> None:
        now, known = self._clock(), self._known.get(host)
        found = Found((), error, now) if error else allowed(host, addresses, self._why_not, now)
        if error and known and known.addresses and now - known.at < USABLE_SECONDS:
            found = Found(known.addresses, error, known.at)
        self._known[host] = found
        for then in self._asking.pop(host, []):
            then(found)
