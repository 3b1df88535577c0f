"""What one host is told at boot, and where things are on it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cadence:
    """How often the host looks and speaks, in seconds. Tests shorten them, nothing else does.

    A GET of an unchanged desired.json every 10 s and a heartbeat every 30 s cost about half a
    dollar a month a host (S3 requests, us-east-1); before there is anything to run, seconds count.
    """

    first_poll: float = 1.0
    poll: float = 10.0
    heartbeat: float = 30.0
    watch: float = 5.0
    # First pause after a failed start; doubles with each failure in a row.
    backoff: float = 1.0
    # An enclave that lived this long was well: the failures before it do not count any more.
    well_after: float = 600.0
    # Counted bytes are told this often: each time they are, the agent reads the whole status.
    traffic: float = 600.0


@dataclass(frozen=True)
class Config:
    """`host_prefix` + instance id + "/" is this host's folder in the bucket."""

    region: str
    bucket: str
    host_prefix: str
    program_key: str
    program_sha256: str
    cadence: Cadence = field(default_factory=Cadence)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` of them is equal to this."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Config:
        """Raises KeyError or TypeError when it is not what user data wrote."""
        return cls(**{**data, "cadence": Cadence(**data.get("cadence", {}))})


@dataclass(frozen=True)
class Places:
    """Paths below the root of the instance's file system."""

    root: Path

    @classmethod
    def here(cls) -> Places:
        """The machine's own root, or OYSTER_HOST_ROOT where a directory stands for it."""
        return cls(Path(os.environ.get("OYSTER_HOST_ROOT", "/")))

    @property
    def state(self) -> Path:
        """Survives a reboot: images, the last desired document, counters."""
        return self.root / "var/lib/oyster-host"

    @property
    def images(self) -> Path:
        return self.state / "images"

    @property
    def params(self) -> Path:
        """Init params that enclaves are given, by digest."""
        return self.state / "params"

    @property
    def console(self) -> Path:
        """What the enclaves of a debug job said."""
        return self.state / "console"

    @property
    def run(self) -> Path:
        """Gone after a reboot: what the network's process said last."""
        return self.root / "run/oyster-host"

    @property
    def allocator(self) -> Path:
        return self.root / "etc/nitro_enclaves/allocator.yaml"

    @property
    def cpu_pool(self) -> Path:
        return self.root / "sys/module/nitro_enclaves/parameters/ne_cpus"

    @property
    def nodes(self) -> Path:
        return self.root / "sys/devices/system/node"

    @property
    def nitro_log(self) -> Path:
        return self.root / "var/log/nitro_enclaves"

    @property
    def vm(self) -> Path:
        return self.root / "proc/sys/vm"
