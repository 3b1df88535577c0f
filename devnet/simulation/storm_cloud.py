"""The cloud of a storm: machines meet their fates, listings come up empty, answers are cheap.

Says the same as `SimCloud`, but a listing or a mailbox of a hundred machines is made of what was
made before: nothing is computed anew for a machine that has nothing new to say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.ports import Attested, Clock, Image, Wanted, always
from cloud.model import HostReport, Instance, InstanceId, LaunchOrder, Region
from devnet.simulation.cloud import SimCloud
from devnet.simulation.images import SimImages
from devnet.simulation.machine import BY_REQUEST, HEARTBEAT_SECONDS, NEVER, Lengths, Machine
from devnet.simulation.storm_troubles import Fate
from faults import Refused, RetryLater


@dataclass
class StormCloud(SimCloud):
    """`told` hears of each effect as it happens, before anybody hears of its success."""

    fate_of: Callable[[int, int, int], Fate] = lambda job, generation, attempt: Fate()
    list_empty: bool = False
    on_launched: Callable[[Machine], None] = lambda machine: None
    on_ending: Callable[[Machine], None] = lambda machine: None
    on_attested: Callable[[Machine, Image], None] = lambda machine, image: None
    present: dict[InstanceId, Machine] = field(default_factory=dict)
    by_ip: dict[str, Machine] = field(default_factory=dict)
    by_job: dict[int, list[Machine]] = field(default_factory=dict)
    rogues: set[InstanceId] = field(default_factory=set)
    _listed_as: dict[InstanceId, tuple[float, Instance]] = field(default_factory=dict)
    _reported: dict[InstanceId, tuple[float, HostReport | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.on_launch = self._born

    def _born(self, machine: Machine) -> None:
        identity, at = machine.order.identity, machine.launched_at
        fate = self.fate_of(identity.job, identity.generation, identity.attempt)
        usual = self.lengths
        machine.lengths = Lengths(
            running=usual.running * fate.boot_factor, boot=usual.boot * fate.boot_factor,
            fetch=usual.fetch, enclave=usual.enclave, shutdown=usual.shutdown,
            listed=usual.listed, visible=usual.visible,
        )  # fmt: skip
        machine.never_boots = fate.never_boots
        machine.hangs_at, machine.dies_at = at + fate.hangs_at, at + fate.enclave_dies_at
        machine.fails_at = at + fate.ends_at
        if fate.rogue:
            self.rogues.add(machine.id)
        self.present[machine.id] = self.by_ip[machine.ip] = machine
        self.by_job.setdefault(identity.job, []).append(machine)
        self.on_launched(machine)

    def pass_time(self, now: float) -> None:
        """Instances whose hardware fails by now are gone."""
        for machine in self.present.values():
            if machine.fails_at <= now and machine.ends_at == NEVER:
                machine.ends_at = machine.fails_at
                self._changed(machine.id)

    def _changed(self, machine: InstanceId) -> None:
        self._listed_as.pop(machine, None)
        self._reported.pop(machine, None)

    def of_job(self, job: int) -> list[Machine]:
        return self.by_job.get(job, [])

    def live_machines(self) -> list[Machine]:
        return [machine for machine in self.present.values() if machine.ends_at == NEVER]

    def live(self) -> int:
        return len(self.live_machines())

    # Cloud.

    async def instances(self, region: Region) -> Sequence[Instance]:
        await self.weather.before("cloud.list")
        now = self.clock.now()
        self.pass_time(now)
        self._drop_old(now)
        if self.list_empty:
            return []
        return [
            self._instance(machine, now)
            for machine in self.present.values()
            if self._listed(machine, region, now)
        ]

    def _drop_old(self, now: float) -> None:
        old = [m.id for m in self.present.values() if now >= m.ends_at + m.lengths.listed]
        for name in old:
            del self.present[name]
            self._changed(name)

    def _instance(self, machine: Machine, now: float) -> Instance:
        known = self._listed_as.get(machine.id)
        if known is None or now >= known[0]:
            known = (self._next_state(machine, now), machine.instance(now))
            self._listed_as[machine.id] = known
        return known[1]

    def _next_state(self, machine: Machine, now: float) -> float:
        running = machine.launched_at + machine.lengths.running
        ended = machine.ends_at + machine.lengths.shutdown
        return min(
            (t for t in (running, machine.booted_at, machine.ends_at, ended) if t > now),
            default=NEVER,
        )

    async def launch(self, order: LaunchOrder) -> Instance:
        self.pass_time(self.clock.now())
        return await super().launch(order)

    async def terminate(
        self, region: Region, instances: Sequence[InstanceId], wanted: Wanted = always
    ) -> None:
        await self.weather.before("cloud.terminate")
        for name in instances:
            machine = self.machines[name]
            if machine.ends_at == NEVER:
                self.on_ending(machine)
                machine.ends_at, machine.dies_of = self.clock.now(), BY_REQUEST
                self._changed(name)
                self.done(f"terminate job={machine.order.identity.job} {name[-4:]}")
        await self.weather.after("cloud.terminate")

    # Mailbox.

    async def reports(self, region: Region) -> Mapping[InstanceId, HostReport]:
        await self.weather.before("mailbox.reports")
        now = self.clock.now()
        found: dict[InstanceId, HostReport] = {}
        for name in self.mail:
            report = self._report_of(self.machines[name], now)
            if report is not None and self.machines[name].order.region == region:
                found[name] = report
        return found

    def _report_of(self, machine: Machine, now: float) -> HostReport | None:
        known = self._reported.get(machine.id)
        if known is None or now >= known[0]:
            known = (self._next_word(machine, now), self._report(machine, now))
            self._reported[machine.id] = known
        return known[1]

    def _next_word(self, machine: Machine, now: float) -> float:
        """When the host's status can next be another one."""
        if now >= min(machine.hangs_at, machine.ends_at):
            return NEVER
        if now < machine.booted_at:
            return machine.booted_at
        begun = max(machine.booted_at, machine.desired_at)
        times = (
            begun, begun + machine.lengths.fetch, machine.running_at, machine.hangs_at,
            machine.ends_at, machine.heartbeat_at(now) + HEARTBEAT_SECONDS,
        )  # fmt: skip
        return min(t for t in times if t > now)

    async def write_desired(
        self, region: Region, instance: InstanceId, document: Mapping[str, object]
    ) -> None:
        machine = self.machines[instance]
        try:
            await super().write_desired(region, instance, document)
        finally:
            self._reported.pop(machine.id, None)

    # Attester.

    async def attest(
        self, instance: Instance, image: Image, *, clock: Clock, debug: bool = False
    ) -> Attested:
        if instance.id in self.rogues:
            await self.weather.before("attest")
            raise Refused("the PCRs are of another image")
        passed = await super().attest(instance, image, clock=clock)
        self.on_attested(self.machines[instance.id], image)
        return passed

    def serves(self, machine: Machine, sha256: str, now: float) -> bool:
        """What an auditor would find: an enclave of that image that answers and proves itself."""
        alive = machine.answers(now) and machine.id not in self.rogues
        return alive and machine.desired is not None and machine.desired.image_sha256 == sha256


class StormImages(SimImages):
    """Gateways that stall for a while."""

    stalled_until = 0.0

    async def fetch(self, url: str, *, job: int, deadline: float, pin: str = "") -> Image:
        if url not in self.stored and self.clock.now() < self.stalled_until:
            await self.clock.sleep(self.stalled_until - self.clock.now())
            raise RetryLater("simulated: the gateway stalled")
        return await super().fetch(url, job=job, deadline=deadline, pin=pin)
