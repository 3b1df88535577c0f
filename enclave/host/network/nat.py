"""The kernel's part of the packets' way: address translation and a filter, as an nft ruleset.

One table of our own, replaced whole in one transaction, so it is either there or not, and done
again it is the same. The enclave's address exists on this machine alone: what comes in to its
ports is translated to it, what goes out to the machine's address. The host's own traffic has ports
above those (`ip_local_port_range`) and is not tracked, so that no flood of the enclave's
connections fills the table that the bucket and the metadata service need.
"""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from enclave.host.network import reach
from enclave.host.network.orders import ENCLAVE_ADDRESS
from enclave.host.network.packet import FIRST_PORT, LAST_PORT, LOW_PORTS, MAIL_PORT

TABLE = "oyster_enclave"
NFT_SECONDS = 10.0
_HOST_PORTS = f"{LAST_PORT + 1}-65535"
# The way to the internet carries no more than 1,500 bytes a packet (EC2 User Guide, "Network MTU"),
# and not every firewall lets the notice through that says so.
_MOST_SEGMENT = 1460

_RULES = """\
add table ip {table}
delete table ip {table}
table ip {table} {{
  chain untracked_in {{
    type filter hook prerouting priority raw;
    iifname != "{device}" meta l4proto {{ tcp, udp }} th dport {host_ports} notrack
  }}
  chain untracked_out {{
    type filter hook output priority raw;
    meta l4proto {{ tcp, udp }} th sport {host_ports} notrack
  }}
  chain inward {{
    type nat hook prerouting priority dstnat;
    iifname != "{device}" fib daddr type local tcp dport {{ {ports} }} dnat to {enclave}
  }}
  chain outward {{
    type nat hook postrouting priority srcnat;
    ip saddr {enclave} oifname != "{device}" meta l4proto tcp masquerade to :{first}-{last}
  }}
  chain between {{
    type filter hook forward priority filter;
    tcp flags syn tcp option maxseg size > {segment} tcp option maxseg size set {segment}
    iifname "{device}" ct state invalid drop
    iifname "{device}" ip saddr != {enclave} drop
    iifname "{device}" meta l4proto != tcp drop
    iifname "{device}" ip daddr {{ {near} }} drop
    {mail}
    iifname "{device}" accept
    oifname "{device}" ct state established,related accept
    oifname "{device}" ct status dnat accept
    oifname "{device}" drop
  }}
  chain here {{
    type filter hook input priority filter;
    iifname "{device}" drop
    tcp dport {{ {ports} }} ct state invalid drop
  }}
}}
"""


class NatRefused(Exception):
    """The kernel or nft did not take the rules; the text is theirs."""


def rules(device: str, mail: bool) -> str:
    """The whole ruleset, for `nft -f -`."""
    low = ", ".join(map(str, sorted(LOW_PORTS)))
    return _RULES.format(
        table=TABLE,
        device=device,
        enclave=ENCLAVE_ADDRESS,
        ports=f"{low}, {FIRST_PORT}-{LAST_PORT}",
        host_ports=_HOST_PORTS,
        first=FIRST_PORT,
        last=LAST_PORT,
        segment=_MOST_SEGMENT,
        near=", ".join(str(network) for network, _ in reach.V4),
        mail="" if mail else f'iifname "{device}" tcp dport {MAIL_PORT} drop',
    )


def apply(device: str, mail: bool, sysctl: Path = Path("/proc/sys")) -> None:
    """Have the rules in force and packets forwarded. Raises NatRefused."""
    _nft(rules(device, mail))
    try:
        (sysctl / "net/ipv4/ip_forward").write_text("1\n")
        ports = f"{LAST_PORT + 1} 65535\n"
        (sysctl / "net/ipv4/ip_local_port_range").write_text(ports)
        # What is not in order is for the ends to judge: translation left out would reset it here.
        (sysctl / "net/netfilter/nf_conntrack_tcp_be_liberal").write_text("1\n")
    except OSError as error:
        raise NatRefused(f"{error.filename}: {error.strerror}") from error


def remove() -> None:
    """No rules of ours; what the kernel was told else does no harm."""
    with suppress(NatRefused):  # it goes with the machine
        _nft(f"add table ip {TABLE}\ndelete table ip {TABLE}\n")


def _nft(text: str) -> None:
    if shutil.which("nft") is None:
        raise NatRefused("nft is not installed: `dnf install nftables`, or bake the image anew")
    try:
        done = subprocess.run(
            ["nft", "-f", "-"],
            input=text,
            capture_output=True,
            text=True,
            timeout=NFT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NatRefused(f"nft: {error}") from error
    if done.returncode:
        raise NatRefused(f"nft: {done.stderr.strip().splitlines()[0] if done.stderr else '?'}")
