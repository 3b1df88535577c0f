"""The simulated instance that this process is in: its root, its machine, its wires.

Light on purpose: these programs start often and fifty times over. The wires (vsock, init's
control) are abstract Unix sockets (unix(7)): no path to be too long, nothing left behind.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

PARENT_CID = 3
TOOLS = ("nitro-cli",)
_MODULES = {
    "dnf": "tools",
    "systemctl": "tools",
    "nitro-cli": "nitro_cli",
}


def root() -> Path:
    """The directory that stands for the instance's root."""
    return Path(os.environ["OYSTER_HOST_ROOT"])


def machine() -> dict[str, Any]:
    """What the hypervisor gave this instance (`instances.Fleet` wrote it)."""
    return dict(json.loads((root() / "etc/devnet-machine.json").read_text()))


def faults() -> dict[str, Any]:
    """What is to go wrong here; empty when nothing is."""
    try:
        return dict(json.loads((root() / "etc/devnet-faults.json").read_text()))
    except FileNotFoundError:
        return {}


def set_faults(given: dict[str, Any], top: Path | None = None) -> None:
    write_whole((top or root()) / "etc/devnet-faults.json", json.dumps(given))


def write_whole(path: Path, text: str) -> None:
    """Replace a file in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text)
    part.replace(path)


def vsock_prefix(instance_id: str) -> str:
    """What the host program is told to use instead of the kernel's vsock (`network.wires`)."""
    return f"oyster-devnet/{instance_id}"


def vsock(instance_id: str, cid: int, port: int) -> str:
    """The address that stands for a vsock port."""
    return f"\0{vsock_prefix(instance_id)}/{cid}/{port}"


def init_address(instance_id: str) -> str:
    return f"\0oyster-devnet/{instance_id}/init"


def console(enclave_id: str) -> Path:
    """What the kernel of an enclave says, where there is one."""
    return root() / f"var/log/nitro_enclaves/{enclave_id}.console"


def start_time(pid: int) -> str | None:
    """Field 22 of /proc/pid/stat (proc(5)); None for a process that is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def session(sid: int) -> list[int]:
    """Processes of a session: everything that runs on one instance."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == sid:
                found.append(int(entry.name))
    return found


def install_wrappers(top: Path, python: str, names: tuple[str, ...]) -> None:
    """Put programs on the instance's PATH."""
    home = Path(__file__).parent.parent.parent
    for name in names:
        code = (
            f"import sys; sys.path.insert(0, {str(home)!r}); sys.argv[0] = {name!r}; "
            f"from devnet.guest.{_MODULES[name]} import main; main()"
        )
        write_program(top / "usr/bin" / name, f'exec \'{python}\' -S -E -c "{code}" "$@"')


def write_program(path: Path, line: str) -> None:
    """A shell script of one line, executable, in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(f"#!/bin/sh\n{line}\n")
    part.chmod(0o755)
    part.replace(path)
