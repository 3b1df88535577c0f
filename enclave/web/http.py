"""HTTP for content that users name: where it may connect to, and when it gives up.

Built on httpcore (what httpx itself runs on) because its network backend is the one place where an
address can be checked between resolving and connecting, so that no second look-up can differ.
A Guard says when to give up; every wait on the network asks it. No proxies, cookies or caches.
"""

from __future__ import annotations

import ipaddress
import math
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Final, TypeVar
from urllib.parse import urljoin, urlsplit

import httpcore

from enclave.shown import USER_AGENT, shown
from enclave.web.urls import BadUrl, https_host
from faults import RetryLater, TryElsewhere

CONNECT_SECONDS: Final = 10.0
RESOLVE_SECONDS: Final = 10.0
# Slower, no image of a usual size arrives before a usual deadline: another source is better.
LEAST_BYTES_PER_SECOND: Final = 64 << 10
READ_BYTES: Final = 256 << 10  # h11 asks for 64 KiB; larger reads cost less a byte
_LOOK_UP_SECONDS: Final = 0.5  # how often a wait looks whether it was cancelled
_MAX_REDIRECTS: Final = 5
_MAX_CONNECTIONS: Final = 8
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PRINTABLE: Final = re.compile(r"[!-~]+")
_ALWAYS: Final = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")

Resolve = Callable[[str, int], Sequence[str]]
T = TypeVar("T")


class Unreachable(TryElsewhere):
    """No answer from this source: refused, broken off, or an address that is not asked."""


class Stalled(TryElsewhere):
    """The source sent nothing of use for too long."""


class OutOfTime(RetryLater):
    """The deadline of the whole fetch is over."""


class Cancelled(RetryLater):
    """Whoever asked does not want it any more."""


