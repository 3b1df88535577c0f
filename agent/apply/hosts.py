"""Effects on hosts: their orders, the proof of their enclaves, and forgetting them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agent.apply import params
from agent.apply.context import Outside, World
from agent.decide.deadline import DEFAULT_LENGTHS, HOST_STAGES, Stage
from agent.decide.job_view import Probe
from agent.decide.plan import Attest, ForgetHost, Level, WriteDesired
from agent.journal.lines import ATTESTED
from agent.load.fleet_record import Record
from agent.load.pins import tag_of
from agent.ports import EnclaveEarly
from enclave.attest.init_params import INIT_PCR
from faults import Refused, RetryLater, TryElsewhere


async def write_desired(world: World, action: WriteDesired, outside: Outside) -> None:
    record, run = world.fleet.record(action.instance), action.desired.run_id
    try:
        document = action.desired.to_json()
        await params.stage(world, action, outside)
        await _note_image(world, action, record, outside)
        await outside(lambda: world.mailbox.write_desired(action.region, action.instance, document))
    except (RetryLater, TryElsewhere, Refused) as fault:
        await world.say_and_wait(action.job, "host.orders_failed", fault, instance=action.instance)
        return
    if record is not None:
        anew = record.host().run is not None
        record.desired_run = run
        world.fleet.probed(record, Probe(restarted_at=world.clock.now() if anew else None))
    world.say(action.job, "host.ordered", instance=action.instance, run=run)
    await params.drop_replaced(world, action, outside)


async def _note_image(
    world: World, action: WriteDesired, record: Record | None, outside: Outside
) -> None:
    """Write on the instance what it is given, where only the first fetch says what that is."""
    image = world.memory.known(action.job).image.image
    if image is None or not image.by_url or image.sha256 != action.desired.image_sha256:
        return
    words = tag_of(image.url, image.sha256)
    if record is None or record.instance.image != words:
        await outside(lambda: world.cloud.note_image(action.region, action.instance, words))


async def attest(world: World, action: Attest, outside: Outside) -> None:
    """Ask, and remember how it went; refused documents are missed answers that are told loudly."""
    image = action.image
    if action.init_pcr is not None:
        image = replace(image, pcrs={**image.pcrs, INIT_PCR: action.init_pcr})
    instance, debug, clock = action.instance, action.debug, world.clock
    params.note_found(world, action.job, instance.region)
    try:
        await outside(lambda: world.attester.attest(instance, image, clock=clock, debug=debug))
    except EnclaveEarly as early:
        _early(world, action, str(early))
    except (RetryLater, TryElsewhere) as silent:
        _missed(world, action, str(silent), refused=None)
    except Refused as wrong:
        _missed(world, action, str(wrong), refused=str(wrong))
    else:
        _passed(world, action)


def _early(world: World, action: Attest, text: str) -> None:
    """It answers, and proves all but the time: no miss, and no proof either. Said once."""
    record = world.fleet.record(action.instance.id)
    if record is None:
        return
    said = record.probe.early
    asked = replace(record.probe, asked_at=world.clock.now(), early=True, refused=None, failures=0)
    world.fleet.probed(record, asked)
    if not said:
        instance = action.instance.id
        world.say(action.job, "enclave.early", text, Level.WARNING, instance=instance)


def _missed(world: World, action: Attest, text: str, *, refused: str | None) -> None:
    record = world.fleet.record(action.instance.id)
    if record is None:
        return
    probe = record.probe
    now, failures = world.clock.now(), probe.failures + 1
    missed = replace(probe, asked_at=now, failures=failures, refused=refused, early=False)
    world.fleet.probed(record, missed)
    if failures == 1 or refused != probe.refused:
        name = "enclave.refused" if refused else "enclave.silent"
        level = Level.ERROR if refused else Level.WARNING
        world.say(action.job, name, text, level, instance=action.instance.id)


def _passed(world: World, action: Attest) -> None:
    """What it proved counts for the image the job has now, and for a host that still is."""
    record, known = world.fleet.record(action.instance.id), world.memory.known(action.job)
    if record is None or known.image.image != action.image:
        return
    known.proven = action.instance.identity.generation
    first = record.probe.passed_run != action.run_id
    at = world.clock.now()
    passed = replace(
        record.probe,
        asked_at=at,
        passed_at=at,
        passed_run=action.run_id,
        failures=0,
        refused=None,
        early=False,
    )
    world.fleet.probed(record, passed)
    if first:
        since = world.fleet.observed([action.instance.region]).since
        _came_up(world, action, _stages(record, at, since))


def _came_up(world: World, action: Attest, stages: dict[Stage, float]) -> None:
    for stage, seconds in stages.items():
        world.learner.observe(stage, seconds)
    took = {stage.value: round(seconds, 1) for stage, seconds in stages.items()}
    instance, run = action.instance.id, action.run_id
    proven: dict[str, Any] = {} if action.init_pcr is None else {"init_params": "proven"}
    proven |= {"debug": True} if action.debug else {}
    world.say(action.job, ATTESTED, instance=instance, run=run, seconds=took, **proven)


def _stages(record: Record, attested_at: float, since: float | None) -> dict[Stage, float]:
    """What this host's stages took, by EC2's clock and its own; what makes no sense is left out.

    So is how long an enclave waited to be asked by a process that came up (`since`) after it. The
    listing does not say when an instance came to run: launch and boot are shared out as
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
    if since is None or running >= since:
        found[Stage.ATTEST] = attested_at - running
    return {stage: seconds for stage, seconds in found.items() if seconds >= 0}


async def forget(world: World, action: ForgetHost, outside: Outside) -> None:
    try:
        await outside(lambda: world.mailbox.forget(action.region, action.instance))
    except (RetryLater, TryElsewhere, Refused) as fault:
        await world.say_and_wait(action.job, "host.not_forgotten", fault, instance=action.instance)
        return
    world.fleet.forget(action.instance)
