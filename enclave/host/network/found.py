"""What this machine has to carry an enclave's packets with: `python3 program.pyz --network`, which
`cloud bake` runs on its builder, tries it out and says it as a JSON object of short texts."""

from __future__ import annotations

import os
from collections.abc import Mapping

from enclave.host.network import nat, raw, tun
from enclave.host.network.orders import ENCLAVE_ADDRESS, HOST_ADDRESS
from enclave.host.network.wires import DEVICE

YES, MISSING = "yes", "not installed"
TUN, RAW = "tun", "raw sockets"


def found(device: str = DEVICE) -> Mapping[str, str]:
    """By name, what translates and what carries: "yes", or why not. Leaves nothing behind. For
    root."""
    here = nat.tools()
    tools = {tool: _works(tool) if tool in here else MISSING for tool in nat.TOOLS}
    return {**tools, TUN: _tun(device), RAW: _raw()}


def _works(tool: str) -> str:
    """Whether the kernel takes the rules from it, for a device that need not be there."""
    try:
        nat.rules_by(tool, tun.NAME, mail=False)
        nat.no_rules_by(tool)
    except nat.NatRefused as refused:
        return str(refused)
    return YES


def _tun(device: str) -> str:
    try:
        os.close(tun.open_tun(HOST_ADDRESS, ENCLAVE_ADDRESS, device, framed=True))
    except OSError as error:
        return f"{device}: {error.strerror}"
    return YES


def _raw() -> str:
    try:
        for descriptor in raw.open_sockets(trial=True)[1]:
            os.close(descriptor)
    except OSError as error:
        return str(error.strerror or error)
    return YES
