"""An EC2 that is as unkind as the real one; what moto leaves out. No sockets here: `aws.py` asks.

Facts and sources: EC2 API reference (ClientToken and "Ensuring idempotency", error codes, instance
life cycle, request throttling). It is a simulation and knows nothing of capacity that anyone has.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

VCPU_QUOTA = "L-1216C47A"
ADDRESS_QUOTA = "L-0263D0A3"

PENDING, RUNNING, SHUTTING_DOWN, TERMINATED, STOPPING, STOPPED = 0, 16, 32, 48, 64, 80
NAMES = {
    PENDING: "pending", RUNNING: "running", SHUTTING_DOWN: "shutting-down",
    TERMINATED: "terminated", STOPPING: "stopping", STOPPED: "stopped",
}  # fmt: skip
USER_ENDED = "Client.UserInitiatedShutdown: User initiated shutdown"
RETIRED = "Server.ScheduledStop: Stopped due to scheduled retirement"
ENDING_EVENTS = ("instance-retirement", "instance-stop")


class Ec2Error(Exception):
    """An answer that EC2 gives instead of doing it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True)
class Timings:
    """Seconds as measured on AL2023 (m7i.large); `scaled` for a devnet that is in a hurry."""

    pending: float = 17.8
    boot: float = 5.0
    status_checks: float = 120.0
    shutting_down: float = 30.0
    visibility: float = 1.0
    profile: float = 8.0  # until EC2 knows of an instance profile that IAM has just made
    stopping: float = 20.0
    install: float = 15.0
    allocate: float = 2.0
    enclave_boot: float = 3.0
    terminate: float = 1.0  # from terminate-enclave until it is gone
    remembered: float = 3600.0  # what was terminated is listed for about an hour

    def scaled(self, factor: float) -> Timings:
        """All of them times `factor`, but for how long EC2 remembers; 0 makes all immediate."""
        scaled = Timings(**{name: value * factor for name, value in vars(self).items()})
        return replace(scaled, remembered=self.remembered)


@dataclass
class Bucket:
    """A token bucket: `burst` at most, refilled at `per_second`."""

    burst: float
    per_second: float
    tokens: float = field(init=False)
    at: float | None = None

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def take(self, now: float) -> bool:
        """Whether a request passes now."""
        if self.at is not None:
            self.tokens = min(self.burst, self.tokens + (now - self.at) * self.per_second)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(frozen=True)
class Event:
    """A scheduled event: what EC2 will do from `not_before` on (unix seconds)."""

    code: str
    not_before: float
    description: str = "The instance is running on degraded hardware"


@dataclass(frozen=True)
class Record:
    """What is remembered of one launched instance; times are this simulation's clock."""

    id: str
    region: str
    zone: str
    instance_type: str
    vcpus: int
    launched_at: float
    enclave: bool
    public_ip: str
    profile: str = ""
    user_data: bytes = field(default=b"", repr=False)
    state: int = PENDING
    running_at: float | None = None
    terminated_at: float | None = None
    ends_at: float | None = None
    broken_at: float | None = None  # its hardware failed; EC2 has not said so yet
    reason: str = ""  # why it is in its state: EC2's code, a colon, its words
    events: tuple[Event, ...] = ()

    @property
    def off(self) -> bool:
        """Whether it runs nothing any more."""
        return self.state in (SHUTTING_DOWN, TERMINATED, STOPPING, STOPPED)


@dataclass
class Faults:
    """What goes wrong, all off at first. Counters count down; sets stay until changed."""

    sold_out: set[tuple[str, str]] = field(default_factory=set)  # (type or *, zone)
    vcpu_quota: int = 1920
    address_quota: int = 5
    throttle: bool = False
    run_burst: float = 5.0
    run_per_second: float = 2.0
    describe_burst: float = 100.0
    describe_per_second: float = 20.0
    lose_replies: dict[str, int] = field(default_factory=dict)  # action -> how many
    errors: dict[str, list[str]] = field(default_factory=dict)  # action -> codes to answer with
    s3_down: bool = False
    impaired: set[str] = field(default_factory=set)  # instances whose status checks fail
    stuck_pending: bool = False
    dead_on_launch: str = ""  # what each new instance dies of: `code: words`, as in StateReason


