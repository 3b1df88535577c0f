"""What is seen on an instance and what can be done about it: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

from enclave.host.documents import Desired

RUNNING = "RUNNING"


@dataclass(frozen=True)
class Enclave:
    """One enclave as nitro-cli describes it."""

    id: str
    name: str
    cid: int
    state: str
    cpu_count: int
    memory_mib: int
    pcrs: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    """The process that holds it."""

    @property
    def running(self) -> bool:
        return self.state == RUNNING


@dataclass(frozen=True)
class Allocation:
    """What the allocator really set aside, read back from the kernel."""

    cpu_count: int
    memory_mib: int

    def holds(self, desired: Desired) -> bool:
        return self.cpu_count >= desired.cpu_count and self.memory_mib >= desired.memory_mib


@dataclass(frozen=True)
class Install:
    """The enclave tools are not on this machine, or nft for packets: install them."""

    packets: bool = False


@dataclass(frozen=True)
class Terminate:
    """An enclave runs that is not wanted."""

    enclave_id: str


@dataclass(frozen=True)
class Allocate:
    """Too little is set aside for enclaves."""

    cpu_count: int
    memory_mib: int


@dataclass(frozen=True)
class Run:
    """Everything is there: start it."""

    name: str
    desired: Desired


Step = Union[Install, Terminate, Allocate, Run]
