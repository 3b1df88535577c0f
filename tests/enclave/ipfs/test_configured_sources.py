"""Gateways and Kubo nodes, in the ways in which people write them."""

from __future__ import annotations

import pytest
from ipfshttpclient.http_common import multiaddr_to_url_data

from enclave.ipfs.configured_sources import gateway_url, kubo_multiaddr
from faults import UsageFault

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://ipfs.io", "https://ipfs.io"),
        ("https://ipfs.io/", "https://ipfs.io"),
        ("https://ipfs.io/ipfs", "https://ipfs.io"),
        ("https://ipfs.io/ipfs/", "https://ipfs.io"),
        (" https://ipfs.io/ipfs/\n", "https://ipfs.io"),
        ("HTTPS://IPFS.io", "https://IPFS.io"),
        ("ipfs.io", "https://ipfs.io"),
        ("gateway.pinata.cloud/ipfs/", "https://gateway.pinata.cloud"),
        ("http://127.0.0.1:8080/ipfs/", "http://127.0.0.1:8080"),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("https://example.com/gateway", "https://example.com/gateway"),
        ("https://example.com/gateway/ipfs/", "https://example.com/gateway"),
    ],
)
def test_gateway__as_it_is_written__is_the_url_before_ipfs(text: str, url: str) -> None:
    assert gateway_url(text) == url
    assert gateway_url(url) == url


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (
            "127.0.0.1:8080",
            "no address of a gateway, not an http:// or https:// URL; write it like https://",
        ),
        ("localhost", "not an http"),
        ("", "not an http"),
        ("/ip4/127.0.0.1/tcp/8080", "not an http"),
        ("https://ipfs.io/ipfs/Qm123/x", "address of content.*: https://ipfs.io"),
        ("https://ipfs.io?token=s3cret", "query or a fragment"),
        ("https://ipfs.io/ipfs/?s3cret", "query or a fragment"),
        ("https://ipfs.io/#s3cret", "query or a fragment"),
        ("https://u:s3cret@ipfs.io", "takes no user info"),
        ("https://s3cret@ipfs.io/ipfs/", "takes no user info"),
        ("ftp://ipfs.io", "not an http"),
        ("https://{cid}.ipfs.dweb.link:x", "not an http"),
    ],
)
def test_gateway__not_meant_so__says_what_to_write_and_no_secret(text: str, why: str) -> None:
    with pytest.raises(UsageFault, match=why) as wrong:
        gateway_url(text)
    assert "s3cret" not in str(wrong.value)


@pytest.mark.parametrize(
    ("text", "multiaddr"),
    [
        ("http://127.0.0.1:5001", "/ip4/127.0.0.1/tcp/5001/http"),
        ("http://127.0.0.1:5001/", "/ip4/127.0.0.1/tcp/5001/http"),
        ("http://127.0.0.1:5001/api/v0", "/ip4/127.0.0.1/tcp/5001/http"),
        ("http://127.0.0.1:5001/api/v0/", "/ip4/127.0.0.1/tcp/5001/http"),
        ("http://127.0.0.1:5001/webui", "/ip4/127.0.0.1/tcp/5001/http"),
        ("http://localhost:5001", "/dns/localhost/tcp/5001/http"),
        ("http://[::1]:5001", "/ip6/::1/tcp/5001/http"),
        ("https://kubo.example", "/dns/kubo.example/tcp/443/https"),
        ("HTTP://Kubo.internal:5001", "/dns/kubo.internal/tcp/5001/http"),
        ("127.0.0.1:5001", "/ip4/127.0.0.1/tcp/5001/http"),
        ("localhost:5001", "/dns/localhost/tcp/5001/http"),
        ("[::1]:5001", "/ip6/::1/tcp/5001/http"),
        ("/ip4/127.0.0.1/tcp/5001", "/ip4/127.0.0.1/tcp/5001"),
        ("/ip4/127.0.0.1/tcp/5001/http", "/ip4/127.0.0.1/tcp/5001/http"),
        ("/dns4/kubo/tcp/5001/", "/dns4/kubo/tcp/5001"),
        ("/dns/kubo.example/tcp/443/https", "/dns/kubo.example/tcp/443/https"),
    ],
)
def test_kubo__as_it_is_written__is_a_multiaddr_that_its_client_takes(
    text: str, multiaddr: str
) -> None:
    assert kubo_multiaddr(text) == multiaddr
    assert kubo_multiaddr(multiaddr) == multiaddr
    url, _, _, _ = multiaddr_to_url_data(multiaddr, "api/v0")
    assert url.endswith("/api/v0/")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense", "no address of a Kubo node's RPC, .* write it like http://127.0.0.1:5001"),
        ("", "write it like"),
        ("/ip4/127.0.0.1", "a multiaddr is written /ip4/127.0.0.1/tcp/5001"),
        ("/ip4/127.0.0.1/udp/4001/quic-v1", "no address of a Kubo node's RPC"),
        ("/p2p/12D3KooW", "no address of a Kubo node's RPC"),
        ("http://127.0.0.1:5001/ipfs/", "its path is always /api/v0"),
        ("http://u:s3cret@127.0.0.1:5001", "takes no user info"),
        ("http://127.0.0.1:5001?token=s3cret", "query or a fragment"),
        ("ws://127.0.0.1:5001", "not an http"),
        ("http://127.0.0.1:port", "not an http"),
    ],
)
def test_kubo__not_meant_so__says_what_to_write_and_no_secret(text: str, why: str) -> None:
    with pytest.raises(UsageFault, match=why) as wrong:
        kubo_multiaddr(text)
    assert "s3cret" not in str(wrong.value)
