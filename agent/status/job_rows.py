"""Jobs as people look at them, from memory: all of them, or the few that are asked for.

A crowd is searched and sorted by what is at hand of each job; whole rows are made of one page.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.decide.job_view import Host, JobView
from agent.history.earned import Earned
from agent.load.remembered import JobMemory
from agent.market.model import Ending, Job, JobId, StopReason
from agent.market.terms import Terms
from agent.ports import Clock
from agent.status.finding import Found, Query, find
from agent.status.source import Census, Crowd, JobRow, JobState
from agent.status.start_stages import current, stages_of, usual_seconds
from agent.status.traffic import drops_of

if TYPE_CHECKING:
    from agent.apply.context import World

_STATES = {
    "bootstrapping": JobState.BOOTSTRAPPING,
    "reporting": JobState.BOOTSTRAPPING,
    "missed": JobState.BOOTSTRAPPING,
    "refused": JobState.REFUSED,
    "running": JobState.RUNNING,
    "ill": JobState.RUNNING,
    "replacing": JobState.RUNNING,
    "exiting": JobState.EXITING,
}
_ENDS = {
    StopReason.ESCROW_EXHAUSTED: "the escrow is empty",
    StopReason.PROVIDER_EXIT: "the cool-down is over",
}
# The usual order: what may still be lost, first.
_URGENCY = {
    state: place
    for place, state in enumerate(
        (JobState.BOOTSTRAPPING, JobState.EXITING, JobState.RUNNING, JobState.REFUSED,
         JobState.ENDING, JobState.ENDED)
    )
}  # fmt: skip
_NEVER = float("inf")


def money_of(job: Job, terms: Terms, now: int) -> tuple[int, int]:
    """What this assignment earned by `now`, settled or not, and what of the escrow is still the
    user's, in base units."""
    return terms.earned(job, now), job.escrow - terms.accrued(job, now)


def waits_for(end: Ending | None) -> str:
    """What the job's end waits for, in words; empty when nothing is certain."""
    return _ENDS.get(end.reason, "its end") if end else ""


def state_of(job: JobMemory, hosts: tuple[Host, ...]) -> JobState:
    """What the job is to its provider: one that is over is ending only while something runs."""
    state = _STATES.get(job.stage, JobState.ENDING)
    gone = state is JobState.ENDING and not any(host.live for host in hosts)
    return JobState.ENDED if gone else state


def since_of(job: JobMemory, view: JobView) -> float:
    """When the stage that is shown began: by the chain where it says so, else as it was seen."""
    head = view.head
    if head is None:
        return job.stage_since
    state = state_of(job, view.hosts)
    if state is JobState.EXITING and head.exit_requested_at:
        return float(head.exit_requested_at)
    if state in (JobState.ENDING, JobState.ENDED):
        end = view.terms.ending(head)
        return float(end.at) if end and end.at <= job.stage_since else job.stage_since
    return float(head.started_at or head.assigned_at)


def deadline_is(view: JobView) -> str:
    """What comes at the time by which a job is to be up."""
    return "slash point" if view.slash_point else "goal"


@dataclass(frozen=True, slots=True)
class _Seen:
    """One job, as far as it is looked at before it is chosen."""

    memory: JobMemory
    head: Job
    state: JobState
    deadline: float