class HonestEc2:
    """The behaviour of one account in all regions. Thread-safe; time comes from `clock`."""

    def __init__(self, clock: Callable[[], float], timings: Timings) -> None:
        self.clock, self.timings, self.faults = clock, timings, Faults()
        self.port = 0
        self.records: dict[str, Record] = {}
        self.calls: dict[str, int] = {}
        self.lock = threading.RLock()
        self._tokens: dict[tuple[str, str], tuple[str, str, bytes]] = {}
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._addresses = itertools.count(1)
        self._profiles: dict[str, float] = {}

    def admit(self, region: str, action: str) -> None:
        """Count the call; raises Ec2Error when it is throttled or a fault is set for it."""
        with self.lock:
            self.calls[action] = self.calls.get(action, 0) + 1
            codes = self.faults.errors.get(action)
            if codes:
                code = codes.pop(0)
                raise Ec2Error(500 if "Capacity" in code else 400, code, f"{code} on demand")
            if self.faults.throttle and not self._bucket(region, action).take(self.clock()):
                raise Ec2Error(503, "RequestLimitExceeded", "Request limit exceeded.")

    def reply_is_lost(self, action: str) -> bool:
        """Whether the connection is to be dropped now that the work is done."""
        with self.lock:
            left = self.faults.lose_replies.get(action, 0)
            if left > 0:
                self.faults.lose_replies[action] = left - 1
            return left > 0

    def known_launch(self, region: str, params: Mapping[str, str]) -> tuple[str, bytes] | None:
        """(instance id, first answer) of an earlier launch with this ClientToken.

        Raises Ec2Error: other parameters, or that instance is terminated.
        """
        token = params.get("ClientToken")
        known = self._tokens.get((region, token)) if token else None
        if known is None:
            return None
        fingerprint, instance, answer = known
        if fingerprint != _fingerprint(params):
            raise Ec2Error(
                400,
                "IdempotentParameterMismatch",
                "Arguments on this idempotent request are inconsistent with arguments used in "
                "previous request(s).",
            )
        record = self.records.get(instance)
        if record is None or record.state in (SHUTTING_DOWN, TERMINATED):
            raise Ec2Error(
                400,
                "IdempotentInstanceTerminated",
                "The client token you have provided is associated with an instance that has "
                "already been terminated.",
            )
        return instance, answer

    def profile_changed(self, name: str) -> None:
        """IAM made or changed an instance profile: EC2 hears of it later."""
        self._profiles[name] = self.clock()

    def check_profile(self, name: str, there: bool, role: bool) -> None:
        """Raises Ec2Error while EC2 does not know the instance profile (yet), or it has no role, in
        its own words (hashicorp/terraform #15341, aws/karpenter-provider-aws #5018)."""
        young = self.clock() - self._profiles.get(name, float("-inf")) < self.timings.profile
        if name and (young or not there):
            raise Ec2Error(
                400,
                "InvalidParameterValue",
                f"Value ({name}) for parameter iamInstanceProfile.name is invalid. Invalid IAM "
                "Instance Profile name",
            )
        if name and not role:
            raise Ec2Error(
                400,
                "InvalidParameterValue",
                f"Value ({name}) for parameter iamInstanceProfile.name is invalid. IAM Instance "
                f"Profile {name} has no associated IAM Roles",
            )

    def check_capacity(self, instance_type: str, zone: str, vcpus: int) -> None:
        """Raises Ec2Error when the zone is sold out or the quota is used up."""
        if self.sold_out(instance_type, zone):
            raise Ec2Error(
                500,
                "InsufficientInstanceCapacity",
                f"We currently do not have sufficient {instance_type} capacity in the Availability "
                f"Zone you requested ({zone}). Our system will be working on provisioning "
                "additional capacity.",
            )
        used = sum(one.vcpus for one in self.records.values() if one.state != TERMINATED)
        if used + vcpus > self.faults.vcpu_quota:
            raise Ec2Error(
                400,
                "VcpuLimitExceeded",
                "You have requested more vCPU capacity than your current vCPU limit of "
                f"{self.faults.vcpu_quota} allows for the instance bucket that the specified "
                "instance type belongs to.",
            )

    def sold_out(self, instance_type: str, zone: str) -> bool:
        wanted = ((instance_type, zone), ("*", zone), (instance_type, "*"), ("*", "*"))
        return any(pair in self.faults.sold_out for pair in wanted)

    def launched(self, record: Record, params: Mapping[str, str], answer: bytes) -> None:
        """Remember a launch that happened."""
        with self.lock:
            self.records[record.id] = record
            if params.get("ClientToken"):
                key = (record.region, params["ClientToken"])
                self._tokens[key] = (_fingerprint(params), record.id, answer)

    def next_address(self) -> str:
        """A loopback address of its own for each instance; the 255th gets the first one again.

        `port`, the server's own, makes the block: two servers on one machine never share one.
        """
        last = (next(self._addresses) - 1) % 254 + 1
        return f"127.{self.port >> 8}.{self.port & 255}.{last}"

    def hidden(self, instance: str) -> bool:
        """Whether lists do not show it yet (eventual consistency)."""
        record = self.records.get(instance)
        age = self.clock() - record.launched_at if record else None
        return age is not None and age < self.timings.visibility

    def check_visible(self, instances: list[str]) -> None:
        """Raises Ec2Error for a named instance that this part of EC2 does not know yet."""
        for instance in instances:
            if self.hidden(instance):
                raise Ec2Error(
                    400,
                    "InvalidInstanceID.NotFound",
                    f"The instance ID '{instance}' does not exist",
                )

    def status_of(self, instance: str) -> str:
        """What both status checks say: initializing, ok or impaired."""
        record = self.records.get(instance)
        if instance in self.faults.impaired:
            return "impaired"
        if record is None or record.running_at is None:
            return "initializing"
        if record.broken_at is not None:
            noticed = self.clock() - record.broken_at >= self.timings.status_checks
            return "impaired" if noticed else "ok"
        young = self.clock() - record.running_at < self.timings.status_checks
        return "initializing" if young else "ok"

    def break_hardware(self, instance: str) -> Record:
        """What it runs on fails: still `running` in every list, its status checks notice later.

        Raises KeyError (no such instance) and ValueError (it does not run).
        """
        with self.lock:
            record = self.records[instance]
            if record.state != RUNNING:
                raise ValueError(f"{instance} is {NAMES[record.state]}, not running")
            self.records[instance] = replace(record, broken_at=self.clock())
            return self.records[instance]

    def terminate(self, instance: str, reason: str = USER_ENDED) -> None:
        """Begin the end; again is fine."""
        with self.lock:
            record = self.records.get(instance)
            if record is not None and record.state not in (SHUTTING_DOWN, TERMINATED):
                self.records[instance] = self._dying(record, reason)

    def _dying(self, record: Record, reason: str) -> Record:
        ends = self.clock() + self.timings.shutting_down
        return replace(record, state=SHUTTING_DOWN, ends_at=ends, reason=reason)

    def stop(self, instance: str, reason: str = USER_ENDED) -> None:
        """Power off, the disk stays. Raises Ec2Error: it is in no state to be stopped."""
        with self.lock:
            record = self.records[instance]
            if record.state in (STOPPING, STOPPED):
                return
            if record.state != RUNNING:
                text = f"The instance '{instance}' is not in a state from which it can be stopped."
                raise Ec2Error(400, "IncorrectInstanceState", text)
            self.records[instance] = self._stopping(record, reason)

    def _stopping(self, record: Record, reason: str) -> Record:
        ends = self.clock() + self.timings.stopping
        return replace(record, state=STOPPING, ends_at=ends, reason=reason)

    def start(self, instance: str) -> None:
        """Power on again, as of now. Raises Ec2Error: it is not stopped."""
        with self.lock:
            record = self.records[instance]
            if record.state != STOPPED:
                text = f"The instance '{instance}' is not in a state from which it can be started."
                raise Ec2Error(400, "IncorrectInstanceState", text)
            self.records[instance] = replace(
                record, state=PENDING, launched_at=self.clock(), reason="", ends_at=None
            )

    def schedule(self, instance: str, event: Event) -> None:
        """Announce what will be done to an instance. Raises KeyError."""
        with self.lock:
            record = self.records[instance]
            self.records[instance] = replace(record, events=(*record.events, event))

    def advance(self) -> list[Record]:
        """Move every instance along its life; those that changed."""
        now = self.clock()
        with self.lock:
            changed = [
                after
                for before in list(self.records.values())
                if (after := self._moved(before, now)) is not before
            ]
            self.records.update({one.id: one for one in changed})
        return changed

    def forgotten(self) -> list[Record]:
        """What was terminated so long ago that nothing tells of it any more, from now on."""
        now, lasts = self.clock(), self.timings.remembered
        with self.lock:
            gone = [
                one
                for one in self.records.values()
                if one.terminated_at is not None and now >= one.terminated_at + lasts
            ]
            for one in gone:
                del self.records[one.id]
        return gone

    def _moved(self, one: Record, now: float) -> Record:
        due = one.launched_at + self.timings.pending
        if one.state == PENDING and self.faults.dead_on_launch:
            return self._dying(one, self.faults.dead_on_launch)
        if one.state == PENDING and now >= due and not self.faults.stuck_pending:
            return replace(one, state=RUNNING, running_at=now)
        if one.state == SHUTTING_DOWN and one.ends_at is not None and now >= one.ends_at:
            return replace(one, state=TERMINATED, terminated_at=now)
        if one.state == STOPPING and one.ends_at is not None and now >= one.ends_at:
            return replace(one, state=STOPPED)
        taken = [e for e in one.events if e.code in ENDING_EVENTS and now >= e.not_before]
        if one.state == RUNNING and taken:
            return self._stopping(one, RETIRED)
        return one

    def refill(self) -> None:
        """Start all token buckets anew, with the rates that the faults say now."""
        self._buckets.clear()

    def _bucket(self, region: str, action: str) -> Bucket:
        run = action == "RunInstances"
        key = (region, "run" if run else "other")
        faults = self.faults
        if key not in self._buckets:
            self._buckets[key] = (
                Bucket(faults.run_burst, faults.run_per_second)
                if run
                else Bucket(faults.describe_burst, faults.describe_per_second)
            )
        return self._buckets[key]


def _fingerprint(params: Mapping[str, str]) -> str:
    """All parameters that matter to idempotency."""
    kept = sorted((k, v) for k, v in params.items() if k not in ("Action", "Version"))
    return hashlib.sha256(repr(kept).encode()).hexdigest()
