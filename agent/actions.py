"""Apply: the only place where the agent changes the world.

Every action has one effect in `EFFECTS`, by name; every outside call of an effect goes through
`Outside`, which a test can stop before and after. Each effect is idempotent: it may be repeated
by the next decision, by another process, or after a crash between any two lines.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import structlog

from agent.deadline import DEFAULT_LENGTHS, HOST_STAGES, Learner, Stage
from agent.fleet import Fleet, Record
from agent.journal import ENDED, Event, Journal, LaunchRecord
from agent.market.model import JobId
from agent.memory import Memory
from agent.plan import (
    Action,
    Attest,
    FetchImage,
    FinalizeExit,
    Finish,
    ForgetHost,
    Launch,
    ReleaseImage,
    ReportStarted,
    RequestExit,
    Settle,
    StageImage,
    Terminate,
    WriteDesired,
)
from agent.ports import Attester, Call, Clock, Cloud, Image, Images, Mailbox, Order, Transactor
from agent.snapshot import (
    ImagePhase,
    ImageView,
    LaunchPhase,
    LaunchView,
    Probe,
    TxPhase,
    TxView,
)
from agent.sweep import used_images
from cloud.model import AttemptSpent, InstanceId, InstanceState, Region
from faults import Fault, Refused, RetryLater, TryElsewhere

log = structlog.get_logger()
T = TypeVar("T")

RETRY_SECONDS = 5.0  # after a RetryLater that names no time
NOWHERE_SECONDS = 10.0  # no zone has room: sold-out ones are remembered for minutes by themselves

Hook = Callable[[str, str], None]
"""Called with "before" or "after" and the effect's name, around each outside call."""


@dataclass(slots=True)
class World:
    """All that effects reach: the ports, and what is remembered of their answers."""

    cloud: Cloud
    mailbox: Mailbox
    images: Images
    attester: Attester
    transactor: Transactor
    clock: Clock
    journal: Journal
    memory: Memory
    fleet: Fleet
    learner: Learner
    hook: Hook = lambda when, name: None

    def say(self, job: JobId, name: str, text: str = "", level: int = 20, **fields: Any) -> None:
        """Log and journal one line of a job's timeline; PCRs are for the journal alone."""
        shown = {key: value for key, value in fields.items() if key != "pcrs"}
        log.log(level, name, job=job, **({"text": text} if text else {}), **shown)
        head = self.memory.job(job).head
        generation = head.generation if head else None
        event = Event(self.clock.now(), name, job, generation, level, text, fields)
        self.journal.event(event)


class Outside:
    """The border of one effect: every call that changes something outside passes here."""

    def __init__(self, name: str, hook: Hook) -> None:
        self._name = name
        self._hook = hook

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        self._hook("before", self._name)
        result = await call()
        self._hook("after", self._name)
        return result


