"""Which proxy of the environment leads to a node: `http_proxy`, `https_proxy`, and `no_proxy`.

As curl and the AWS SDK go by them, with two differences that both lack: a network may stand in
`no_proxy` (`10.0.0.0/8`), and what is on this machine is asked directly, since to a proxy
127.0.0.1 is the proxy. A WebSocket goes by the same two, `wss` as https does.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from faults import UsageFault

_BY_SCHEME: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """One that a variable names; `str()` shows no user and no password."""

    variable: str
    host: str
    port: int
    httpx: httpx.Proxy = field(repr=False)
    url: str = field(repr=False)  # with user and password

    def __str__(self) -> str:
        return f"{self.variable}'s {self.host}:{self.port}"


def proxy_to(url: str) -> Proxy | None:
    """What a node's URL is asked through; None: nothing. Raises UsageFault."""
    parts = urlsplit(url)
    scheme = _BY_SCHEME[parts.scheme]
    port = parts.port or _PORTS[scheme]
    return None if is_direct(parts.hostname or "", port) else proxy_named(scheme)


def proxy_named(scheme: str) -> Proxy | None:
    """As the environment has it; `proxy:3128` is one of http, as for curl. Raises UsageFault."""
    given = getproxies().get(scheme)
    if not given:
        return None
    whole = given if "://" in given else f"http://{given}"
    try:
        found = httpx.Proxy(whole)
    except (ValueError, httpx.InvalidURL):
        raise _none(scheme) from None
    port = found.url.port or _PORTS.get(found.url.scheme, 0)
    if not found.url.host or found.url.scheme not in _PORTS or not 1 <= port <= 65535:
        raise _none(scheme)
    return Proxy(f"{scheme}_proxy", found.url.host, port, found, whole)


def is_direct(host: str, port: int) -> bool:
    """Whether no proxy is asked for it: this machine, or a name or network of `no_proxy`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        named = host.lower().rstrip(".")
        return named == "localhost" or bool(proxy_bypass(named) or proxy_bypass(f"{named}:{port}"))
    return (
        address.is_loopback
        or bool(proxy_bypass(host) or proxy_bypass(f"{host}:{port}"))
        or any(address in network for network in _networks())
    )


def _networks() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    found = []
    for entry in getproxies().get("no", "").split(","):
        if "/" in entry:
            try:
                found.append(ipaddress.ip_network(entry.strip(), strict=False))
            except ValueError:
                continue
    return found


def _none(scheme: str) -> UsageFault:
    text = f"{scheme}_proxy of the environment names no http:// or https:// proxy"
    return UsageFault(f"{text}: change it, or put the node's name into no_proxy")
