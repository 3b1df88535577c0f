"""One EC2 instance and the host program on it, as functions of time: nothing runs while nobody
looks. Hosts hang and enclaves die when they are told to."""

from __future__ import annotations

from dataclasses import dataclass

from cloud.model import (
    Instance,
    InstanceId,
    InstanceState,
    LaunchOrder,
    Region,
    ScheduledEvent,
    Zone,
)
from enclave.host.documents import SCHEMAS, Desired, Status

NEVER = float("inf")
HEARTBEAT_SECONDS = 30.0
LACKS = "images: HTTP 404, not there or not allowed"
BY_REQUEST = "Client.UserInitiatedShutdown: User initiated shutdown"  # as EC2 says it


@dataclass(slots=True)
class Lengths:
    """Seconds; cold starts as published for AL2023 on six instance types."""

    running: float = 17.8
    boot: float = 8.0
    fetch: float = 3.0
    enclave: float = 5.0
    shutdown: float = 6.0
    listed: float = 3600.0  # how long a terminated instance stays in the listing
    visible: float = 0.0  # until a new one is in it


@dataclass(slots=True)
class Machine:
    """One instance and the host program on it."""

    id: InstanceId
    order: LaunchOrder
    zone: Zone
    ip: str
    launched_at: float
    lengths: Lengths
    ends_at: float = NEVER
    hangs_at: float = NEVER  # the host does nothing more; EC2 calls it fine
    enclave_dies_at: float = NEVER  # this run answers no more
    dies_at: float = NEVER  # whichever run is on then answers no more
    fails_at: float = NEVER  # the hardware fails: EC2 ends the instance
    never_boots: bool = False
    dies_of: str = ""
    events: tuple[ScheduledEvent, ...] = ()
    unhealthy_at: float = NEVER  # EC2's status checks fail from then on
    stops_at: float = NEVER
    desired: Desired | None = None
    desired_at: float = NEVER
    knows: int = SCHEMAS[-1]  # of desired.json: the host program's age
    refused: str | None = None  # what it says of orders that it can't read
    lacks_image: bool = False  # its bucket lost it before the host had it
    images: frozenset[str] = frozenset()  # what it fetched for earlier runs

    def told(self, desired: Desired, now: float, *, staged: bool) -> None:
        """Another run from now on."""
        if self.desired is not None and now >= self.fetched_at:
            self.images |= {self.desired.image_sha256}
        self.desired, self.desired_at, self.enclave_dies_at = desired, now, NEVER
        self.lacks_image = not staged and desired.image_sha256 not in self.images

    def wants(self, region: Region, sha256: str) -> bool:
        """Whether its orders name that image of that bucket."""
        wanted = self.desired is not None and self.desired.image_sha256 == sha256
        return wanted and self.order.region == region

    def state(self, now: float) -> InstanceState:
        if now >= self.ends_at + self.lengths.shutdown:
            return InstanceState.TERMINATED
        if now >= self.ends_at:
            return InstanceState.SHUTTING_DOWN
        if now >= self.stops_at:
            return InstanceState.STOPPED
        running = now >= self.launched_at + self.lengths.running
        return InstanceState.RUNNING if running else InstanceState.PENDING

    def instance(self, now: float) -> Instance:
        up = now >= self.launched_at + self.lengths.running
        return Instance(
            id=self.id,
            region=self.order.region,
            zone=self.zone,
            instance_type=self.order.instance_type,
            state=self.state(now),
            identity=self.order.identity,
            launched_at=self.launched_at,
            public_ip=self.ip if up else None,
            healthy=self.healthy(now),
            state_reason=self.dies_of or None if now >= self.ends_at else None,
            events=self.events,
        )

    def healthy(self, now: float) -> bool | None:
        """What EC2's status checks say."""
        if now >= self.unhealthy_at:
            return False
        return True if now >= self.booted_at else None

    @property
    def booted_at(self) -> float:
        if self.never_boots:
            return NEVER
        return self.launched_at + self.lengths.running + self.lengths.boot

    @property
    def running_at(self) -> float:
        """When the enclave of the present run is up."""
        return self.fetched_at + self.lengths.enclave

    @property
    def fetched_at(self) -> float:
        if self.lacks_image:
            return NEVER
        return max(self.booted_at, self.desired_at) + self.lengths.fetch

    def status(self, now: float) -> Status | None:
        """The host's last word by `now`."""
        now = min(now, self.hangs_at, self.ends_at, self.stops_at)
        if now < self.booted_at:
            return None
        phases = {"booted": self.booted_at}
        begun = max(self.booted_at, self.desired_at)
        steps = {"fetching": begun, "starting": self.fetched_at}
        steps["running"] = self.running_at
        phases |= {name: at for name, at in steps.items() if at <= now}
        return Status(
            phase=list(phases)[-1],
            run_id=self.desired.run_id if self.desired and now >= self.desired_at else None,
            heartbeat=self.heartbeat_at(now),
            program="simulated",
            instance_id=self.id,
            phases=phases,
            image_sha256=self.desired.image_sha256 if self.desired else None,
            last_error=self.refused or (LACKS if self.lacks_image and now >= begun else None),
            knows=self.knows,
        )

    def heartbeat_at(self, now: float) -> float:
        beats = (now - self.booted_at) // HEARTBEAT_SECONDS
        return float(self.booted_at + beats * HEARTBEAT_SECONDS)

    def answers(self, now: float) -> bool:
        alive = self.running_at <= now < min(
            self.hangs_at, self.enclave_dies_at, self.ends_at, self.stops_at
        )  # fmt: skip
        died = self.running_at <= self.dies_at <= now
        return alive and not died and self.desired is not None
