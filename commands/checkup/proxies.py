"""What `doctor` says of the environment's proxies: who is asked through which, and is it there.

Nodes and AWS are; images, enclaves and a Kubo node never are (docs/operating.md). A shell's
variables are looked at: a service has its own.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from agent.chain.proxies import Proxy, is_direct, proxy_named, proxy_to
from agent.config import Config
from commands.checkup.patient import Finding, Patient
from faults import UsageFault

CONNECT_SECONDS = 5.0
UNUSED = ("all", "socks", "ws", "wss")
METADATA = ("169.254.169.254", 80)


async def proxies(patient: Patient) -> list[Finding]:
    """Nothing where none is named."""
    found = []
    for scheme in ("http", "https"):
        try:
            proxy = proxy_named(scheme)
        except UsageFault as fault:
            found.append(Finding(f"{scheme}_proxy", "fail", str(fault)))
            continue
        if proxy is not None:
            found.append(await _finding(proxy, _users(scheme, patient.config)))
    return [*found, *_unused(), *_metadata()]


async def _finding(proxy: Proxy, users: list[str]) -> Finding:
    place = f"{proxy.host}:{proxy.port}"
    who = f"asked through it: {', '.join(users) or 'nobody'}; images never are"
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(proxy.host, proxy.port)
        writer.close()
    except (OSError, UnicodeError, TimeoutError) as fault:
        why = str(fault) or f"no answer in {CONNECT_SECONDS:g} s"
        text = f"{place} takes no connections ({why}); {who}"
        todo = f"unset {proxy.variable}, mend it, or put who can be reached without into no_proxy"
        return Finding(proxy.variable, "fail" if users else "warn", text, todo)
    return Finding(proxy.variable, "ok", f"{place} takes connections; {who}")


def _users(scheme: str, config: Config) -> list[str]:
    """By name, shown without what is secret in a URL."""
    urls = [*config.chain.rpc_urls, *([config.chain.ws_url] if config.chain.ws_url else [])]
    through = [(url, proxy) for url in urls if (proxy := _proxy_to(url.reveal())) is not None]
    nodes = [str(url) for url, proxy in through if proxy.variable == f"{scheme}_proxy"]
    aws = urlsplit(config.aws.endpoint_url or f"https://ec2.{config.aws.regions[0]}.amazonaws.com")
    is_through = aws.scheme == scheme and not proxy_bypass(aws.netloc)  # as the SDK asks
    return [*nodes, *(["AWS"] if is_through else [])]


def _proxy_to(url: str) -> Proxy | None:
    try:
        return proxy_to(url)
    except UsageFault:  # told by itself
        return None


def _unused() -> list[Finding]:
    given = getproxies()
    text = "is set, and nothing here goes by it: nodes and AWS go by http_proxy and https_proxy"
    named = [f"{kind}_proxy" for kind in UNUSED if given.get(kind)]
    return [Finding(name, "warn", text, f"set those, or unset {name}") for name in named]


def _metadata() -> list[Finding]:
    """The SDK asks an instance's own metadata service through the proxy, too, unless told."""
    if not getproxies().get("http") or is_direct(*METADATA):
        return []
    text = f"leaves out {METADATA[0]}: credentials of an instance's role are asked of http_proxy"
    todo = f"put {METADATA[0]} into no_proxy, where this runs on an instance with a role"
    return [Finding("no_proxy", "warn", text, todo)]
