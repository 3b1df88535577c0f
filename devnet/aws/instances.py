"""For every instance that "runs": a directory that stands for its root, and real processes in it.

The user data and the host program are the real ones; kernel, systemd, dnf, nitro-cli and the
enclave are simulated (`guest/`), but for enclaves that boot, with what is in the folder `nitro`
(`devnet/nitro`). Nothing outside the directory is touched, and no process outlives the fleet: each
instance hangs on a pipe that this process holds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from devnet import notices
from devnet.aws import moto_state
from devnet.aws.ec2 import Record, Timings
from devnet.guest import place
from devnet.guest.nsm import SimulatedNsm

_END_SECONDS = 5.0
# systemd's RestartSec is 1 s in the unit; a devnet in a hurry scales it like boot times.
_RESTART_SECONDS = 1.0


class Fleet:
    """All simulated instances. `endpoint` is the devnet's AWS; set before the first one starts."""

    def __init__(
        self,
        directory: Path,
        timings: Timings,
        *,
        python: str = sys.executable,
        baked: bool = False,
        nitro: Path | None = None,
    ) -> None:
        self.endpoint = ""
        self._directory, self._timings = directory.resolve(), timings
        self._python, self._baked, self._nitro = python, baked, nitro
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._reached: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        nsm = SimulatedNsm.open(self._directory / "nsm")
        self.attestation_root = self._directory / "nsm/root.pem"
        self.attestation_root.write_bytes(nsm.root_pem)

    def root(self, instance: str) -> Path:
        """The directory of one instance."""
        return self._directory / "instances" / instance

    def started(self, record: Record) -> None:
        """Power on."""
        root = self.root(record.id)
        self._lay(root, record)
        with (root / "var/log/console.log").open("ab") as console:
            process = subprocess.Popen(
                [sys.executable, "-S", "-E", "-c", _INIT.format(home=str(_home()))],
                stdin=subprocess.PIPE,
                stdout=console,
                stderr=console,
                env=self._environment(root, record),
                cwd=root,
                start_new_session=True,
            )
        with self._lock:
            self._processes[record.id] = process

    def ended(self, record: Record) -> None:
        """Power off; returns at once, the processes go in the background."""
        with self._lock:
            process = self._processes.pop(record.id, None)
        if process is not None:
            threading.Thread(target=_end, args=(process,), daemon=True).start()

    def reach(self, instance: str, addresses: list[str]) -> None:
        """The public addresses that lead to it now."""
        if self._reached.get(instance) != addresses and self.root(instance).exists():
            self._reached[instance] = list(addresses)
            path = self.root(instance) / "etc/devnet-addresses.json"
            place.write_whole(path, json.dumps(addresses))

    def command(self, instance: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """What `POST /_devnet/machine` asks; the answer as JSON. Raises KeyError, OSError."""
        commands: dict[str, Callable[[str, dict[str, Any]], dict[str, Any]]] = {
            "kill_host": self._kill_host,
            "reboot": self._reboot,
            "enclave_die": self._enclave_die,
            "enclave_hang": self._enclave_hang,
            "enclave_lie": self._faults,
            "nitro": self._faults,
        }
        return commands[name](instance, arguments)

    def close(self) -> None:
        """Everything off; returns when it is."""
        with self._lock:
            processes, self._processes = list(self._processes.values()), {}
        for process in processes:
            assert process.stdin is not None
            process.stdin.close()
        for process in processes:
            _end(process)

    def _lay(self, root: Path, record: Record) -> None:
        """The disk as the AMI and the hypervisor leave it."""
        for name in ("var/log", "var/lib/cloud/instance", "etc", "run", "tmp", "root"):
            (root / name).mkdir(parents=True, exist_ok=True)
        shape = moto_state.shape(record.instance_type)
        factor = self._timings.boot / Timings().boot
        machine = {
            "simulation": "no part of this machine is real",
            "instance_id": record.id,
            "region": record.region,
            "vcpus": shape.vcpus,
            "threads_per_core": shape.threads_per_core,
            "memory_mib": shape.memory_mib,
            "enclave": record.enclave,
            "nitro": str(self._nitro) if self._nitro else None,
            "timings": asdict(self._timings),
            "restart_seconds": _RESTART_SECONDS * factor,
            "shim_python": sys.executable,
            "nsm": str(self._directory / "nsm"),
            "notices": str(self._directory / notices.FILE),
        }
        place.write_whole(root / "etc/devnet-machine.json", json.dumps(machine, indent=1))
        place.write_whole(
            root / "etc/devnet-addresses.json",
            json.dumps([record.public_ip] if record.public_ip else []),
        )
        (root / "var/lib/cloud/instance/user-data.txt").write_bytes(record.user_data)
        tools = place.TOOLS if self._baked else ()
        place.install_wrappers(root, sys.executable, ("dnf", "systemctl", *tools))
        place.write_program(root / "usr/bin/python3", f"exec '{self._python}' -S -E \"$@\"")

    def _environment(self, root: Path, record: Record) -> dict[str, str]:
        return {
            "PATH": str(root / "usr/bin"),
            "HOME": str(root / "root"),
            "TMPDIR": str(root / "tmp"),
            "LANG": "C.UTF-8",
            "PYTHONUNBUFFERED": "1",
            "OYSTER_HOST_ROOT": str(root),
            "OYSTER_HOST_VSOCK": place.vsock_prefix(record.id),
            "OYSTER_HOST_ADDRESSES": str(root / "etc/devnet-addresses.json"),
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": f"{self.endpoint}/_devnet/imds/{record.id}",
        }

    def _kill_host(self, instance: str, _: dict[str, Any]) -> dict[str, Any]:
        return {"killed": self._ask_init(instance, ["kill-unit", "oyster-host.service"])}

    def _reboot(self, instance: str, _: dict[str, Any]) -> dict[str, Any]:
        return {"said": self._ask_init(instance, ["reboot"])}

    def _enclave_die(self, instance: str, _: dict[str, Any]) -> dict[str, Any]:
        return {"killed": self._signal_enclaves(instance, signal.SIGKILL)}

    def _enclave_hang(self, instance: str, _: dict[str, Any]) -> dict[str, Any]:
        return {"stopped": self._signal_enclaves(instance, signal.SIGSTOP)}

    def _faults(self, instance: str, given: dict[str, Any]) -> dict[str, Any]:
        path = self.root(instance) / "etc/devnet-faults.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        place.set_faults({**known, **given}, self.root(instance))
        return {**known, **given}

    def _signal_enclaves(self, instance: str, number: int) -> int:
        files = list((self.root(instance) / "run/nitro_enclaves").glob("*.json"))
        for path in files:
            with suppress(ProcessLookupError, FileNotFoundError):
                os.kill(int(json.loads(path.read_text())["ProcessID"]), number)
        return len(files)

    def _ask_init(self, instance: str, words: list[str]) -> str:
        with socket.socket(socket.AF_UNIX) as wire:
            wire.connect(place.init_address(instance))
            wire.sendall(json.dumps(words).encode() + b"\n")
            with wire.makefile() as answers:
                return str(json.loads(answers.readline())["text"])

    def forget(self, instance: str) -> None:
        """Delete the directory of an instance that ended."""
        shutil.rmtree(self.root(instance), ignore_errors=True)


_INIT = "import sys; sys.path.insert(0, {home!r}); from devnet.guest.init import main; main()"


def _home() -> Path:
    return Path(__file__).parents[2]


def _end(process: subprocess.Popen[bytes]) -> None:
    """Cut the power, then make sure of it."""
    assert process.stdin is not None
    process.stdin.close()
    with suppress(subprocess.TimeoutExpired):  # what is left is killed next
        process.wait(_END_SECONDS)
    for pid in place.session(process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
