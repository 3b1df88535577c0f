"""Gateways and Kubo nodes as operators write them: many ways, each with one meaning.

No I/O. What can't be meant is UsageFault and says what to write; no text repeats a secret (`told`).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from enclave.web.image_url import BadUrl, check_public_host, origin, told
from faults import UsageFault

# Kubo's RPC has one path, which is added by whoever asks; people copy it with the address.
_RPC_PATHS: Final = frozenset({"", "/api/v0", "/api", "/webui"})
# The multiaddrs that an RPC can have: host, port, and whether there is TLS before it.
_MULTIADDR: Final = re.compile(r"/(?:ip4|ip6|dns|dns4|dns6)/[^/]+/tcp/\d{1,5}(?:/https?)?|/unix/.+")
_NO_SCHEME: Final = re.compile(r"([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:\d{1,5})?(/[^?#]*)?")
_RPC_PORT: Final = 5001


@dataclass(frozen=True, slots=True)
class _Place:
    """scheme://host:port and the path behind it, no slash at its end."""

    scheme: str
    host: str
    port: int
    path: str
    netloc: str


def gateway_url(text: str) -> str:
    """The URL before which `/ipfs/CID` is put, of a gateway as it is written: with `/ipfs/` at its
    end or without; without a scheme where a public name leaves no doubt. Raises UsageFault."""
    given = text.strip()
    if "://" not in given and _is_public_name(given.partition("/")[0]):
        given = f"https://{given}"
    place = _place(given, text, "gateway", "https://ipfs.io")
    path = place.path.removesuffix("/ipfs")
    if "/ipfs/" in f"{path}/":
        raise UsageFault(
            f"{told(text)!r} is an address of content; a gateway is written without it:"
            f" {place.scheme}://{place.netloc}"
        )
    return f"{place.scheme}://{place.netloc}{path}"


def kubo_multiaddr(text: str) -> str:
    """The multiaddr of a Kubo node's RPC, from a URL, HOST:PORT or a multiaddr. Raises
    UsageFault."""
    given = text.strip()
    if given.startswith("/"):
        given = given.rstrip("/")
        if not _MULTIADDR.fullmatch(given):
            raise UsageFault(_no_kubo(text, "a multiaddr is written /ip4/127.0.0.1/tcp/5001"))
        return given
    if "://" not in given:
        given = f"http://{given}" if _NO_SCHEME.fullmatch(given) and ":" in given else given
    place = _place(given, text, "Kubo node's RPC", f"http://127.0.0.1:{_RPC_PORT}")
    if place.path not in _RPC_PATHS:
        raise UsageFault(_no_kubo(text, "its path is always /api/v0 and need not be written"))
    kind, host = _host_kind(place.host)
    return f"/{kind}/{host}/tcp/{place.port}/{place.scheme}"


def _place(given: str, text: str, what: str, example: str) -> _Place:
    try:
        if "@" in given:  # behind a slash, too: a password may hold one
            raise BadUrl("user info")
        scheme, host, port = origin(given)
    except BadUrl:
        wrong = "which takes no user info" if "@" in given else "not an http:// or https:// URL"
        raise UsageFault(
            f"{told(text)!r} is no address of a {what}, {wrong}; write it like {example}"
        ) from None
    netloc, _, path = given.partition("://")[2].partition("/")
    if "?" in given or "#" in given:
        raise UsageFault(
            f"{told(text)!r} has a query or a fragment, with which no {what} is asked; write it"
            f" like {example}"
        )
    return _Place(scheme, host, port, f"/{path}".rstrip("/"), netloc)


def _no_kubo(text: str, why: str) -> str:
    return f"{told(text)!r} is no address of a Kubo node's RPC: {why}"


def _host_kind(host: str) -> tuple[str, str]:
    try:
        return f"ip{ipaddress.ip_address(host).version}", host
    except ValueError:
        return "dns", host


def _is_public_name(host: str) -> bool:
    try:
        check_public_host(host, host)
    except BadUrl:
        return False
    return True
