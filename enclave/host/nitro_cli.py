"""nitro-cli and the allocator: argument lists only, their own words kept for the reader.

Output shapes and error texts: AWS Nitro Enclaves User Guide, "Nitro CLI reference" and "Nitro CLI
error codes"; the allocator: nitro-enclaves-allocator of aws-nitro-enclaves-cli. That service has
reported success with less than was asked, so what it gave is read back from the kernel.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from enclave.host.config import Places
from enclave.host.model import RUNNING, Allocate, Allocation, Enclave, Run

ALLOCATOR_SERVICE = "nitro-enclaves-allocator.service"
TOOLS = ("nitro-cli",)
# For enclaves that have packets. iptables would be a second front of the same nf_tables.
PACKET_TOOLS = ("nft",)
PACKAGES = ("aws-nitro-enclaves-cli", "nftables")
# nitro-cli itself waits for a boot for 180 s and longer with much memory.
RUN_SECONDS = 900.0
ASK_SECONDS = 60.0
INSTALL_SECONDS = 600.0
_MOST_TEXT = 2000
_NOT_AS_DOCUMENTED = (AttributeError, KeyError, OverflowError, TypeError, ValueError)
_LOG = re.compile(r'error log found at "([^"]+)"')
_PCR = re.compile(r"PCR[0-9]{1,2}\Z")
_SHA384 = re.compile(r"[0-9a-f]{96}\Z")
_PAGES = re.compile(r"hugepages-([0-9]+)kB\Z")
_NUMBER = re.compile(r"[0-9]{1,12}")
_CPUS = re.compile(r"([0-9]{1,6})(?:-([0-9]{1,6}))?")
_JSON = json.JSONDecoder()

T = TypeVar("T")


class NitroError(Exception):
    """A tool refused or failed; the text is its own."""


def tools_present(packets: bool = False) -> bool:
    """Whether everything that running an enclave needs is on PATH."""
    return all(shutil.which(tool) for tool in (*TOOLS, *(PACKET_TOOLS if packets else ())))


def install_tools(packets: bool = False) -> None:
    """From Amazon Linux 2023's own repository. Raises NitroError with dnf's words."""
    _call(["dnf", "--assumeyes", "--quiet", "install", *PACKAGES], INSTALL_SECONDS)
    if not tools_present(packets):
        wanted = TOOLS + (PACKET_TOOLS if packets else ())
        raise NitroError(f"dnf installed {', '.join(PACKAGES)}, but not all of {wanted} are there")


def describe_enclaves(places: Places) -> tuple[Enclave, ...]:
    """All enclaves of this machine. Raises NitroError."""
    said = _nitro(places, ["describe-enclaves"], ASK_SECONDS)
    try:
        return tuple(_enclave(one) for one in _found(said, list))
    except _NOT_AS_DOCUMENTED as error:
        raise NitroError(f"nitro-cli describe-enclaves: not as documented: {error!r}") from error


def run_enclave(places: Places, order: Run, image: Path) -> Enclave | None:
    """Start it and wait until nitro-cli says that it booted; what it says of it, if that can be
    understood. Raises NitroError."""
    desired = order.desired
    arguments = ["run-enclave", "--eif-path", str(image), "--enclave-name", order.name]
    arguments += ["--cpu-count", str(desired.cpu_count), "--memory", str(desired.memory_mib)]
    if desired.enclave_cid:
        arguments += ["--enclave-cid", str(desired.enclave_cid)]
    said = _nitro(places, arguments + (["--debug-mode"] if desired.debug else []), RUN_SECONDS)
    try:
        return _enclave({**_found(said, dict), "State": RUNNING})
    except _NOT_AS_DOCUMENTED:  # it booted all the same: describe-enclaves tells
        return None


def terminate_enclave(places: Places, enclave_id: str) -> None:
    """End it; nitro-cli answers when it is gone. Raises NitroError."""
    _nitro(places, ["terminate-enclave", "--enclave-id", enclave_id], ASK_SECONDS)


def allocate(places: Places, wanted: Allocate) -> None:
    """Have the allocator set this much aside. Raises NitroError when less came of it."""
    text = f"---\nmemory_mib: {wanted.memory_mib}\ncpu_count: {wanted.cpu_count}\n"
    places.allocator.parent.mkdir(parents=True, exist_ok=True)
    places.allocator.write_text(text)
    _make_room(places)
    said = _try(["systemctl", "restart", ALLOCATOR_SERVICE], ASK_SECONDS)
    got = allocated(places)
    if got.cpu_count >= wanted.cpu_count and got.memory_mib >= wanted.memory_mib:
        return
    log = _try(["systemctl", "status", "--no-pager", "--lines=8", ALLOCATOR_SERVICE], ASK_SECONDS)
    raise NitroError(
        f"the allocator set aside {got.cpu_count} CPUs and {got.memory_mib} MiB of "
        f"{wanted.cpu_count} CPUs and {wanted.memory_mib} MiB; it said: "
        f"{_short(said + ' ' + log)}"
    )


def allocated(places: Places) -> Allocation:
    """CPUs in the driver's pool and huge pages of all sizes, from /sys."""
    return Allocation(_pool_size(_read(places.cpu_pool)), _huge_mib(places.nodes))


