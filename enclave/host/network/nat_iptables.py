"""The same translation and filter as `nat_nft`, for a machine that has iptables alone.

In chains of our own, which iptables-restore makes anew and fills in one transaction a table; one
rule, first of all in the kernel's chain, leads to each, and is made when ours is whole.
iptables-restore(8), iptables-extensions(8).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from enclave.host.network import reach
from enclave.host.network.orders import ENCLAVE_ADDRESS
from enclave.host.network.packet import FIRST_PORT, LAST_PORT, LOW_PORTS, MAIL_PORT, MOST_SEGMENT

# --noflush: what others wrote stays; --wait: another one may be writing just now.
COMMAND = ("iptables-restore", "--noflush", "--wait", "5")
CHECK = ("iptables", "--wait", "5")

# By table, in the order in which they are written, each with its kernel's chains: nothing is
# translated before it is filtered.
CHAINS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("FORWARD",),
    "filter": ("FORWARD", "INPUT"),
    "nat": ("PREROUTING", "POSTROUTING"),
}
RAW_CHAINS = {"raw": ("PREROUTING", "OUTPUT"), "mangle": ("OUTPUT",), "filter": ("OUTPUT", "INPUT")}
"""For raw sockets, where there is no device."""
_HOST_PORTS = f"{LAST_PORT + 1}:65535"
_LARGER = f"--tcp-flags SYN SYN -m tcpmss --mss {MOST_SEGMENT + 1}:65535"
_CLAMP = f"{_LARGER} -j TCPMSS --set-mss {MOST_SEGMENT}"
_PORTS = ",".join([*map(str, sorted(LOW_PORTS)), f"{FIRST_PORT}:{LAST_PORT}"])


def chain(builtin: str) -> str:
    """Our own, to which the kernel's leads."""
    return f"OYSTER_{builtin}"


def rules(device: str | None, mail: bool) -> str:
    """What `COMMAND` is told, whole; the kernel's chains don't lead there yet."""
    return "".join(
        _table(table, builtins, [*(_rules(table, device, mail) if device else _raw(table, mail))])
        for table, builtins in chains(device).items()
    )


def chains(device: str | None) -> Mapping[str, tuple[str, ...]]:
    """The kernel's that are led to ours, by table."""
    return CHAINS if device else RAW_CHAINS


def _table(table: str, builtins: tuple[str, ...], lines: list[str]) -> str:
    heads = [f":{chain(builtin)} - [0:0]" for builtin in builtins]
    return "\n".join([f"*{table}", *heads, *lines, "COMMIT", ""])


def jumps(device: str | None) -> Iterator[tuple[str, str, str]]:
    """(table, the kernel's chain, ours)."""
    for table, builtins in chains(device).items():
        for builtin in builtins:
            yield table, builtin, chain(builtin)


def _raw(table: str, mail: bool) -> Iterator[str]:
    sports = f"-m multiport --sports {_PORTS}"
    own = f"-p tcp {sports}"
    if table == "raw":
        yield from _host_s_own()
        yield _add("PREROUTING", f"-p tcp -m multiport --dports {_PORTS} -j CT --notrack")
        yield _add("OUTPUT", f"{own} -j CT --notrack")
    elif table == "mangle":
        yield _add("OUTPUT", f"{own} {_CLAMP}")
    else:
        for network, _ in reach.V4:
            yield _add("OUTPUT", f"{own} -d {network} -j DROP")
        if not mail:
            yield _add("OUTPUT", f"-p tcp --dport {MAIL_PORT} {sports} -j DROP")
        yield _add("INPUT", f"-p tcp -m multiport --dports {_PORTS} -j DROP")


def _host_s_own(device: str = "") -> Iterator[str]:
    elsewhere = f"! -i {device} " if device else ""
    for protocol in ("tcp", "udp"):
        coming = f"{elsewhere}-p {protocol} --dport {_HOST_PORTS}"
        yield _add("PREROUTING", f"{coming} -j CT --notrack")
        yield _add("OUTPUT", f"-p {protocol} --sport {_HOST_PORTS} -j CT --notrack")


def _rules(table: str, device: str, mail: bool) -> Iterator[str]:
    if table == "raw":
        yield from _host_s_own(device)
    elif table == "mangle":
        yield _add("FORWARD", f"-p tcp {_CLAMP}")
    elif table == "filter":
        yield from _filter(device, mail)
    else:
        own = f"-m addrtype --dst-type LOCAL -p tcp -m multiport --dports {_PORTS}"
        yield _add("PREROUTING", f"! -i {device} {own} -j DNAT --to-destination {ENCLAVE_ADDRESS}")
        out = f"-s {ENCLAVE_ADDRESS} ! -o {device} -p tcp"
        yield _add("POSTROUTING", f"{out} -j MASQUERADE --to-ports {FIRST_PORT}-{LAST_PORT}")


def _filter(device: str, mail: bool) -> Iterator[str]:
    yield _add("FORWARD", f"-i {device} -m conntrack --ctstate INVALID -j DROP")
    yield _add("FORWARD", f"-i {device} ! -s {ENCLAVE_ADDRESS} -j DROP")
    yield _add("FORWARD", f"-i {device} ! -p tcp -j DROP")
    for network, _ in reach.V4:
        yield _add("FORWARD", f"-i {device} -d {network} -j DROP")
    if not mail:
        yield _add("FORWARD", f"-i {device} -p tcp --dport {MAIL_PORT} -j DROP")
    yield _add("FORWARD", f"-i {device} -j ACCEPT")
    yield _add("FORWARD", f"-o {device} -m conntrack --ctstate ESTABLISHED,RELATED,DNAT -j ACCEPT")
    yield _add("FORWARD", f"-o {device} -j DROP")
    yield _add("INPUT", f"-i {device} -j DROP")
    invalid = "-m conntrack --ctstate INVALID -j DROP"
    yield _add("INPUT", f"-p tcp -m multiport --dports {_PORTS} {invalid}")


def _add(builtin: str, rule: str) -> str:
    return f"-A {chain(builtin)} {rule}"
