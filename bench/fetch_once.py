"""One fetch in a process of its own: `python -m bench.fetch_once GATEWAY CID TARGET`.

Prints JSON: seconds, and how far the peak of resident memory was above the idle process.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from enclave.fetch.download import FetchLimits, Reach
from enclave.fetch.fetcher import fetch_file
from enclave.ipfs.gateway import Gateway


def main(gateway: str, cid: str, target: Path) -> None:
    limits = FetchLimits(min_free_disk_bytes=0)
    reach = Reach([Gateway(gateway)])
    idle, begun = _resident_kib("VmRSS"), time.perf_counter()
    image = fetch_file(f"ipfs://{cid}", target, reach, limits)
    seconds = time.perf_counter() - begun
    above_mib = (_resident_kib("VmHWM") - idle) / 1024
    print(json.dumps({"seconds": seconds, "above_mib": above_mib, "sha256": image.sha256}))


def _resident_kib(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
