"""What a job runs and how much of a machine it gets, as its market says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256

STANDARD_FAMILY = "tuna"  # the family of all images that are made today


@dataclass(frozen=True)
class Workload:
    """An image and its enclave. `init_params` are the bytes that the enclave is given."""

    url: str = field(repr=False)  # its query may be a secret
    memory_mib: int
    cpu_count: int
    family: str = STANDARD_FAMILY
    debug: bool = False
    init_params: bytes = field(default=b"", repr=False)  # a user's, maybe secret

    @cached_property
    def content(self) -> str:
        """Names what can be changed in place: URL, debug mode, init params. 8 hex digits."""
        return _name(self.url, str(self.debug), self.init_params.hex())

    @cached_property
    def params_sha256(self) -> str:
        """Under which the init params are in a bucket; empty: they have no bytes."""
        return sha256(self.init_params).hexdigest() if self.init_params else ""

    @cached_property
    def place(self) -> str:
        """Names what can't: the enclave's size and family. 8 hex digits."""
        return _name(str(self.memory_mib), str(self.cpu_count), self.family)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a job asks for, by which it is told whether its user has changed it: whose it is, the
    type, and the workload's two names (empty where there is none)."""

    user: str
    instance_type: str
    place: str = ""
    content: str = ""

    @classmethod
    def of(cls, user: str, instance_type: str, work: Workload | None) -> Ask:
        names = (work.place, work.content) if work is not None else ("", "")
        return cls(user, instance_type, *names)


def _name(*parts: str) -> str:
    digest = sha256()
    for part in parts:
        raw = part.encode("utf-8", "surrogatepass")
        digest.update(len(raw).to_bytes(8, "big") + raw)
    return digest.hexdigest()[:8]
