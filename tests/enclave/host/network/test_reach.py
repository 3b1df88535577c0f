"""What an enclave may reach: every refused network, its edges, and every way to spell one."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.host.network import reach

pytestmark = pytest.mark.unit

V4_NETWORKS = sorted(reach._REFUSED_V4)
V6_NETWORKS = sorted(reach._REFUSED_V6)


@pytest.mark.parametrize("network", V4_NETWORKS + V6_NETWORKS)
def test_why_not__first_and_last_of_a_refused_network__is_refused(network: str) -> None:
    known = ipaddress.ip_network(network)
    assert reach.why_not(str(known[0]))
    assert reach.why_not(str(known[-1]))


@given(address=st.ip_addresses())
def test_why_not__any_address_that_python_calls_private__is_refused(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    near = address.is_private or address.is_loopback or address.is_link_local
    if near or address.is_multicast or address.is_unspecified or address.is_reserved:
        assert reach.why_not(str(address))


@given(address=st.ip_addresses(v=4))
def test_why_not__an_ipv4_address_inside_an_ipv6_one__is_refused(
    address: ipaddress.IPv4Address,
) -> None:
    number = int(address)
    for inside in (0xFFFF << 32 | number, number, 0x2002 << 112 | number << 80):
        assert reach.why_not(str(ipaddress.IPv6Address(inside)))
    assert reach.why_not(f"::ffff:{address}")
    assert reach.why_not(f"64:ff9b::{address}")


@pytest.mark.parametrize(
    "text",
    ["169.254.169.254", "fd00:ec2::254", "fe80::1%eth0", "::1", "::", "0.0.0.0", "localhost", "",
     "255.255.255.255", "10.0.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "1.1", "0x7f.1"],
)  # fmt: skip
def test_why_not__near_or_no_address__is_refused(text: str) -> None:
    assert reach.why_not(text)


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "8.8.8.8", "172.32.0.1", "11.0.0.1", "169.253.1.1", "2606:4700::1111"]
)
def test_why_not__of_the_internet__may_be_reached(text: str) -> None:
    assert reach.why_not(text) is None
