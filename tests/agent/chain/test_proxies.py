"""What of the environment's proxies a node is asked through, however they are written."""

from __future__ import annotations

import asyncio

import pytest

from agent.chain.head import HeadFollower, HeadTracker, Pace
from agent.chain.http import Http
from agent.chain.proxies import is_direct, proxy_to
from agent.chain.rpc import EndpointDown
from agent.clock import SystemClock
from agent.secret import SecretUrl
from faults import UsageFault

VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "socks_proxy", "ws_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("url", "variable"),
    [("http://node.example", "http_proxy"), ("ws://node.example", "http_proxy"),
     ("https://node.example/v1", "https_proxy"), ("wss://node.example", "https_proxy")],
)  # fmt: skip
def test_proxy__each_scheme__goes_by_the_variable_of_its_own(
    monkeypatch: pytest.MonkeyPatch, url: str, variable: str
) -> None:
    for name in ("all_proxy", "socks_proxy", "ws_proxy"):
        monkeypatch.setenv(name, "socks5://other.example:1080")
    assert proxy_to(url) is None
    monkeypatch.setenv(variable, "http://user:hidden@proxy.example:3128")
    found = proxy_to(url)
    assert found is not None
    assert str(found) == f"{variable}'s proxy.example:3128"
    assert "hidden" not in repr(found)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("host", "named", "direct"),
    [("127.0.0.1", "", True), ("::1", "", True), ("localhost", "", True), ("LOCALHOST.", "", True),
     ("10.1.2.3", "", False), ("10.1.2.3", "10.0.0.0/8", True), ("10.1.2.3", "10.0.0.0/99", False),
     ("10.1.2.3", "a.b, 10.1.0.0/16", True), ("11.1.2.3", "10.0.0.0/8", False),
     ("fd00::1", "fd00::/8", True), ("node.example", "example", True),
     ("node.example", "node.example:8545", True), ("node.example", "node.example:1", False),
     ("node.example", "*", True), ("node.example", "", False)],
)  # fmt: skip
def test_no_proxy__names_ports_and_networks__are_asked_directly(
    monkeypatch: pytest.MonkeyPatch, host: str, named: str, direct: bool
) -> None:
    monkeypatch.setenv("no_proxy", named)
    assert is_direct(host, 8545) is direct


@pytest.mark.unit
@pytest.mark.parametrize("given", ["http://127.0.0.1:99999", "http://p:0x1", "socks5://p:1", "//"])
@pytest.mark.parametrize("scheme", ["http", "ws"])
def test_proxy__what_is_none__is_named_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, given: str, scheme: str
) -> None:
    monkeypatch.setenv("http_proxy", given)
    with pytest.raises(UsageFault, match="http_proxy"):
        proxy_to(f"{scheme}://node.example")


@pytest.mark.integration
async def test_exchange__a_proxy_that_is_down__is_named_beside_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", "http://user:hidden@127.0.0.1:9")
    http = Http(SecretUrl("http://node.example/key-of-nobody"))
    with pytest.raises(EndpointDown, match=r"\(asked through http_proxy's 127.0.0.1:9\)") as down:
        await http.exchange({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
    assert "hidden" not in str(down.value)
    await http.close()


@pytest.mark.integration
async def test_subscription__a_socks_proxy_in_the_environment__is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
    tracker: HeadTracker,
) -> None:
    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.put_nowait(await reader.readline())
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    monkeypatch.setenv("socks_proxy", "socks5://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    pace = Pace(poll=0.05, silent=5.0)
    heads = HeadFollower(tracker, SystemClock(), pace, ["ws://node.example/key"]).heads()
    await anext(heads)
    async with asyncio.timeout(30):
        assert (await asked.get()).startswith(b"CONNECT node.example:80 ")
    await heads.aclose()
    server.close()