class Guard:
    """When to give up: `deadline` for the whole, `stall_seconds` since the last progress.

    Progress in crumbs is none: in each span of `stall_seconds` LEAST_BYTES_PER_SECOND must come.
    `clock` is monotonic, in seconds. Safe to ask, to tell and to cancel from other threads.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        deadline: float,
        stall_seconds: float,
        parent: Guard | None = None,
    ) -> None:
        self._clock = clock
        self._deadline = deadline
        self._stall_seconds = stall_seconds
        self._parent = parent
        self._last = self._span_begun = clock()
        self._span_bytes = 0
        self.moved = 0  # verified bytes, of its forks too; a little less when they race
        self._stop = threading.Event()

    def fork(self) -> Guard:
        """A guard with a stall clock and a cancel of its own, under the same deadline."""
        return Guard(self._clock, self._deadline, self._stall_seconds, self)

    def progress(self, verified_bytes: int) -> None:
        self._last = self._clock()
        self._span_bytes += verified_bytes
        self.tally(verified_bytes)

    def tally(self, verified_bytes: int) -> None:
        """Count them in `moved`, here and in what this was forked from."""
        self.moved += verified_bytes
        if self._parent is not None:
            self._parent.tally(verified_bytes)

    def cancel(self) -> None:
        self._stop.set()

    def now(self) -> float:
        return self._clock()

    @property
    def seconds_left(self) -> float:
        return max(0.0, self._deadline - self._clock())

    @property
    def cancelled(self) -> bool:
        return self._stop.is_set() or (self._parent is not None and self._parent.cancelled)

    def remaining(self) -> float:
        """Seconds, over 0, that a wait may still last. Raises Cancelled, OutOfTime, Stalled."""
        now = self._clock()
        if self.cancelled:
            raise Cancelled("the fetch was cancelled")
        if now >= self._deadline:
            raise OutOfTime("the time for fetching the image is over; allow more, or try again")
        stalled = self._last + self._stall_seconds - now
        if stalled <= 0:
            raise Stalled(f"no verified bytes for {self._stall_seconds:g} s")
        if now - self._span_begun >= self._stall_seconds:
            self._end_span(now)
        return min(stalled, self._deadline - now)

    def _end_span(self, now: float) -> None:
        rate = self._span_bytes / (now - self._span_begun)
        # With nothing at all it is a stall, which is measured from the last progress instead.
        if 0 < rate < LEAST_BYTES_PER_SECOND:
            raise Stalled(f"{rate:.0f} verified bytes a second, at least {LEAST_BYTES_PER_SECOND}")
        self._span_begun, self._span_bytes = now, 0

    def sleep(self, seconds: float) -> None:
        """Wait, but not beyond the deadline; a cancel ends it."""
        self._last = self._span_begun = self._clock() + seconds
        self._span_bytes = 0
        left = min(seconds, self.remaining())
        while left > 0 and not self.cancelled:
            self._stop.wait(min(left, _LOOK_UP_SECONDS))  # a parent's cancel does not end the wait
            left -= _LOOK_UP_SECONDS
        self.remaining()


def in_time(guard: Guard, work: Callable[[], T], seconds: float = math.inf) -> T:
    """What `work` gives, which can't be told to stop: its thread is left behind when time is up.

    Raises what `work` raises, TimeoutError after `seconds`, and as `Guard.remaining` does.
    """
    answer: futures.Future[T] = futures.Future()

    def run() -> None:
        try:
            answer.set_result(work())
        except BaseException as fault:  # noqa: BLE001 - handed to the caller's thread, which raises it
            answer.set_exception(fault)

    threading.Thread(target=run, name="in-time", daemon=True).start()
    waited = 0.0
    while waited < seconds:
        if futures.wait([answer], min(guard.remaining(), _LOOK_UP_SECONDS)).done:
            return answer.result()
        waited += _LOOK_UP_SECONDS
    raise TimeoutError(f"no answer in {seconds:g} s")


class HttpSession:
    """GET requests to one source within one fetch; connections are kept between requests.

    `trusted`: scheme://host:port that the operator configured, asked wherever it is and even
    without TLS; all else must be https at public addresses. `hosts`: if given, the only names.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        trusted: str | None = None,
        hosts: frozenset[str] | None = None,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.guard = guard
        self._trusted = origin(trusted) if trusted else None
        self._hosts = hosts
        backend = _Backend(guard, self._trusted, resolve or _resolve)
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls, max_connections=_MAX_CONNECTIONS, network_backend=backend
        )

    @contextmanager
    def get(self, url: str, headers: dict[str, str]) -> Iterator[httpcore.Response]:
        """The answer to a GET, redirects followed and re-checked; the body is not read yet.

        Raises Unreachable, Stalled, OutOfTime, Cancelled.
        """
        try:
            with self._answer(url, {**_ALWAYS, **headers}) as response:
                yield response
        except (httpcore.NetworkError, httpcore.TimeoutException) as fault:
            raise Unreachable(f"the connection broke: {fault!r}") from None
        except (httpcore.ProtocolError, httpcore.UnsupportedProtocol) as fault:
            raise Unreachable(f"the answer is no HTTP: {shown(fault)}") from None

    @contextmanager
    def _answer(self, url: str, headers: dict[str, str]) -> Iterator[httpcore.Response]:
        for _ in range(_MAX_REDIRECTS + 1):
            target = self._checked(url)
            with self._pool.stream("GET", target, headers=list(headers.items())) as response:
                if response.status not in _REDIRECTS:
                    yield response
                    return
                url = _joined(url, header(response, "location"))
        raise Unreachable(f"more than {_MAX_REDIRECTS} redirects")

    def _checked(self, url: str) -> httpcore.URL:
        """Exactly what was checked, so that no second parser reads another host."""
        try:
            place = scheme, host, port = origin(url)
            if place != self._trusted:
                host = https_host(url)
        except BadUrl as fault:
            raise Unreachable(f"sent to a place that is not asked: {shown(fault)}") from None
        if place != self._trusted and self._hosts is not None and host not in self._hosts:
            raise Unreachable(f"sent to {host}, a host that the operator does not allow")
        parts = urlsplit(url)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        return httpcore.URL(scheme=scheme, host=host, port=port, target=path)

    def close(self) -> None:
        self._pool.close()


