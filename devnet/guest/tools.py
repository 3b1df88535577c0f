"""Stands for dnf (a package appears after a while) and systemctl (asks this instance's init)."""

from __future__ import annotations

import json
import socket
import sys
import time

from devnet.guest import place


def main() -> None:
    """As the wrapper was called."""
    sys.exit(_dnf() if sys.argv[0] == "dnf" else _systemctl())


def _dnf() -> int:
    machine, faults = place.machine(), place.faults()
    time.sleep(machine["timings"]["install"])
    if faults.get("dnf", 0) > 0:
        place.set_faults({**faults, "dnf": faults["dnf"] - 1})
        sys.stderr.write("Error: Failed to download metadata for repo 'amazonlinux'\n")
        return 1
    if "install" in sys.argv:
        place.install_wrappers(place.root(), machine["shim_python"], place.TOOLS)
    return 0


def _systemctl() -> int:
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(place.init_address(place.machine()["instance_id"]))
        wire.sendall(json.dumps(sys.argv[1:]).encode() + b"\n")
        with wire.makefile() as answers:
            answer = json.loads(answers.readline())
    (sys.stderr if answer["code"] else sys.stdout).write(answer["text"])
    return int(answer["code"])
