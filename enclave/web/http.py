"""HTTP for content that users name: where it may connect to, and when it gives up.

Built on httpcore (what httpx itself runs on) because its network backend is the one place where an
address can be checked between resolving and connecting, so that no second look-up can differ.
A `Guard` says when to give up; every wait on the network asks it. No proxies, cookies or caches.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpcore

from enclave.shown import USER_AGENT, shown
from enclave.web.connect import connected
from enclave.web.guard import LOOK_UP_SECONDS, Guard, in_time
from enclave.web.image_url import BadUrl, https_host, origin, told
from enclave.web.words import first_bytes, words
from faults import TryElsewhere

CONNECT_SECONDS: Final = 10.0
RESOLVE_SECONDS: Final = 10.0
READ_BYTES: Final = 256 << 10  # h11 asks for 64 KiB; larger reads cost less a byte
# A peer that vanished is noticed though nothing is waited for but its first byte.
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 15), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
MAX_HEAD_BYTES: Final = 256 << 10  # of one answer with all its 1xx; h11 bounds each head alone
# A piece costs 20 microseconds of the interpreter however small: a body in crumbs of a byte would
# cost minutes. What servers flush for small blocks is well above this, on the average.
FREE_PIECES: Final = 2048
LEAST_PIECE_BYTES: Final = 64
_MAX_REDIRECTS: Final = 5
_MAX_CONNECTIONS: Final = 8
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_ALWAYS: Final = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
# Codings that change no byte, by what was seen: `identity` is RFC 9110's and may be said; object
# stores keep `aws-chunked` of an upload in the object's metadata; others write that there is none.
_AS_IT_IS: Final = frozenset({"", "identity", "none", "binary", "aws-chunked"})
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")

Resolve = Callable[[str, int], Sequence[str]]


class Unreachable(TryElsewhere):
    """No answer from this source: refused, broken off, or an address that is not asked."""


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
            raise Unreachable(f"no whole answer in HTTP: {shown(fault)}") from None

    @contextmanager
    def _answer(self, url: str, headers: dict[str, str]) -> Iterator[httpcore.Response]:
        for _ in range(_MAX_REDIRECTS + 1):
            target = self._checked(url)
            self.guard.expect()
            with ExitStack() as stack:
                response = self._sent(stack, target, headers)
                stream = response.extensions["network_stream"]
                if isinstance(stream, _Stream):
                    stream.head_is_read()
                if response.status not in _REDIRECTS:
                    if response.status < 300:
                        self.guard.expect()  # its head may be there long before its body
                    yield response
                    return
                url = _joined(url, _location(response))
        raise Unreachable(f"more than {_MAX_REDIRECTS} redirects")

    def _sent(
        self, stack: ExitStack, target: httpcore.URL, headers: dict[str, str]
    ) -> httpcore.Response:
        """The answer, entered into `stack`. Over a connection that the server closed while it lay
        idle nothing is answered: asked again over another (RFC 9112, 9.3.1)."""
        while True:
            made: list[str] = []

            def note(event: str, _: object, made: list[str] = made) -> None:
                if event == "connection.connect_tcp.started":
                    made.append(event)

            try:
                return stack.enter_context(
                    self._pool.stream(
                        "GET", target, headers=list(headers.items()), extensions={"trace": note}
                    )
                )
            except (httpcore.RemoteProtocolError, Unreachable):
                if made:  # else one kept connection less: soon a new one is made
                    raise

    def _checked(self, url: str) -> httpcore.URL:
        """Exactly what was checked, so that no second parser reads another host."""
        try:
            place = scheme, host, port = origin(url)
            own = place == self._trusted or is_below(place, self._trusted)
            if not own:
                host = https_host(url)
        except BadUrl as fault:
            raise Unreachable(f"sent to a place that is not asked: {shown(fault)}") from None
        if not own and self._hosts is not None and host not in self._hosts:
            raise Unreachable(f"sent to {host}, a host that the operator does not allow")
        parts = urlsplit(url)
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        return httpcore.URL(scheme=scheme, host=host, port=port, target=path)

    def close(self) -> None:
        self._pool.close()


def body(response: httpcore.Response) -> Iterator[bytes]:
    """The body as it comes. Raises Unreachable when that is in crumbs, and as `get` does."""
    pieces = size = 0
    for data in response.iter_stream():
        pieces, size = pieces + 1, size + len(data)
        if pieces > FREE_PIECES and size < pieces * LEAST_PIECE_BYTES:
            raise Unreachable(f"the body comes in crumbs: {size} bytes in {pieces} pieces")
        yield data


def header(response: httpcore.Response, name: str) -> str:
    """The first value of a header, empty when it is not there."""
    wanted = name.lower().encode()
    values = (value for key, value in response.headers if key.lower() == wanted)
    return next(values, b"").decode("latin-1")


def is_packed(response: httpcore.Response) -> bool:
    """Whether the body's bytes are others than those of what was asked for."""
    said = (value for key, value in response.headers if key.lower() == b"content-encoding")
    codings = b",".join(said).decode("latin-1").lower().split(",")
    return any(coding.strip() not in _AS_IT_IS for coding in codings)


