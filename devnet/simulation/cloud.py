"""EC2 and the mailbox of the hosts on it: ClientTokens are honoured, boots take what was published,
terminated instances stay listed for a while, zones sell out, replies get lost.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.ports import Attested, Clock, EnclaveEarly, Image, Wanted, always
from cloud.kinds import NotSetUp
from cloud.model import (
    AttemptSpent,
    EnclaveRoom,
    Headroom,
    HostReport,
    Identity,
    Instance,
    InstanceId,
    LaunchOrder,
    Region,
    Zone,
)
from cloud.request_budget import Budget, Urgency
from devnet.simulation.machine import BY_REQUEST, NEVER, Lengths, Machine
from devnet.simulation.model_faults import Weather
from enclave.attest.certificates import CLOCK_SKEW_SECONDS
from enclave.host.documents import Desired
from faults import Refused, RetryLater, TryElsewhere


@dataclass
class SimCloud:
    """`Cloud`, `Mailbox` and `Attester` over the same machines."""

    clock: Clock
    weather: Weather
    lengths: Lengths = field(default_factory=Lengths)
    zones: dict[str, int] = field(default_factory=lambda: {"a": 10**6, "b": 10**6})
    capacity: int = 10**6
    machines: dict[InstanceId, Machine] = field(default_factory=dict)
    tokens: dict[Identity, InstanceId] = field(default_factory=dict)
    bucket: set[tuple[Region, str]] = field(default_factory=set)
    shared: bool = False  # another agent uses the bucket, too
    budget: Budget | None = None  # that the real adapter asks before each call; None: plenty
    refuses: str = ""  # every launch, for the account's own set-up
    dies_after: float = NEVER  # seconds that a new instance lives
    dies_of: str = ""  # EC2's reason for that
    survives: Callable[[LaunchOrder], bool] = lambda order: False  # what it does not kill
    staged_at: dict[tuple[Region, str], float] = field(default_factory=dict)
    params: dict[tuple[Region, str], float] = field(default_factory=dict)  # when it was written
    missed: list[str] = field(default_factory=list)  # what hosts were told of and can't have
    mail: set[InstanceId] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    done: Callable[[str], None] = lambda text: None
    on_launch: Callable[[Machine], None] = lambda machine: None

    # Cloud.

    async def instances(self, region: Region) -> Sequence[Instance]:
        await self.weather.before("cloud.list")
        now = self.clock.now()
        return [m.instance(now) for m in self.machines.values() if self._listed(m, region, now)]

    def _listed(self, machine: Machine, region: Region, now: float) -> bool:
        young = now < machine.launched_at + self.lengths.visible
        old = now >= machine.ends_at + self.lengths.listed
        return machine.order.region == region and not young and not old

    async def launch(self, order: LaunchOrder) -> Instance:
        await self.turn(order)
        await self.weather.before("cloud.launch")
        if self.refuses:
            raise NotSetUp(self.refuses)
        known = self.tokens.get(order.identity)
        if known is not None:
            return await self._same(self.machines[known])
        zone = self._zone(order)
        number = len(self.machines) + 1
        machine = Machine(
            id=InstanceId(f"i-{number:017x}"),
            order=order,
            zone=Zone(f"{order.region}{zone}"),
            ip=f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}",
            launched_at=self.clock.now(),
            lengths=self.lengths,
            ends_at=NEVER if self.survives(order) else self.clock.now() + self.dies_after,
            dies_of=self.dies_of,
        )
        self.machines[machine.id] = machine
        self.tokens[order.identity] = machine.id
        self.on_launch(machine)
        self.done(f"launch job={order.identity.job} attempt={order.identity.attempt}")
        await self.weather.after("cloud.launch")
        return machine.instance(self.clock.now())

    async def rehearse(self, order: LaunchOrder) -> None:
        await self.weather.before("cloud.rehearse")
        if self.refuses:
            raise NotSetUp(self.refuses)

    async def turn(self, order: LaunchOrder) -> None:
        """The wait for EC2's request budget, as in `cloud.clients.Calls.ask`."""
        if self.budget is not None:
            await self.budget.turn(order.region, "RunInstances", Urgency.of(order))

    async def _same(self, machine: Machine) -> Instance:
        if self.clock.now() >= machine.ends_at:
            raise AttemptSpent("IdempotentInstanceTerminated")
        await self.weather.after("cloud.launch")
        return machine.instance(self.clock.now())

    def _zone(self, order: LaunchOrder) -> str:
        if self.live() >= self.capacity:
            raise TryElsewhere("VcpuLimitExceeded")
        busy = [m.zone[-1] for m in self.machines.values() if m.ends_at == NEVER]
        for zone, room in sorted(self.zones.items(), key=lambda item: busy.count(item[0])):
            if busy.count(zone) < room:
                return zone
        raise TryElsewhere("InsufficientInstanceCapacity in every zone")

    def live(self) -> int:
        return sum(machine.ends_at == NEVER for machine in self.machines.values())

    async def terminate(
        self, region: Region, instances: Sequence[InstanceId], wanted: Wanted = always
    ) -> None:
        await self.weather.before("cloud.terminate")
        for name in instances:
            machine = self.machines[name]
            if machine.ends_at > self.clock.now():
                machine.ends_at, machine.dies_of = self.clock.now(), BY_REQUEST
                self.done(f"terminate job={machine.order.identity.job} {name[-2:]}")
        await self.weather.after("cloud.terminate")

    async def note_image(self, region: Region, instance: InstanceId, words: str) -> None:
        await self.weather.before("cloud.note_image")
        await self.weather.after("cloud.note_image")

    async def room(self, region: Region, instance_type: str) -> EnclaveRoom:
        await self.weather.before("cloud.room")
        if instance_type.startswith("t3."):
            raise Refused(f"{instance_type} has no enclaves")
        return EnclaveRoom(instance_type, "x86_64", 2, 6144, threads_per_core=2)

    async def headroom(self, region: Region, instance_type: str) -> Headroom:
        await self.weather.before("cloud.headroom")
        return Headroom(Region(region), instance_type, self.capacity - self.live(), "quota")

    # Mailbox.

    async def stage_params(self, region: Region, params: bytes) -> None:
        await self.weather.before("mailbox.stage_params")
        self.params[region, hashlib.sha256(params).hexdigest()] = self.clock.now()
        await self.weather.after("mailbox.stage_params")

    def params_of(self, region: Region, desired: Desired | None) -> tuple[Region, str] | None:
        """Where the init params that are ordered are staged; None: nowhere."""
        if desired is None or desired.init is None:
            return None
        return one if (one := (region, desired.init.sha256)) in self.params else None

    def _asks_for(self, machine: Machine, params: tuple[Region, str]) -> bool:
        """Whether the host has still to fetch them."""
        last = min(machine.ends_at, machine.hangs_at, machine.stops_at, machine.fails_at)
        waits = self.clock.now() < min(machine.fetched_at, last)
        return waits and self.params_of(machine.order.region, machine.desired) == params

    async def staged_params(self, region: Region) -> Mapping[str, float]:
        await self.weather.before("mailbox.staged_params")
        return {sha: at for (where, sha), at in self.params.items() if where == region}

    async def unstage_params(self, region: Region, sha256: str, used: Callable[[], bool]) -> bool:
        await self.weather.before("mailbox.unstage_params")
        if used():
            return False
        for machine in self.machines.values():
            if self._asks_for(machine, (region, sha256)):
                self.missed.append(f"init params were deleted that {machine.id} asks for")
        self.params.pop((region, sha256), None)
        await self.weather.after("mailbox.unstage_params")
        return True

    async def reports(self, region: Region) -> Mapping[InstanceId, HostReport]:
        await self.weather.before("mailbox.reports")
        now = self.clock.now()
        found: dict[InstanceId, HostReport] = {}
        for machine in self.machines.values():
            if machine.order.region != region or machine.id not in self.mail:
                continue
            report = self._report(machine, now)
            if report is not None:
                found[machine.id] = report
        return found

    def _report(self, machine: Machine, now: float) -> HostReport | None:
        status = machine.status(now)
        if status is None:
            return None
        document: dict[str, Any] = vars(status)  # all plain values: to_json would copy each
        written = max(status.heartbeat, *status.phases.values())
        etag = f"{status.phase}:{status.run_id}:{written}"
        return HostReport(machine.id, document, written, etag)

    async def write_desired(
        self, region: Region, instance: InstanceId, document: Mapping[str, object]
    ) -> None:
        await self.weather.before("mailbox.write")
        machine, desired = self.machines[instance], Desired.from_json(dict(document))
        self.mail.add(instance)
        if desired.init and desired.init.size_bytes and not self.params_of(region, desired):
            self.missed.append(f"orders of {instance} name init params that are not staged")
        if desired.schema > machine.knows:
            machine.refused = f"desired.json is refused: schema: {desired.schema}"
        elif machine.desired is None or machine.desired.run_id != desired.run_id:
            staged = (machine.order.region, desired.image_sha256) in self.bucket
            machine.told(desired, self.clock.now(), staged=staged)
            job = machine.order.identity.job
            self.done(f"order job={job} run={desired.run_id}")
        await self.weather.after("mailbox.write")

    async def renew(self, region: Region) -> Sequence[InstanceId]:
        await self.weather.before("mailbox.renew")
        return ()

    async def stage(
        self, region: Region, image: Path, sha256: str, size_bytes: int, *, missed: bool = False
    ) -> None:
        await self.weather.before("mailbox.stage")
        if (region, sha256) not in self.bucket:
            self.staged_at[region, sha256] = self.clock.now()
        self.bucket.add((region, sha256))
        for machine in self.machines.values():
            if machine.lacks_image and machine.wants(region, sha256):
                machine.lacks_image, machine.desired_at = False, self.clock.now()
        await self.weather.after("mailbox.stage")

    async def forget(self, region: Region, instance: InstanceId) -> None:
        await self.weather.before("mailbox.forget")
        self.mail.discard(instance)

    async def alone(self, region: Region) -> bool:
        return not self.shared

    async def staged(self, region: Region) -> Mapping[str, float]:
        await self.weather.before("mailbox.staged")
        return {sha: self.staged_at[where, sha] for where, sha in self.bucket if where == region}

    async def unstage(self, region: Region, sha256: str) -> None:
        await self.weather.before("mailbox.unstage")
        self.lose(region, sha256)

    def lose(self, region: Region, sha256: str) -> None:
        """The image is gone from the bucket: hosts that have not fetched it do not find it."""
        self.bucket.discard((region, sha256))
        for machine in self.machines.values():
            if machine.wants(region, sha256) and self.clock.now() < machine.fetched_at:
                machine.lacks_image = sha256 not in machine.images

    # Attester.

    async def attest(
        self, instance: Instance, image: Image, *, clock: Clock, debug: bool = False
    ) -> Attested:
        await self.weather.before("attest")
        machine = self.machines[instance.id]
        if not machine.answers(self.clock.now()):
            raise RetryLater(f"{machine.ip} does not answer")
        if machine.desired is None or machine.desired.image_sha256 != image.sha256:
            raise Refused("the PCRs are of another image")
        ahead = (
            self.clock.now() - clock.now()
        )  # AWS signs by the right time, the agent reads its own
        if ahead > CLOCK_SKEW_SECONDS:
            raise EnclaveEarly(f"the document is from {ahead:.0f} s in the future")
        return Attested(instance.id, self.clock.now(), image.pcrs)
