"""What an enclave may reach: addresses of the public internet, and nothing that is nearer.

Asked about every address after resolution, so that no name (of whoever runs its DNS) leads to the
metadata service, this machine, or a neighbour in the VPC. Each network stands with its reason.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Union

Network = Union[ipaddress.IPv4Network, ipaddress.IPv6Network]
Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

# IANA's special-purpose address registries for IPv4 and IPv6; for IPv6 the table names what is
# inside the one block that is global unicast, and everything outside of it is refused.
_REFUSED_V4 = {
    "0.0.0.0/8": "this network (RFC 791)",
    "10.0.0.0/8": "private (RFC 1918)",
    "100.64.0.0/10": "shared by a carrier (RFC 6598)",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local; the metadata service is here",
    "172.16.0.0/12": "private (RFC 1918)",
    "192.0.0.0/24": "of protocols (RFC 6890)",
    "192.0.2.0/24": "documentation (RFC 5737)",
    "192.88.99.0/24": "6to4 relays (RFC 7526)",
    "192.168.0.0/16": "private (RFC 1918)",
    "198.18.0.0/15": "benchmarks (RFC 2544)",
    "198.51.100.0/24": "documentation (RFC 5737)",
    "203.0.113.0/24": "documentation (RFC 5737)",
    "224.0.0.0/4": "multicast",
    "240.0.0.0/4": "reserved or broadcast",
}
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_V6 = {
    "2001::/23": "of protocols; Teredo carries IPv4 addresses inside (RFC 2928, 4380)",
    "2001:db8::/32": "documentation (RFC 3849)",
    "2002::/16": "6to4 carries IPv4 addresses inside (RFC 3056)",
    "3fff::/20": "documentation (RFC 9637)",
}


def _networks(table: dict[str, str]) -> tuple[tuple[Network, str], ...]:
    return tuple((ipaddress.ip_network(text), reason) for text, reason in table.items())


V4, _V6 = _networks(_REFUSED_V4), _networks(_REFUSED_V6)


def why_not(text: str) -> str | None:
    """Why an enclave may not reach this address, in a few words; None: it may.

    What is no address (a name, a scope after %) may not be reached either.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "no address"
    if address.version == 6 and address not in _GLOBAL_V6:
        return "not of the public internet"
    return next(_refusals(address), None)


def _refusals(address: Address) -> Iterator[str]:
    table = V4 if address.version == 4 else _V6
    return (reason for network, reason in table if address in network)