def _make_room(places: Places) -> None:
    """Page cache (the image just came through it) stands in the way of huge pages: let it go."""
    for name, value in (("drop_caches", "3"), ("compact_memory", "1")):
        knob = places.vm / name
        if knob.exists():
            knob.write_text(value)


def _pool_size(text: str) -> int:
    """How many CPUs a list like `1,3-5` names; none where the driver writes something else."""
    parts = [_CPUS.fullmatch(part) for part in text.strip().split(",")]
    if not all(parts):
        return 0
    return sum(int(one[2] or one[1]) - int(one[1]) + 1 for one in filter(None, parts))


def _huge_mib(nodes: Path) -> int:
    kib = 0
    for pages in nodes.glob("node*/hugepages/hugepages-*kB"):
        size = _PAGES.match(pages.name)
        there = _NUMBER.fullmatch(_read(pages / "nr_hugepages").strip())
        kib += int(size.group(1)) * int(there[0]) if size and there else 0
    return kib // 1024


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _enclave(info: Mapping[str, Any]) -> Enclave:
    measured = info.get("Measurements") or {}
    return Enclave(
        id=str(info["EnclaveID"]),
        name=str(info.get("EnclaveName", "")),
        cid=int(info["EnclaveCID"]),
        state=str(info["State"]),
        cpu_count=int(info["NumberOfCPUs"]),
        memory_mib=int(info["MemoryMiB"]),
        pcrs=_registers(measured),
        pid=int(info["ProcessID"]) if info.get("ProcessID") else None,
    )


def _registers(measured: Mapping[str, Any]) -> dict[str, str]:
    """Those that are of the known form. The agent refuses a status with others, whole."""
    found = {key: str(value).lower() for key, value in measured.items() if _PCR.match(key)}
    return {key: value for key, value in found.items() if _SHA384.match(value)}


def _nitro(places: Places, arguments: Sequence[str], seconds: float) -> str:
    """What nitro-cli says. On failure NitroError: its first error and the log that it points to."""
    try:
        return _call(["nitro-cli", *arguments], seconds)
    except NitroError as error:
        raise NitroError(_short(str(error) + _backtrace(places, str(error)))) from error


def _found(said: str, kind: type[T]) -> T:
    """The JSON in it, of this kind, from the beginning of a line on: what a version of the tool, or
    a library of it, says beside that is let be. Raises ValueError."""
    for begins in re.finditer(r"^[ \t]*(?=[\[{])", said, re.MULTILINE):
        with suppress(ValueError, RecursionError):
            value, _ = _JSON.raw_decode(said, begins.end())
            if isinstance(value, kind):
                return value
    raise ValueError(f"no JSON {kind.__name__}: {said[:200]!r}")


def _backtrace(places: Places, text: str) -> str:
    """What nitro-cli wrote into its error log: the reason that the E-code only hints at."""
    found = _LOG.search(text)
    log = places.nitro_log / Path(found.group(1)).name if found else None
    return "\n" + _read(log) if log else ""


def _call(arguments: Sequence[str], seconds: float) -> str:
    """Standard output. Raises NitroError with what the program wrote to standard error.

    Through files, not pipes: an enclave's process that inherits a pipe would keep it open.
    """
    try:
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            done = subprocess.run(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                timeout=seconds,
                check=False,
            )
            said, complained = _text(out), _text(err)
    except (
        OSError,
        subprocess.TimeoutExpired,
    ) as error:  # of a full disk or table of processes too
        raise NitroError(f"{arguments[0]}: {error}") from error
    if done.returncode != 0:
        words = (complained.strip() or said.strip())[:_MOST_TEXT]
        raise NitroError(f"{arguments[0]} exited with {done.returncode}: {words}")
    return said


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _try(arguments: Sequence[str], seconds: float) -> str:
    try:
        return _call(arguments, seconds).strip()
    except NitroError as error:
        return str(error)


def _short(text: str, most: int | None = None) -> str:
    return text.strip()[: most or _MOST_TEXT]
