"""What the hypervisor knows of an enclave, as nitro-cli reads and says it; for whatever runs it.

Each enclave is known by one file, written by the process that runs it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devnet.guest import place
from enclave.eif.measure import Measured, inspect_file, measure_file


def measured_to_boot(order: Mapping[str, Any]) -> Measured:
    """The image, measured for real. Raises Refused for what no enclave boots, OSError."""
    measured = measure_file(Path(order["image"]))
    measured.require_signer_valid_at(time.time())
    return measured


def write(order: Mapping[str, Any], measured: Measured, state: str, pid: int) -> dict[str, Any]:
    """The record of the enclave that is this process; what it says."""
    record = {
        "EnclaveName": order["name"],
        "EnclaveID": order["id"],
        "ProcessID": pid,
        "EnclaveCID": order["cid"],
        "NumberOfCPUs": len(order["cpus"]),
        "CPUIDs": order["cpus"],
        "MemoryMiB": order["memory_mib"],
        "State": state,
        "Flags": "DEBUG_MODE" if order["debug"] else "NONE",
        "Measurements": _measurements(measured.pcrs),
        "start": place.start_time(pid),
    }
    path = place.root() / f"run/nitro_enclaves/{order['id']}.json"
    place.write_whole(path, json.dumps(record))
    return record


def say(value: Mapping[str, Any]) -> None:
    """To nitro-cli, which may be dead by now; the enclave lives on without it."""
    try:
        os.write(1, json.dumps(value).encode() + b"\n")
    except BrokenPipeError:
        return
    finally:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def described(path: Path) -> dict[str, Any]:
    """As `nitro-cli describe-eif` says it."""
    seen = inspect_file(path)
    about = dict(seen.metadata or {})
    return {
        "EifVersion": seen.header.version if seen.header else None,
        "Measurements": _measurements(seen.pcrs),
        "IsSigned": seen.signer is not None,
        "CheckCRC": not any(one.rule.endswith("crc") for one in seen.broken),
        "ImageName": about.get("ImageName"),
        "ImageVersion": about.get("ImageVersion"),
        "Metadata": about.get("BuildMetadata"),
    }


def _measurements(measured: Mapping[int, str]) -> dict[str, str]:
    pcrs = {f"PCR{number}": value for number, value in sorted(measured.items())}
    return {"HashAlgorithm": "Sha384 { ... }", **pcrs}
