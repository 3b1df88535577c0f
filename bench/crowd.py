"""Thousands of running jobs as plain data: what chain, EC2, S3 and the enclaves say of them.

Everything follows from a job's number and the time, so that the processes that play the world and
the one that measures agree without talking. The last few jobs are the ones that need an action.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import struct
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from agent.decide.keepalive import run_id
from agent.market.model import JobId
from agent.market.workload import Workload
from cloud.model import Identity, InstanceId, Region
from enclave.cid import cid_of

REGIONS = tuple(Region(name) for name in ("us-east-1", "us-west-2", "eu-west-1", "ap-south-1"))
CHAIN_ID = 31337
REGISTRY = "0x" + "C0" * 20
EC2_TYPE = "c6a.xlarge"
IMAGES = 100  # so many users' images; each serves a hundredth of the jobs
IMAGE_BYTES = 64 << 20
HEARTBEAT_SECONDS = 30
SPECIALS = 4  # of each kind, one a region: assigned, ended, stopped, failed
DAY = 86400
_CLOCK = struct.Struct("ddd")


class ScaledClock:
    """Unix seconds that pass `speed` times as fast as the wall's, the same in every process.

    The file holds when the speed was set (wall and agent time) and the speed.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            now = time.time()
            path.write_bytes(_CLOCK.pack(now, now, 1.0))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _CLOCK.size)

    def now(self) -> float:
        wall, agent, speed = _CLOCK.unpack_from(self._shared)
        return float(agent + (time.time() - wall) * speed)

    @property
    def speed(self) -> float:
        return float(_CLOCK.unpack_from(self._shared)[2])

    def set_speed(self, speed: float) -> None:
        _CLOCK.pack_into(self._shared, 0, time.time(), self.now(), speed)


@dataclass(frozen=True, slots=True)
class Image:
    """One of the images: its bytes do not exist, what is measured of them does."""

    number: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(b"image %d" % self.number).hexdigest()

    @property
    def cid(self) -> str:
        return str(cid_of(b"image %d" % self.number))

    @property
    def pcrs(self) -> dict[int, str]:
        return {n: hashlib.sha384(b"%d pcr %d" % (self.number, n)).hexdigest() for n in range(3)}


@dataclass(frozen=True)
class Crowd:
    """`size` jobs that run, and behind them the special ones. `born` is the start of the bench."""

    size: int
    provider: str
    born: float
    market: str = "registry"

    @property
    def jobs(self) -> range:
        return range(1, self.size + 4 * SPECIALS + 1)

    def special(self, job: int) -> str:
        """ "" for most; else what is the matter with it."""
        kinds = ("assigned", "ended", "stopped", "failed")
        return "" if job <= self.size else kinds[(job - self.size - 1) // SPECIALS]

    def these(self, kind: str) -> set[int]:
        """The special jobs of one kind."""
        return {job for job in range(self.size + 1, self.jobs.stop) if self.special(job) == kind}

    def region(self, job: int) -> Region:
        return REGIONS[job % len(REGIONS)]

    def image(self, job: int) -> Image:
        return Image(job % IMAGES)

    def instance(self, job: int) -> InstanceId:
        return InstanceId(f"i-{job:017x}")

    def address(self, job: int) -> str:
        """On loopback, one for each."""
        return f"127.{64 + (job >> 16)}.{job >> 8 & 255}.{job & 255}"

    def job_at(self, address: str) -> int:
        _, high, middle, low = map(int, address.split("."))
        return (high - 64 << 16) + (middle << 8) + low

    def identity(self, job: int) -> Identity:
        return Identity(CHAIN_ID, REGISTRY, self.provider, job, 1, 1)

    def assigned_at(self, job: int) -> int:
        """Most since yesterday, the newest a few seconds ago."""
        return int(self.born) - (5 if self.special(job) == "assigned" else DAY)

    @cached_property
    def listed(self) -> list[JobId]:
        """What the contract lists as active for the provider."""
        return [JobId(job) for job in self.jobs if self.special(job) != "ended"]

    def url(self, job: int) -> str:
        return f"ipfs://{self.image(job).cid}"

    def workload(self, job: int) -> Workload | None:
        """What the market says of it, where it does."""
        return Workload(self.url(job), 1024, 2) if self.market == "marketv1" else None

    def written_at(self, job: int, now: float) -> int:
        """When the host last wrote its status: every HEARTBEAT_SECONDS, each at its own second."""
        return int(now - (now - job) % HEARTBEAT_SECONDS)

    def status(self, job: int) -> dict[str, object]:
        """What the host says; the same until something happens to it."""
        begun = self.assigned_at(job)
        failed = self.special(job) == "failed"
        last = {"failed": begun + 39} if failed else {}
        phases = {"booted": begun + 30, "fetching": begun + 31, "starting": begun + 35}
        return {
            "schema": 1,
            "phase": "failed" if failed else "running",
            "run_id": run_id(1, 1, 0, self.workload(job)),
            "heartbeat": begun + 40,
            "program": "ab" * 32,
            "instance_id": self.instance(job),
            "phases": {**phases, "running": begun + 38, **last},
            "image_sha256": self.image(job).sha256,
            "enclave_id": f"{self.instance(job)}-enc{job:016x}",
            "enclave_cid": 16,
            "pcrs": {f"PCR{n}": pcr for n, pcr in self.image(job).pcrs.items()},
            "restarts": 0,
            "last_error": "nitro-cli gave up" if failed else None,
            "disk_free_bytes": 12 << 30,
        }

    def status_json(self, job: int) -> bytes:
        return json.dumps(self.status(job), sort_keys=True).encode()
