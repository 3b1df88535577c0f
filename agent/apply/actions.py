"""Apply: the only place where the agent changes the world.

Every action has one effect in `EFFECTS`, by name; `agent.apply` has them by what they act on.
The crash matrix of the tests is made from this table.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from agent.apply import hosts, images, instances, transactions
from agent.apply.bugs import Bug
from agent.apply.context import Outside, World
from agent.decide.plan import (
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
from agent.journal.lines import ENDED, WASTED
from agent.load.remembered import JobMemory
from agent.market.model import Job

Effect = Callable[[World, Any, Outside], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the table: the effect's name, how it is carried out, and what is remembered when
    that ended by a bug: what says that it is under way would keep it from being tried again."""

    name: str
    run: Effect
    broke: Callable[[World, Any, Bug], None] = lambda world, action, bug: None


async def finish(world: World, action: Finish, outside: Outside) -> None:
    """Nothing is left of the job in AWS: the journal says so, and the memory lets go.

    Of a job that never was this provider's there is nothing to say.
    """
    known = world.memory.known(action.job)
    _forget_owner(world, known)
    if known.served and world.memory.ended.get(action.job) != known.told:
        world.memory.ended[action.job] = known.told
        world.say(action.job, ENDED, action.outcome, left_in_aws=0)
        await world.journal.durable()
    world.memory.jobs.pop(action.job, None)


def _was_up(known: JobMemory, head: Job) -> bool:
    reports = known.view is not None and known.view.terms.abilities.reports_start
    return head.is_started if reports else known.proven is not None


def _forget_owner(world: World, known: JobMemory) -> None:
    """What was launched and never reported up counts against its user for a day."""
    head, owners = known.head, world.memory.owners
    if head is None:
        return
    owners.done(head.user, known.id)
    if known.attempts and not _was_up(known, head):
        owners.wasted(head.user, world.clock.now())
        world.say(known.id, WASTED, head.user, user=head.user)


EFFECTS: dict[type[Any], Entry] = {
    FetchImage: Entry("fetch-image", images.fetch, images.broke),
    StageImage: Entry("stage-image", images.stage),
    Launch: Entry("launch", instances.launch),
    WriteDesired: Entry("write-desired", hosts.write_desired),
    Attest: Entry("attest", hosts.attest),
    ReportStarted: Entry("transact:ReportStarted", transactions.transact, transactions.broke),
    Settle: Entry("transact:Settle", transactions.transact, transactions.broke),
    RequestExit: Entry("transact:RequestExit", transactions.transact, transactions.broke),
    FinalizeExit: Entry("transact:FinalizeExit", transactions.transact, transactions.broke),
    Terminate: Entry("terminate", instances.terminate),
    ForgetHost: Entry("forget-host", hosts.forget),
    ReleaseImage: Entry("release-image", images.release),
    Finish: Entry("finish", finish),
}


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
    await entry.run(world, action, Outside(entry.name, world.hook, world.lease))