class JobRows:
    """Every job that the loop tends."""

    def __init__(self, world: World, clock: Clock, earned: Earned) -> None:
        self._world = world
        self._clock = clock
        self._earned = earned

    def one(self, number: int) -> JobRow | None:
        """The job of that number; None: it is not tended, or nothing was decided about it yet."""
        job = self._world.memory.jobs.get(JobId(number))
        return None if job is None else self.row(job)

    def census(self) -> Census:
        """All of them, counted, and what is left to the nearest deadline of a start."""
        seen, now = list(self._seen()), self._clock.now()
        coming = [
            one
            for one in seen
            if one.state is JobState.BOOTSTRAPPING and one.deadline not in (0, _NEVER)
        ]
        spans = [(one.deadline - now, one.deadline - self._began(one)) for one in coming]
        return Census(
            Counter(one.state for one in seen),
            min((left for left, _ in spans), default=None),
            min((left / span for left, span in spans if span > 0), default=None),
            drops_of(one.status for one in self._world.fleet.records() if one.status is not None),
        )

    def _began(self, one: _Seen) -> float:
        view = current(one.memory, self._world.fleet)
        return one.memory.stage_since if view is None else since_of(one.memory, view)

    def all(self) -> Iterator[JobRow]:
        """Those that are there now, each as it is when it is taken."""
        for job in list(self._world.memory.jobs.values()):
            row = self.row(job)
            if row is not None:
                yield row

    def find(self, query: Query) -> Crowd:
        """The rows of one page, and how many jobs there are in each state."""
        seen = list(self._seen())
        now = int(self._clock.now())
        orders = {
            "": lambda one: (_URGENCY[one.state], one.deadline, one.head.id),
            "id": lambda one: one.head.id,
            "type": lambda one: (one.head.instance_type, one.head.id),
            "state": lambda one: (one.memory.stage, one.head.id),
            "next": lambda one: (one.deadline, one.head.id),
            "since": lambda one: (one.head.started_at or one.head.assigned_at, one.head.id),
            "price": lambda one: (one.head.price.raw, one.head.id),
            "earned": lambda one: self._earned.of(one.head, one.memory.view.terms, now),
        }
        chosen = find(seen, query, self._text, orders)
        starting = [one.deadline for one in seen if one.state is JobState.BOOTSTRAPPING]
        nearest = min(starting, default=_NEVER)
        rows = tuple(filter(None, (self.row(one.memory) for one in chosen.rows)))
        return Crowd(
            Found(rows, chosen.start, chosen.count, chosen.found, chosen.total),
            Counter(one.state for one in seen), None if nearest == _NEVER else nearest,
        )  # fmt: skip

    def _seen(self) -> Iterator[_Seen]:
        fleet = self._world.fleet
        for job in self._world.memory.jobs.values():
            head = job.head
            if head is None:
                continue
            state = _STATES.get(job.stage)
            if state is None:
                state = state_of(job, fleet.hosts(job.id))
            yield _Seen(job, head, state, self._deadline(job, head, state))

    def _deadline(self, job: JobMemory, head: Job, state: JobState) -> float:
        if state is JobState.ENDED or job.view is None:
            return _NEVER
        if job.deadline is not None:
            return job.deadline
        end = job.view.terms.ending(head)
        return float(end.at) if end else _NEVER

    def _text(self, one: _Seen) -> str:
        host = serving(self._world.fleet.hosts(one.head.id))
        instance = host.instance if host else None
        where = (instance.id, instance.zone, instance.public_ip or "") if instance else ()
        image = one.memory.image.image
        words = (str(one.head.id), one.head.instance_type, one.state.value, one.memory.stage)
        return " ".join((*words, *where, image.cid if image else "", one.head.user))

    def row(self, job: JobMemory) -> JobRow | None:
        """The job now; None before the first decision about it, or without the chain's word."""
        view = current(job, self._world.fleet)
        if view is None or view.head is None:
            return None
        head, now = view.head, int(self._clock.now())
        budget = self._world.learner.budget
        host = serving(view.hosts)
        left = money_of(head, view.terms, now)[1]
        made = self._earned.of(head, view.terms, now)
        end = view.terms.ending(head)
        deadline = job.deadline if job.deadline is not None else (float(end.at) if end else None)
        if state_of(job, view.hosts) is JobState.ENDED:
            deadline = None  # it is behind it
        return JobRow(
            id=head.id,
            generation=head.generation,
            instance_type=head.instance_type,
            state=state_of(job, view.hosts),
            stage=job.stage,
            since=since_of(job, view),
            price=head.price.raw,
            earned=made,
            escrow=left,
            deadline=deadline,
            deadline_is=deadline_is(view) if job.deadline is not None else waits_for(end),
            instance=host.instance.id if host else "",
            zone=host.instance.zone if host else "",
            public_ip=(host.instance.public_ip or "") if host else "",
            attempt=host.attempt if host else 1,
            image=view.image.image.cid if view.image.image else "",
            usual_seconds=usual_seconds(view, budget),
            stages=stages_of(view, host, self._clock.now(), budget),
            note="; ".join(text for texts in job.said.values() for text in texts if text)[:200],
        )


def serving(hosts: tuple[Host, ...]) -> Host | None:
    """The instance people mean: one that has proven itself, else the newest that lives."""
    live = [host for host in hosts if host.live]
    proven = [host for host in live if host.attested]
    return proven[0] if proven else live[-1] if live else None
