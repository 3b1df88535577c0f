"""The same translation and filter as `nat_nft`, for a machine that has iptables alone.

In chains of our own, which iptables-restore makes anew and fills in one transaction a table; one
rule, first of all in the kernel's chain, leads to each, and is made when ours is whole.
iptables-restore(8), iptables-extensions(8).
"""

from __future__ import annotations

from collections.abc import Iterator

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
_HOST_PORTS = f"{LAST_PORT + 1}:65535"
_PORTS = ",".join([*map(str, sorted(LOW_PORTS)), f"{FIRST_PORT}:{LAST_PORT}"])


def chain(builtin: str) -> str:
    """Our own, to which the kernel's leads."""
    return f"OYSTER_{builtin}"


def rules(device: str, mail: bool) -> str:
    """What `COMMAND` is told, whole; the kernel's chains don't lead there yet."""
    return "".join(
        _table(table, builtins, [*_rules(table, device, mail)])
        for table, builtins in CHAINS.items()
    )


def _table(table: str, builtins: tuple[str, ...], lines: list[str]) -> str:
    heads = [f":{chain(builtin)} - [0:0]" for builtin in builtins]
    return "\n".join([f"*{table}", *heads, *lines, "COMMIT", ""])


def jumps() -> Iterator[tuple[str, str, str]]:
    """(table, the kernel's chain, ours)."""
    for table, builtins in CHAINS.items():
        for builtin in builtins:
            yield table, builtin, chain(builtin)


def _rules(table: str, device: str, mail: bool) -> Iterator[str]:
    if table == "raw":
        for protocol in ("tcp", "udp"):
            yield _add(
                "PREROUTING", f"! -i {device} -p {protocol} --dport {_HOST_PORTS} -j CT --notrack"
            )
            yield _add("OUTPUT", f"-p {protocol} --sport {_HOST_PORTS} -j CT --notrack")
    elif table == "mangle":
        clamp = f"-m tcpmss --mss {MOST_SEGMENT + 1}:65535 -j TCPMSS --set-mss {MOST_SEGMENT}"
        yield _add("FORWARD", f"-p tcp --tcp-flags SYN SYN {clamp}")
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