def header(response: httpcore.Response, name: str) -> str:
    """The first value of a header, empty when it is not there."""
    wanted = name.lower().encode()
    values = (value for key, value in response.headers if key.lower() == wanted)
    return next(values, b"").decode("latin-1")


def origin(url: str) -> tuple[str, str, int]:
    """(scheme, host, port) of an http or https URL. Raises BadUrl."""
    if not _PRINTABLE.fullmatch(url):
        raise BadUrl(f"{url!r} is not a URL: it is not printable ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as fault:
        raise BadUrl(f"{url!r} is not a URL: {fault}") from None
    default = {"http": 80, "https": 443}.get(parts.scheme)
    if default is None or not parts.hostname or "@" in parts.netloc:
        raise BadUrl(f"{url!r} is not an http:// or https:// URL of a host")
    return parts.scheme, parts.hostname, port or default


def is_public(address: str) -> bool:
    """May a name that users choose lead to this address? Only if the whole internet sees it."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.sixtofour or ip.teredo:  # tunnels of old: no source is there, and what is inside lies
            return False
        inner = ip.ipv4_mapped
        if inner is None and ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _joined(url: str, location: str) -> str:
    try:
        return urljoin(url, location)
    except ValueError as fault:
        raise Unreachable(f"sent to {shown(location)}, which is not asked: {fault}") from None


class _Backend(httpcore.NetworkBackend):
    """Resolves once, checks every address, connects to what was checked."""

    def __init__(
        self, guard: Guard, trusted: tuple[str, str, int] | None, resolve: Resolve
    ) -> None:
        self._guard = guard
        self._trusted = trusted[1:] if trusted else None
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        reasons = [f"{host} has no address"]
        for address in self._addresses(host, port):
            wait = min(CONNECT_SECONDS, self._guard.remaining())
            try:
                made = socket.create_connection((address, port), wait)
            except OSError as fault:
                reasons.append(f"{host} does not take connections: {fault}")
                continue
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return _Stream(made, self._guard)
        raise Unreachable(reasons[-1])

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = in_time(self._guard, lambda: self._resolve(host, port), RESOLVE_SECONDS)
        except (OSError, UnicodeError) as fault:  # a label too long for IDNA is the latter
            raise Unreachable(f"{host} does not resolve: {fault}") from None
        if self._trusted != (host, port):
            for address in addresses:
                if not is_public(address):
                    raise Unreachable(f"{host} leads to {address}, which is not a public address")
        return addresses


class _Stream(httpcore.NetworkStream):
    """A socket whose every wait asks the guard."""

    def __init__(self, made: socket.socket, guard: Guard) -> None:
        self._socket = made
        self._guard = guard

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        size = max(max_bytes, READ_BYTES)
        while True:
            self._arm()
            try:
                return self._socket.recv(size)
            except TimeoutError:
                continue
            except OSError as fault:
                raise Unreachable(f"the connection broke: {fault}") from None

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        while buffer:
            self._arm()
            try:
                buffer = buffer[self._socket.send(buffer) :]
            except TimeoutError:
                continue
            except OSError as fault:
                raise Unreachable(f"the connection broke: {fault}") from None

    def _arm(self) -> None:
        self._socket.settimeout(min(self._guard.remaining(), _LOOK_UP_SECONDS))

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            self._socket.settimeout(min(CONNECT_SECONDS, self._guard.remaining()))
            wrapped = ssl_context.wrap_socket(self._socket, server_hostname=server_hostname)
        except OSError as fault:
            self.close()
            raise Unreachable(f"no TLS with {server_hostname}: {fault}") from None
        return _Stream(wrapped, self._guard)

    def get_extra_info(self, info: str) -> object:
        if info == "ssl_object" and isinstance(self._socket, ssl.SSLSocket):
            return self._socket
        return self._socket if info == "socket" else None


def _resolve(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
