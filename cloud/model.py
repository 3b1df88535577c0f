"""What the cloud says and is asked, as plain values: instances, their identity, launch orders.

These are the types that cross the package's border; boto3's dictionaries do not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from faults import Refused

InstanceId = NewType("InstanceId", str)
Region = NewType("Region", str)
Zone = NewType("Zone", str)

TAG_PREFIX = "oyster:"
IMAGE_TAG = f"{TAG_PREFIX}image"  # no part of the identity: it comes after the launch


class InstanceState(StrEnum):
    """EC2's own words (API reference, InstanceState)."""

    PENDING = "pending"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"


# A launch is spent in these; anything else still costs money or will.
GONE = frozenset({InstanceState.SHUTTING_DOWN, InstanceState.TERMINATED})


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose instance this is; written as tags at launch and never changed (rule 6).

    `attempt` counts launches within a generation: 1 for the first, one more for a replacement
    or for a second instance racing the first.
    """

    chain_id: int
    contract: str
    provider: str
    job: int
    generation: int
    attempt: int

    def tags(self) -> dict[str, str]:
        """The EC2 tags that hold this identity; addresses are lower case in tags."""
        return {
            f"{TAG_PREFIX}chain": str(self.chain_id),
            f"{TAG_PREFIX}contract": self.contract.lower(),
            f"{TAG_PREFIX}provider": self.provider.lower(),
            f"{TAG_PREFIX}job": str(self.job),
            f"{TAG_PREFIX}generation": str(self.generation),
            f"{TAG_PREFIX}attempt": str(self.attempt),
        }

    @classmethod
    def from_tags(cls, tags: Mapping[str, str]) -> Identity | None:
        """The identity in `tags`, or None when they are not (whole) ours."""
        try:
            return cls(
                chain_id=int(tags[f"{TAG_PREFIX}chain"]),
                contract=sys.intern(tags[f"{TAG_PREFIX}contract"]),  # the same of all instances
                provider=sys.intern(tags[f"{TAG_PREFIX}provider"]),
                job=int(tags[f"{TAG_PREFIX}job"]),
                generation=int(tags[f"{TAG_PREFIX}generation"]),
                attempt=int(tags[f"{TAG_PREFIX}attempt"]),
            )
        except (KeyError, ValueError):
            return None


class AttemptSpent(Refused):
    """The order's ClientToken belongs to an instance that is gone: take the next attempt.

    EC2 says IdempotentInstanceTerminated since January 2025.
    """


@dataclass(frozen=True, slots=True)
class Detour:
    """What a launch does otherwise because instances of its job died as they were launched.

    `images`: how many machine images that would serve are passed over. `aws_key`: the root volume
    is encrypted under AWS's own key, not under the account's default, which may be unusable.
    """

    images: int = 0
    aws_key: bool = False


AS_USUAL = Detour()


def always() -> bool:
    """What is wanted whatever comes."""
    return True


@dataclass(frozen=True, slots=True)
class LaunchOrder:
    """One instance to launch. Equal orders launch once, however often they are sent.

    `deadline` (unix seconds) orders queued launches: closest first; from `latest` on it is not
    launched any more, nor when `wanted` says no as its turn comes. `first_zone` narrows the zones
    tried to start with; None leaves the choice to the adapter. The `detour` makes no other order:
    where one was sent stays where it is sent.
    """

    identity: Identity
    region: Region
    instance_type: str
    deadline: float
    first_zone: Zone | None = None
    latest: float = float("inf")
    detour: Detour = field(default=AS_USUAL, compare=False)
    wanted: Callable[[], bool] = field(default=always, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ScheduledEvent:
    """What EC2 will do to an instance: its code, when at the earliest (unix seconds), its words."""

    code: str
    at: float
    text: str = ""

    @property
    def ends(self) -> bool:
        """Whether it takes the machine away; a reboot or maintenance gives it back."""
        return self.code in ENDING_EVENTS


# EC2 user guide, "Scheduled events for your instances". The others reboot the machine or its host:
# the enclave comes back with it, and its address stays.
ENDING_EVENTS = frozenset({"instance-retirement", "instance-stop"})

# EC2 API reference, "StateReason": ended, stopped or put to sleep "using the Amazon EC2 API".
BY_REQUEST = frozenset({"Client.UserInitiatedShutdown", "Client.UserInitiatedHibernate"})


@dataclass(frozen=True, slots=True)
class Instance:
    """An instance as EC2 lists it. `healthy` is EC2's status checks: None while initializing.

    `events` are those that are still to come; `state_reason` is why it is in its state, in EC2's
    own words, its code first. `image` is what was noted on it (`IMAGE_TAG`).
    """

    id: InstanceId
    region: Region
    zone: Zone
    instance_type: str
    state: InstanceState
    identity: Identity
    launched_at: float
    public_ip: str | None = None
    private_ip: str | None = None
    healthy: bool | None = None
    state_reason: str | None = None
    events: tuple[ScheduledEvent, ...] = ()
    image: str = ""

    @property
    def ending(self) -> ScheduledEvent | None:
        """The first event that takes the machine away."""
        ends = [event for event in self.events if event.ends]
        return min(ends, key=lambda event: event.at, default=None)

    def ends_before(self, when: float) -> bool:
        """Whether EC2 has said that it takes the machine away before `when`."""
        return self.ending is not None and self.ending.at < when

    @property
    def ended_by_request(self) -> bool:
        """Whether somebody asked EC2 for its end: an agent of this provider, or a person."""
        return (self.state_reason or "").partition(":")[0] in BY_REQUEST

    @property
    def live(self) -> bool:
        """Whether it still costs money or may come to."""
        return self.state not in GONE


@dataclass(frozen=True, slots=True)
class HostReport:
    """status.json of one host as the mailbox read it; the document is the host's own words.

    Written again unchanged it is a heartbeat: `written_at` moves. `ahead`: seconds by which the
    host's clock was ahead of the mailbox's, where the host said what its clock was.
    """

    instance: InstanceId
    document: Mapping[str, object]
    written_at: float
    etag: str
    ahead: float | None = None


ENCLAVE_LEAST_MIB = 64  # nitro-cli's own least


@dataclass(frozen=True, slots=True)
class EnclaveRoom:
    """What an enclave can get on an instance type after the parent keeps its share, in whole cores
    of `threads_per_core` CPUs: the driver starts none that has a part of one."""

    instance_type: str
    architecture: str
    cpu_count: int
    memory_mib: int
    network_mbps: int = 0  # the instance's baseline, megabits a second; 0: EC2 does not say
    threads_per_core: int = 1


@dataclass(frozen=True, slots=True)
class Headroom:
    """How many more jobs of one type fit, and what limits it (a word from the field: quota...)."""

    region: Region
    instance_type: str
    more: int
    limited_by: str