Effect = Callable[[World, Any, Outside], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the table: an action, the effect's name, how it is carried out."""

    name: str
    run: Effect


EFFECTS: dict[type[Any], Entry] = {}


def effect(name: str, *actions: type[Any]) -> Callable[[Effect], Effect]:
    """Register how an action is carried out; a second effect for one action is a mistake."""

    def register(run: Effect) -> Effect:
        for action in actions:
            assert action not in EFFECTS
            EFFECTS[action] = Entry(name if len(actions) == 1 else f"{name}:{action.__name__}", run)
        return run

    return register


def task_key(action: Action) -> tuple[object, ...]:
    """What may be in flight only once: a second equal action joins the first."""
    name = EFFECTS[type(action)].name
    if isinstance(action, Launch):
        return (name, action.job)
    if isinstance(action, Attest):
        return (name, action.instance.id)
    if isinstance(action, WriteDesired | ForgetHost):
        return (name, action.job, action.instance)
    if isinstance(action, Terminate):
        return (name, *action.instances)
    if isinstance(action, StageImage):
        return (name, action.job, action.region)
    if isinstance(action, ReportStarted | Settle | RequestExit | FinalizeExit):
        return (name, action.order.key)
    return (name, action.job)


async def carry_out(world: World, action: Action) -> None:
    """Run the action's effect. What faults mean for the job is kept in memory and journal;
    only MustStop and bugs come out."""
    entry = EFFECTS[type(action)]
    await entry.run(world, action, Outside(entry.name, world.hook))


@effect("fetch-image", FetchImage)
async def _fetch_image(world: World, action: FetchImage, outside: Outside) -> None:
    known, begun = world.memory.job(action.job), world.clock.now()
    fetching = ImageView(ImagePhase.FETCHING, begun, url=action.url)
    known.image = fetching
    try:
        image = await outside(
            lambda: world.images.fetch(action.url, job=action.job, deadline=action.deadline)
        )
    except Refused as refused:
        now = world.clock.now()
        known.image = ImageView(ImagePhase.REFUSED, now, reason=str(refused), url=action.url)
        world.say(action.job, "image.refused", str(refused), 40)
        return
    except (RetryLater, TryElsewhere) as later:
        now = world.clock.now()
        retry = now + _after(later)
        known.image = ImageView(
            ImagePhase.FAILED, now, reason=str(later), retry_at=retry, url=action.url
        )
        world.say(action.job, "image.unavailable", str(later), 30)
        return
    now = world.clock.now()
    known.image = replace(fetching, phase=ImagePhase.READY, since=now, image=image)
    world.learner.observe(Stage.IMAGE, now - begun)
    pcrs = {str(number): digest for number, digest in image.pcrs.items()}
    seconds = round(now - begun, 3)
    world.say(action.job, "image.ready", cid=image.cid, seconds=seconds, pcrs=pcrs)


@effect("stage-image", StageImage)
async def _stage_image(world: World, action: StageImage, outside: Outside) -> None:
    known, image = world.memory.job(action.job), action.image
    known.image = replace(known.image, staging=True)
    try:
        await outside(
            lambda: world.mailbox.stage(action.region, image.path, image.sha256, image.size_bytes)
        )
    except (RetryLater, TryElsewhere, Refused) as fault:
        world.say(action.job, "image.not_staged", str(fault), 30, region=action.region)
        await world.clock.sleep(_after(fault))
    else:
        if known.image.image == image:
            known.image = replace(known.image, staged=known.image.staged | {action.region})
        world.say(action.job, "image.staged", region=action.region)
    finally:
        known.image = replace(known.image, staging=False)


@effect("launch", Launch)
async def _launch(world: World, action: Launch, outside: Outside) -> None:
    """The intent is durable before the call, and the call is the same until its end is known."""
    _note_launch(world, action, LaunchPhase.ASKED)
    await world.journal.durable()
    try:
        instance = await outside(lambda: world.cloud.launch(action.order))
    except AttemptSpent as spent:
        _note_launch(world, action, LaunchPhase.SPENT, str(spent))
    except Refused as refused:
        _note_launch(world, action, LaunchPhase.REFUSED, str(refused))
    except TryElsewhere as full:
        retry = world.clock.now() + NOWHERE_SECONDS
        _note_launch(world, action, LaunchPhase.NOWHERE, str(full), retry)
    except RetryLater as later:
        retry = world.clock.now() + _after(later)
        _note_launch(world, action, LaunchPhase.LATER, str(later), retry)
    else:
        world.fleet.add(instance)
        _note_launch(world, action, LaunchPhase.LAUNCHED, instance=instance.id)


def _note_launch(
    world: World,
    action: Launch,
    phase: LaunchPhase,
    reason: str = "",
    retry_at: float = 0.0,
    instance: InstanceId | None = None,
) -> None:
    now, identity, order = world.clock.now(), action.order.identity, action.order
    generation, attempt = identity.generation, identity.attempt
    view = LaunchView(generation, attempt, phase, now, reason, retry_at, instance)
    world.memory.job(action.job).remember_launch(view)
    world.journal.launch(
        LaunchRecord(
            at=now,
            job=action.job,
            generation=generation,
            attempt=attempt,
            region=order.region,
            instance_type=order.instance_type,
            phase=phase,
            instance=instance,
            reason=reason,
        )
    )
    level = 20 if phase in (LaunchPhase.ASKED, LaunchPhase.LAUNCHED) else 30
    fields: dict[str, Any] = {"attempt": attempt, "race": action.race}
    if instance is not None:
        fields["instance"] = instance
    world.say(action.job, f"launch.{phase.value}", reason, level, **fields)


@effect("write-desired", WriteDesired)
async def _write_desired(world: World, action: WriteDesired, outside: Outside) -> None:
    record, run = world.fleet.record(action.instance), action.desired.run_id
    try:
        document = action.desired.to_json()
        await outside(lambda: world.mailbox.write_desired(action.region, action.instance, document))
    except (RetryLater, TryElsewhere, Refused) as fault:
        world.say(action.job, "host.orders_failed", str(fault), 30, instance=action.instance)
        await world.clock.sleep(_after(fault))
        return
    if record is not None:
        anew = record.host().run is not None
        record.desired_run = run
        world.fleet.probed(record, Probe(restarted_at=world.clock.now() if anew else None))
    world.say(action.job, "host.ordered", instance=action.instance, run=run)


@effect("attest", Attest)
async def _attest(world: World, action: Attest, outside: Outside) -> None:
    """Ask, and remember how it went; refused documents are missed answers that are told loudly."""
    now = world.clock.now()
    try:
        await outside(lambda: world.attester.attest(action.instance, action.image, now=now))
    except (RetryLater, TryElsewhere) as silent:
        _missed(world, action, str(silent), refused=None)
        return
    except Refused as wrong:
        _missed(world, action, str(wrong), refused=str(wrong))
        return
    record, image = world.fleet.record(action.instance.id), world.memory.job(action.job).image.image
    if record is None or image != action.image:
        return
    first = record.probe.passed_run != action.run_id
    at = world.clock.now()
    passed = replace(
        record.probe, asked_at=at, passed_at=at, passed_run=action.run_id, failures=0, refused=None
    )
    world.fleet.probed(record, passed)
    if first:
        stages = _stages(record, at)
        for stage, seconds in stages.items():
            world.learner.observe(stage, seconds)
        took = {stage.value: round(seconds, 1) for stage, seconds in stages.items()}
        world.say(
            action.job,
            "enclave.attested",
            instance=action.instance.id,
            run=action.run_id,
            seconds=took,
        )


def _missed(world: World, action: Attest, text: str, *, refused: str | None) -> None:
    record = world.fleet.record(action.instance.id)
    if record is None:
        return
    probe = record.probe
    now, failures = world.clock.now(), probe.failures + 1
    missed = replace(probe, asked_at=now, failures=failures, refused=refused)
    world.fleet.probed(record, missed)
    if failures == 1 or refused != probe.refused:
        name = "enclave.refused" if refused else "enclave.silent"
        level = 40 if refused else 30
        world.say(action.job, name, text, level, instance=action.instance.id)


def _stages(record: Record, attested_at: float) -> dict[Stage, float]:
    """What this host's stages took, by EC2's clock and its own; what makes no sense is left out.

    The listing does not say when an instance came to run: launch and boot are shared out as
    published boots are.
    """
    phases = record.status.phases if record.status else {}
    booted, running = phases.get("booted"), phases.get("running")
    found: dict[Stage, float] = {}
    if booted is None or running is None:
        return found
    host = booted - record.instance.launched_at
    whole = DEFAULT_LENGTHS[Stage.LAUNCH].usual + DEFAULT_LENGTHS[Stage.BOOT].usual
    for stage in HOST_STAGES:
        found[stage] = host * DEFAULT_LENGTHS[stage].usual / whole
    found[Stage.ENCLAVE] = running - max(booted, phases.get("fetching", booted))
    found[Stage.ATTEST] = attested_at - running
    return {stage: seconds for stage, seconds in found.items() if seconds >= 0}


@effect("transact", ReportStarted, Settle, RequestExit, FinalizeExit)
async def _transact(
    world: World, action: ReportStarted | Settle | RequestExit | FinalizeExit, outside: Outside
) -> None:
    order, known = action.order, world.memory.job(action.job)
    begun = world.clock.now()
    known.transactions[order.key] = TxView(TxPhase.SENT, begun)
    try:
        mined = await outside(lambda: world.transactor.carry_out(order))
    except Refused as refused:
        known.transactions[order.key] = TxView(
            TxPhase.REFUSED, world.clock.now(), reason=str(refused)
        )
        world.say(action.job, "tx.refused", f"{order.call.value}: {refused}", 40)
    except (RetryLater, TryElsewhere) as later:
        now = world.clock.now()
        retry = now + _after(later)
        known.transactions[order.key] = TxView(
            TxPhase.LATER, now, reason=str(later), retry_at=retry
        )
        world.say(action.job, "tx.later", f"{order.call.value}: {later}", 30)
    else:
        now = world.clock.now()
        known.transactions[order.key] = TxView(TxPhase.MINED, now, block=mined.block)
        if order.call is Call.REPORT_STARTED:
            world.learner.observe(Stage.REPORT, now - begun)
        world.say(
            action.job,
            f"tx.{_event_name(order)}",
            tx=mined.tx_hash,
            block=mined.block,
            fee_wei=str(mined.fee_wei),
        )


def _event_name(order: Order) -> str:
    names = {
        "reportStarted": "report_started",
        "settle": "settled",
        "requestToExitJob": "exit_requested",
        "finalizeExit": "exit_finalized",
    }
    return names.get(order.call.value, order.call.value)


@effect("terminate", Terminate)
async def _terminate(world: World, action: Terminate, outside: Outside) -> None:
    names = ", ".join(action.instances)
    world.say(action.job, "instance.terminating", action.reason, instances=names)
    for known in filter(None, map(world.fleet.record, action.instances)):
        known.condemned = True  # before the call: whatever it answers later, nobody counts on it
    await world.journal.durable()
    try:
        await outside(lambda: world.cloud.terminate(action.region, action.instances))
    except (RetryLater, TryElsewhere, Refused) as fault:
        world.say(action.job, "instance.not_terminated", str(fault), 30, instances=names)
        await world.clock.sleep(_after(fault))
        return
    # Until the next listing, which may know better and then has it terminated again.
    for name in action.instances:
        record = world.fleet.record(name)
        if record is not None:
            ending = replace(record.instance, state=InstanceState.SHUTTING_DOWN)
            world.fleet.change(record, ending)


@effect("forget-host", ForgetHost)
async def _forget_host(world: World, action: ForgetHost, outside: Outside) -> None:
    try:
        await outside(lambda: world.mailbox.forget(action.region, action.instance))
    except (RetryLater, TryElsewhere, Refused) as fault:
        world.say(action.job, "host.not_forgotten", str(fault), 30, instance=action.instance)
        await world.clock.sleep(_after(fault))
        return
    world.fleet.forget(action.instance)


@effect("release-image", ReleaseImage)
async def _release_image(world: World, action: ReleaseImage, outside: Outside) -> None:
    """Off this disk when no job holds it; out of the buckets when none of this agent's uses it."""
    known = world.memory.job(action.job)
    image, regions = known.image.image, known.image.staged
    try:
        await outside(lambda: world.images.release(action.job))
        for region in sorted(regions if image is not None else ()):
            await _unstage(world, action.job, region, image, outside)
    except (RetryLater, TryElsewhere, Refused) as fault:
        world.say(action.job, "image.not_released", str(fault), 30)
        await world.clock.sleep(_after(fault))
        return
    known.image = ImageView(ImagePhase.RELEASED, world.clock.now())


async def _unstage(
    world: World, job: JobId, region: Region, image: Image | None, outside: Outside
) -> None:
    if image is not None and image.sha256 not in used_images(world, except_job=job):
        await outside(lambda: world.mailbox.unstage(region, image.sha256))


@effect("finish", Finish)
async def _finish(world: World, action: Finish, outside: Outside) -> None:
    """Nothing is left of the job in AWS: the journal says so, and the memory lets go.

    Of a job that never was this provider's there is nothing to say.
    """
    if world.memory.job(action.job).served:
        world.say(action.job, ENDED, action.outcome, left_in_aws=0)
        await world.journal.durable()
    world.memory.jobs.pop(action.job, None)


def _after(fault: Fault) -> float:
    wanted = fault.after_seconds if isinstance(fault, RetryLater) else None
    return wanted if wanted is not None else RETRY_SECONDS