def is_below(place: tuple[str, str, int], trusted: tuple[str, str, int] | None) -> bool:
    """Whether it is CID.ipfs.NAME of a NAME that is trusted, at the same port.

    A Kubo gateway that is asked as `localhost`, or by a name of its own, sends each CID there, so
    that browsers keep them apart (its `UseSubdomains`).
    """
    if trusted is None or (place[0], place[2]) != (trusted[0], trusted[2]):
        return False
    label, _, rest = place[1].partition(".")
    return bool(label) and rest == f"ipfs.{trusted[1]}"


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


def _location(response: httpcore.Response) -> str:
    """Where a redirect leads, as it is written. Raises Unreachable where it does not say; object
    stores do so for a bucket of another region, and name the endpoint in the body alone."""
    location = header(response, "location")
    if not location:
        kind = header(response, "content-type").partition(";")[0].strip().lower()
        said = "" if is_packed(response) else words(first_bytes(response.iter_stream()), kind)
        text = "sent on, but to no place: the redirect has no Location"
        raise Unreachable(f"{text}: {said}" if said else text)
    return location


def _joined(url: str, location: str) -> str:
    """Where a redirect of `url` leads; what stands there raw is escaped, as browsers do. From https
    it leads to https: a server behind a proxy that ends TLS for it often names its own scheme (Kubo
    does, unless it gets X-Forwarded-Proto), and nothing is asked there without TLS."""
    escaped = "".join(c if "!" <= c <= "~" else f"%{ord(c):02X}" for c in location)
    try:
        target = urljoin(url, escaped)
        secure = _over_https(target) if url.startswith("https://") else target
    except ValueError as fault:
        text = f"sent to {shown(told(escaped))}, which is not asked"
        raise Unreachable(f"{text}: {type(fault).__name__}") from None
    return target if secure == url else secure  # else it is sent round and round


def _over_https(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "http":
        return url
    return parts._replace(scheme="https", netloc=parts.netloc.removesuffix(":80")).geturl()


class _Backend(httpcore.NetworkBackend):
    """Resolves once, checks every address, connects to what was checked."""

    def __init__(
        self, guard: Guard, trusted: tuple[str, str, int] | None, resolve: Resolve
    ) -> None:
        self._guard = guard
        self._trusted = trusted
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        addresses = self._addresses(host, port)
        try:
            made = connected(addresses, port, CONNECT_SECONDS, self._guard)
        except OSError as fault:
            raise Unreachable(f"{host} does not take connections: {fault}") from None
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
        return _Stream(made, self._guard)

    def _addresses(self, host: str, port: int) -> Sequence[str]:
        if self._trusted is not None and (host, port) == self._trusted[1:]:
            return self._resolved(host, port)
        if self._trusted is not None and is_below((self._trusted[0], host, port), self._trusted):
            return self._below(host, port, self._trusted[1])
        addresses = self._resolved(host, port)
        for address in addresses:
            if not is_public(address):
                raise Unreachable(f"{host} leads to {address}, which is not a public address")
        return addresses

    def _below(self, host: str, port: int, name: str) -> Sequence[str]:
        """Its own addresses where they are public, else those of the trusted NAME: who names a
        gateway at home need not have a wildcard for it in DNS."""
        try:
            addresses = self._resolved(host, port)
        except Unreachable:
            addresses = ()
        return (
            addresses
            if addresses and all(map(is_public, addresses))
            else self._resolved(name, port)
        )

    def _resolved(self, host: str, port: int) -> Sequence[str]:
        try:
            return in_time(self._guard, lambda: self._resolve(host, port), RESOLVE_SECONDS)
        except (OSError, UnicodeError) as fault:  # a label too long for IDNA is the latter
            raise Unreachable(f"{host} does not resolve: {fault}") from None


class _Stream(httpcore.NetworkStream):
    """A socket whose every wait asks the guard."""

    def __init__(self, made: socket.socket, guard: Guard) -> None:
        self._socket = made
        self._guard = guard
        self._head_bytes: int | None = 0  # of the present answer, while its head is read

    def head_is_read(self) -> None:
        """What comes from here on is a body, which is bounded by who reads it."""
        self._head_bytes = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        size = max(max_bytes, READ_BYTES)
        if self._head_bytes is not None and self._head_bytes >= MAX_HEAD_BYTES:
            raise Unreachable(f"no answer within {self._head_bytes} bytes of heads")
        while True:
            self._arm()
            try:
                data = self._socket.recv(size)
            except TimeoutError:
                continue
            except OSError as fault:
                raise Unreachable(f"the connection broke: {fault}") from None
            self._guard.heard()
            if self._head_bytes is not None:
                self._head_bytes += len(data)
            return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._head_bytes = 0
        while buffer:
            self._arm()
            try:
                buffer = buffer[self._socket.send(buffer) :]
            except TimeoutError:
                continue
            except OSError as fault:
                raise Unreachable(f"the connection broke: {fault}") from None

    def _arm(self) -> None:
        self._socket.settimeout(min(self._guard.remaining(), LOOK_UP_SECONDS))

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
