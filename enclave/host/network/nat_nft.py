"""Translation and filter as an nftables table of our own, replaced whole in one transaction: it is
either there or not, and done again it is the same."""

from __future__ import annotations

from enclave.host.network import reach
from enclave.host.network.orders import ENCLAVE_ADDRESS
from enclave.host.network.packet import FIRST_PORT, LAST_PORT, LOW_PORTS, MAIL_PORT, MOST_SEGMENT

COMMAND = ("nft", "-f", "-")
_TABLE = "oyster_enclave"
THERE = ("nft", "list", "table", "ip", _TABLE)
NOTHING = f"add table ip {_TABLE}\ndelete table ip {_TABLE}\n"
"""What `COMMAND` is told to have none of ours."""

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


_RAW_RULES = """\
add table ip {table}
delete table ip {table}
table ip {table} {{
  chain untracked_in {{
    type filter hook prerouting priority raw;
    tcp dport {{ {ports}, {host_ports} }} notrack
    udp dport {host_ports} notrack
  }}
  chain untracked_out {{
    type filter hook output priority raw;
    tcp sport {{ {ports}, {host_ports} }} notrack
    udp sport {host_ports} notrack
  }}
  chain outward {{
    type filter hook output priority filter;
    tcp sport != {{ {ports} }} accept
    tcp flags syn tcp option maxseg size > {segment} tcp option maxseg size set {segment}
    meta l4proto tcp ip daddr {{ {near} }} drop
    {mail}
  }}
  chain here {{
    type filter hook input priority filter;
    tcp dport {{ {ports} }} drop
  }}
}}
"""


def rules(device: str | None, mail: bool) -> str:
    """What `COMMAND` is told, whole; for raw sockets where there is no device."""
    low = ", ".join(map(str, sorted(LOW_PORTS)))
    mine = f'iifname "{device}" ' if device else ""
    return (_RULES if device else _RAW_RULES).format(
        table=_TABLE,
        device=device,
        enclave=ENCLAVE_ADDRESS,
        ports=f"{low}, {FIRST_PORT}-{LAST_PORT}",
        host_ports=f"{LAST_PORT + 1}-65535",
        first=FIRST_PORT,
        last=LAST_PORT,
        segment=MOST_SEGMENT,
        near=", ".join(str(network) for network, _ in reach.V4),
        mail="" if mail else f"{mine}tcp dport {MAIL_PORT} drop",
    )
