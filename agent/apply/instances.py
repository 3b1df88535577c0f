"""Effects on instances: buying them, and having them ended."""

from __future__ import annotations

from dataclasses import replace

from agent.apply.context import Outside, World, wait_seconds
from agent.decide.job_view import LaunchPhase, LaunchView
from agent.decide.plan import Launch, Level, Terminate
from agent.journal.lines import LaunchRecord
from agent.market.model import InstanceType
from cloud.kinds import OutcomeUnknown, OwnTrouble
from cloud.model import AttemptSpent, InstanceId, InstanceState
from cloud.request_budget import TooLate
from faults import Refused, RetryLater, TryElsewhere

NOWHERE_SECONDS = 10.0  # no zone has room: sold-out ones are remembered for minutes by themselves
LONGEST_END_PAUSE_SECONDS = 60.0  # between two orders to end what EC2 goes on listing as running


async def launch(world: World, action: Launch, outside: Outside) -> None:
    """The intent is durable before the call, and the call is the same until its end is known.

    It may wait long for its turn: should the plan want it no more by then, it is not made.
    """
    again = _refused_before(world, action)
    _note(world, action, LaunchPhase.ASKED, again)
    await world.journal.durable()
    order = replace(action.order, wanted=lambda: _wanted(world, action))
    try:
        instance = await outside(lambda: world.cloud.launch(order))
    except AttemptSpent as spent:
        _note(world, action, LaunchPhase.SPENT, str(spent))
    except Refused as refused:
        _note(world, action, LaunchPhase.REFUSED, str(refused))
    except TryElsewhere as full:
        retry = world.clock.now() + NOWHERE_SECONDS
        _note(world, action, LaunchPhase.NOWHERE, str(full), retry)
    except OwnTrouble as ours:
        world.fleet.trouble.refused(_kind(action), str(ours), world.clock.now())
        retry = world.clock.now() + wait_seconds(ours)
        _note(world, action, LaunchPhase.BLOCKED, str(ours), retry, told=again)
    except RetryLater as later:
        if isinstance(later, TooLate) and action.job not in world.memory.jobs:
            return  # the job ended, as was told; had an earlier try bought, the listing shows it
        if isinstance(later, OutcomeUnknown):
            # Once is chance; for long it is as good as a refusal: the next job had no instance.
            world.fleet.trouble.refused(_kind(action), str(later), world.clock.now())
        retry = world.clock.now() + wait_seconds(later)
        _note(world, action, LaunchPhase.LATER, str(later), retry, told=again)
    else:
        world.fleet.trouble.launched(_kind(action))
        world.fleet.add(instance)
        _note(world, action, LaunchPhase.LAUNCHED, instance=instance.id)


def _kind(action: Launch) -> InstanceType:
    return InstanceType(action.order.region, action.order.instance_type)


def _refused_before(world: World, action: Launch) -> str:
    """Why this very order was put off the last time; empty: it is the first time."""
    known, identity = world.memory.known(action.job).launch, action.order.identity
    if known is None or known.phase not in _PUT_OFF:
        return ""
    same = (known.generation, known.attempt) == (identity.generation, identity.attempt)
    return known.reason if same else ""


def _wanted(world: World, action: Launch) -> bool:
    """Whether the last plan of the job still had this launch in it."""
    known = world.memory.jobs.get(action.job)
    return known is not None and known.buying == action.order.identity


def _note(
    world: World,
    action: Launch,
    phase: LaunchPhase,
    reason: str = "",
    retry_at: float = 0.0,
    instance: InstanceId | None = None,
    told: str = "",
) -> None:
    """Memory, journal and timeline get to know how far the launch is.

    An order that is sent again every few seconds is told once: when it is first put off, and each
    time that the reason is not the one `told` before.
    """
    identity = action.order.identity
    view = LaunchView(
        identity.generation,
        identity.attempt,
        phase,
        world.clock.now(),
        reason,
        retry_at,
        instance,
    )
    world.memory.known(action.job).remember_launch(view)
    world.journal.launch(_record(action, view))
    if reason and (reason == told or phase is LaunchPhase.ASKED):
        return
    about = {"attempt": identity.attempt, "race": action.race}
    if phase is LaunchPhase.NOWHERE:  # its words name zones, which change from try to try
        world.say_failing(action.job, f"launch.{phase.value}", reason, **about)
        return
    found = {} if instance is None else {"instance": instance}
    level = _LEVELS.get(phase, Level.WARNING)
    world.say(action.job, f"launch.{phase.value}", reason, level, **about, **found)


_PUT_OFF = (LaunchPhase.BLOCKED, LaunchPhase.LATER, LaunchPhase.NOWHERE)
_LEVELS = {
    LaunchPhase.ASKED: Level.INFO,
    LaunchPhase.LAUNCHED: Level.INFO,
    LaunchPhase.BLOCKED: Level.ERROR,
}


def _record(action: Launch, view: LaunchView) -> LaunchRecord:
    return LaunchRecord(
        at=view.at,
        job=action.job,
        generation=view.generation,
        attempt=view.attempt,
        region=action.order.region,
        instance_type=action.order.instance_type,
        phase=view.phase,
        instance=view.instance,
        reason=view.reason,
    )


async def terminate(world: World, action: Terminate, outside: Outside) -> None:
    names = ", ".join(action.instances)
    if not world.fails(action.job, "instance.not_terminated", instances=names):
        world.say(action.job, "instance.terminating", action.reason, instances=names)
    for known in filter(None, map(world.fleet.record, action.instances)):
        known.condemned = True  # before the call: whatever it answers later, nobody counts on it
    try:
        await world.journal.announced()
        # The gate once more at the call's turn: hundreds that end at once wait for theirs, and a
        # host that was cut off meanwhile hears of nothing.
        held = world.lease.held
        await outside(lambda: world.cloud.terminate(action.region, action.instances, held))
    except (RetryLater, TryElsewhere, Refused) as fault:
        await world.say_and_wait(action.job, "instance.not_terminated", fault, instances=names)
        return
    # Until the next listing, which may know better and then has it terminated again.
    times = 0
    for record in filter(None, map(world.fleet.record, action.instances)):
        ending = replace(record.instance, state=InstanceState.SHUTTING_DOWN)
        world.fleet.change(record, ending)
        record.ends_heard += 1
        times = max(times, record.ends_heard)
    if times > 1:
        text = f"EC2 said {times} times that it ends, and listed it as running in between"
        world.say(action.job, "instance.not_ending", text, Level.WARNING, instances=names)
        await world.clock.sleep(min(2.0 ** (times - 1), LONGEST_END_PAUSE_SECONDS))
