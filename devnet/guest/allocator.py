"""Stands for nitro-enclaves-allocator: the same file, the same words, the same quirks.

Texts and order of checks: aws-nitro-enclaves-cli, bootstrap/nitro-enclaves-allocator.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from devnet.guest import place

# What the parent's kernel does not give away as huge pages.
PARENT_KEEPS_MIB = 768
_POOL = "sys/module/nitro_enclaves/parameters/ne_cpus"
_PAGES = "sys/devices/system/node/node0/hugepages/hugepages-{}kB/nr_hugepages"
_PAGE_KIB = (1048576, 2048)


def prepare(root: Path) -> None:
    """A freshly booted kernel: nothing set aside."""
    write_pool(root, [])
    write_pages(root, 0)


def allocate(root: Path, machine: dict[str, Any], faults: dict[str, Any], busy: bool) -> str:
    """Do what allocator.yaml says; what it printed. Raises ValueError with its error text."""
    wanted = _config(root / "etc/nitro_enclaves/allocator.yaml")
    if busy:
        raise ValueError(
            "Could not re-online CPUs because there is at least one enclave currently running. "
            "Make sure you stop all enclaves prior to re-starting the "
            "nitro-enclaves-allocator.service."
        )
    cpus = _cpus(machine, wanted["cpu_count"])
    short = int(faults.get("allocator_short_mib", 0))
    if wanted["memory_mib"] > machine["memory_mib"] - PARENT_KEEPS_MIB:
        write_pages(root, 0)
        raise ValueError(
            "Failed to configure entire amount of requested memory. This indicates insufficient "
            "system resources."
        )
    write_pages(root, wanted["memory_mib"] - short)  # the quirk: success is said all the same
    write_pool(root, cpus)
    return (
        f"Successfully allocated Nitro Enclaves resources: {wanted['memory_mib']} MiB, "
        f"{wanted['cpu_count']} CPUs\n"
    )


def _cpus(machine: dict[str, Any], count: int) -> list[int]:
    """Whole cores other than CPU 0's; siblings are n and n + half."""
    vcpus, threads = int(machine["vcpus"]), int(machine["threads_per_core"])
    if count > vcpus:
        raise ValueError(f"Provided CPU count is higher than available CPUs - {vcpus}.")
    if count % threads:
        raise ValueError(f"The CPU count is not multiple of {threads} (threads per core).")
    if count > vcpus - threads:
        raise ValueError(
            "Failed to find suitable CPUs for the Nitro Enclaves CPU pool after checking all NUMA "
            "nodes."
        )
    cores = vcpus // threads
    every = [core + thread * cores for core in range(1, cores) for thread in range(threads)]
    return every[:count]


def read_pool(root: Path) -> list[int]:
    """CPUs of the enclave pool."""
    return [int(part) for part in (root / _POOL).read_text().strip().split(",") if part]


def write_pool(root: Path, cpus: list[int]) -> None:
    place.write_whole(root / _POOL, ",".join(map(str, cpus)) + "\n")


def read_pages(root: Path) -> int:
    """MiB in huge pages."""
    sizes = ((size, root / _PAGES.format(size)) for size in _PAGE_KIB)
    return sum(size * int(path.read_text()) for size, path in sizes) // 1024


def write_pages(root: Path, mib: int) -> None:
    """The largest pages first, then small ones; whole pages only."""
    left = max(mib, 0) * 1024
    for size in _PAGE_KIB:
        last = size == _PAGE_KIB[-1]
        count = -(-left // size) if last else left // size
        place.write_whole(root / _PAGES.format(size), f"{count}\n")
        left -= count * size


def _config(path: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for number, line in enumerate(path.read_text().split("\n"), 1):
        text = line.partition("#")[0].strip()
        if not text or text == "---":
            continue
        key, _, value = text.partition(":")
        if key not in ("memory_mib", "cpu_count"):
            raise ValueError(f"Error in {path}:{number} - unexpected: {key}")
        found[key] = int(value)
    for key, what in (("memory_mib", "memory"), ("cpu_count", "CPU")):
        if key not in found:
            raise ValueError(f"Config error: missing {what} reservation (`{key}`).")
    return found
