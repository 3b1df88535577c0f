"""The kernel's part of the packets' way: address translation and a filter, by nft or by iptables.

The enclave's address exists on this machine alone: what comes in to its ports is translated to it,
what goes out to the machine's address. The host's own traffic has ports above those
(`ip_local_port_range`) and is not tracked, so that no flood of the enclave's connections fills the
table that the bucket and the metadata service need. The two sets of rules (`nat_nft`,
`nat_iptables`) say the same; whichever tool is there is taken, nft where both are.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from enclave.host.network import nat_iptables, nat_nft
from enclave.host.network.packet import LAST_PORT

TOOL_SECONDS = 10.0
_HOST_S_PORTS = f"{LAST_PORT + 1} 65535"
NFT, IPTABLES = TOOLS = "nft", "iptables"


class NatRefused(Exception):
    """The kernel or its tool did not take the rules; the text is theirs."""


def tools() -> tuple[str, ...]:
    """Of nft and iptables those that this machine has, the better one first."""
    needed = {NFT: (NFT,), IPTABLES: (IPTABLES, nat_iptables.COMMAND[0])}
    return tuple(name for name, all_of in needed.items() if all(map(shutil.which, all_of)))


def apply(device: str, mail: bool, sysctl: Path = Path("/proc/sys")) -> None:
    """Have the rules in force and packets forwarded. Raises NatRefused."""
    _apply_rules(device, mail)
    _set(sysctl, "net/ipv4/ip_forward", "1")
    _set(sysctl, "net/ipv4/ip_local_port_range", _HOST_S_PORTS)
    # What is not in order is for the ends to judge: translation left out would reset it here.
    _set(sysctl, "net/netfilter/nf_conntrack_tcp_be_liberal", "1")


def apply_raw(mail: bool, sysctl: Path = Path("/proc/sys")) -> None:
    """For raw sockets: the kernel leaves the enclave's ports alone, and the filter is at the way
    out. Raises NatRefused."""
    _apply_rules(None, mail)
    _set(sysctl, "net/ipv4/ip_local_port_range", _HOST_S_PORTS)


def _set(sysctl: Path, name: str, value: str) -> None:
    try:
        (sysctl / name).write_text(f"{value}\n")
    except OSError as error:
        raise NatRefused(f"{error.filename}: {error.strerror}") from error


def remove() -> None:
    """No rules of ours; what the kernel was told else does no harm."""
    for tool in tools():
        with suppress(NatRefused):  # they go with the machine
            if tool == NFT:
                _run(nat_nft.THERE)
            no_rules_by(tool)
            return  # the other one was not needed


def _apply_rules(device: str | None, mail: bool) -> None:
    """By the first tool that can: a kernel may lack what one of them needs."""
    refusals = []
    for tool in tools():
        try:
            rules_by(tool, device, mail)
        except NatRefused as refused:
            refusals.append(str(refused))
        else:
            return
    if not refusals:
        text = (
            "neither nft nor iptables is installed: `dnf install nftables`, or bake the image anew"
        )
        raise NatRefused(text)
    raise NatRefused("; ".join(refusals))


def rules_by(tool: str, device: str | None, mail: bool) -> None:
    """Have the rules in force by this tool. Raises NatRefused."""
    if tool == NFT:
        _run(nat_nft.COMMAND, nat_nft.rules(device, mail))
        return
    _run(nat_iptables.COMMAND, nat_iptables.rules(device, mail))
    for table, builtin, own in nat_iptables.jumps(device):
        if not _leads(table, builtin, own):
            _run([*nat_iptables.CHECK, "-t", table, "-I", builtin, "-j", own])


def _leads(table: str, builtin: str, own: str) -> bool:
    try:
        _run([*nat_iptables.CHECK, "-t", table, "-C", builtin, "-j", own])
    except NatRefused:
        return False
    return True


def no_rules_by(tool: str) -> None:
    """Have none of ours that this tool made. Raises NatRefused."""
    if tool == NFT:
        _run(nat_nft.COMMAND, nat_nft.NOTHING)
        return
    ours = {*nat_iptables.jumps(None), *nat_iptables.jumps("any")}
    for table, builtin, own in sorted(ours):
        while _leads(table, builtin, own):
            _run([*nat_iptables.CHECK, "-t", table, "-D", builtin, "-j", own])
        with suppress(NatRefused):  # it was never there
            for order in ("-F", "-X"):
                _run([*nat_iptables.CHECK, "-t", table, order, own])


def _run(command: Sequence[str], text: str = "") -> None:
    try:
        done = subprocess.run(
            list(command),
            input=text,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TOOL_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NatRefused(f"{command[0]}: {error}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["?"]
        raise NatRefused(f"{command[0]}: {said[0]}")
