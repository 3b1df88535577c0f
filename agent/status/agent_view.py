"""The agent as the status server shows it: one frozen view, from memory, at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import program
from agent.decide.job_view import Host, JobView
from agent.load.remembered import JobMemory
from agent.market.model import Ending, Job, StopReason
from agent.market.terms import Terms
from agent.ports import Clock
from agent.status.money import Money
from agent.status.source import (
    CallRow,
    ChainRow,
    EndpointRow,
    JobRow,
    JobState,
    MoneyRow,
    TypeRow,
    View,
)
from agent.status.start_stages import current, stages_of, usual_seconds
from agent.wiring.agent import Wired

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
_HELD = (
    "terminations are held: see whether those jobs are over, then "
    "`oyster-provider jobs confirm-terminations`"
)
_LEAVING = (
    "leaving the market: nothing is offered, every job is left; "
    "`oyster-provider exit --cancel` takes new jobs again"
)
_PAUSED = "paused: nothing is offered, running jobs stay; `oyster-provider resume` lists again"
_NOTICES = {"": (), "draining": (_LEAVING,), "paused": (_PAUSED,)}


def money_of(job: Job, terms: Terms, now: int) -> tuple[int, int]:
    """What this assignment earned by `now`, settled or not, and what of the escrow is still the
    user's, in base units."""
    return terms.earned(job, now), job.escrow - terms.accrued(job, now)


def waits_for(end: Ending | None) -> str:
    """What the job's end waits for, in words; empty when nothing is certain."""
    return _ENDS.get(end.reason, "its end") if end else ""


def deadline_is(view: JobView) -> str:
    """What comes at the time by which a job is to be up."""
    return "slash point" if view.slash_point else "goal"


class AgentView:
    """`StatusSource` over a running agent."""

    def __init__(self, world: Wired, money: Money, clock: Clock) -> None:
        self._world = world
        self._figures = money
        self._clock = clock
        self._started_at = clock.now()

    def progress_at(self) -> float:
        """When the loop last finished a turn; its start counts as one."""
        return self._world.state.progress.finished_at or self._started_at

    def view(self) -> View:
        state, chain = self._world.state, self._world.chain
        return View(
            provider=str(self._world.state.sources.account.provider),
            registry=str(chain.market.contract),
            chain_id=chain.endpoints.chain_id,
            version=program.version(),
            started_at=self._started_at,
            progress_at=self.progress_at(),
            problems=tuple(self._problems()),
            notices=tuple(self._notices()),
            jobs=tuple(self._rows()),
            types=tuple(self._types()),
            chain=self._chain(),
            money=self._money(),
            regions=tuple(self._world.regions),
            held=len(state.held_jobs),
            closed=state.closed,
            aws_calls=tuple(self._calls()),
        )

    def _problems(self) -> Iterator[str]:
        state = self._world.state
        if state.progress.chain_error:
            yield f"the chain can't be read: {state.progress.chain_error}"
        if state.world.journal.degraded:
            yield f"the journal can't be written: {state.world.journal.degraded}"
        if state.progress.resynced_at is None:
            yield "the first resync is not done"
        if state.held_jobs:
            yield f"{len(state.held_jobs)} {_HELD}"

    def _notices(self) -> Iterator[str]:
        state, now = self._world.state, self._clock.now()
        yield from _NOTICES[state.closed]
        for bug in state.world.bugs.lately(now):
            wait = max(0.0, bug.retry_at - now)
            yield f"job {bug.job}: {bug}; tried again in {wait:.0f} s (please report it)"

    def _rows(self) -> Iterator[JobRow]:
        for job in self._world.state.world.memory.jobs.values():
            row = self._row(job)
            if row is not None:
                yield row

    def _row(self, job: JobMemory) -> JobRow | None:
        view = current(job, self._world.state.world.fleet)
        if view is None or view.head is None:
            return None
        head, now = view.head, int(self._clock.now())
        budget = self._world.state.world.learner.budget
        host = _serving(view.hosts)
        made, left = money_of(head, view.terms, now)
        end = view.terms.ending(head)
        deadline = job.deadline if job.deadline is not None else (float(end.at) if end else None)
        return JobRow(
            id=head.id,
            generation=head.generation,
            instance_type=head.instance_type,
            state=_STATES.get(job.stage, JobState.ENDING),
            stage=job.stage,
            since=float(head.started_at or head.assigned_at),
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
            note="; ".join(text for text in job.said.values() if text)[:200],
        )

    def _types(self) -> Iterator[TypeRow]:
        offering = self._world.state.offering
        desk = offering.desk
        for name in sorted({*offering.prices, *desk.listed, *desk.asked}):
            listing, wanted = desk.listed.get(name), offering.prices.get(name)
            price = listing or wanted
            room = offering.desk.rooms.get(name)
            enclave = self._world.state.loader.room_of(name)
            on_chain = self._world.state.sources.market.abilities.lists_on_chain
            full = self._world.state.drain.ordered or (room is not None and room.more <= 0)
            yield TypeRow(
                instance_type=name,
                price=price.raw if price else 0,
                listed=name in offering.desk.listed if on_chain else not full,
                hidden=not on_chain and full,
                more=room.more if room else 0,
                limited_by=room.limited_by if room else "",
                vcpus=enclave.cpu_count if enclave else 0,
                memory_mib=enclave.memory_mib if enclave else 0,
                architecture=enclave.architecture if enclave else "",
                network_mbps=enclave.network_mbps if enclave else 0,
                wanted=wanted.raw if wanted else None,
                listing=listing.raw if listing else None,
                ordered=name in desk.asked,
                trouble=desk.troubles.get(name, ""),
            )

    def _chain(self) -> ChainRow:
        rows = tuple(
            EndpointRow(name=one.name, healthy=one.usable, lag_blocks=one.lag_blocks or 0)
            for one in self._world.chain.endpoints.health()
        )
        newest = self._world.chain.followed.last
        if newest is None:
            return ChainRow(endpoints=rows)
        head, final = newest.block, newest.finalized
        return ChainRow(head.number, float(head.timestamp), final.number, rows)

    def _money(self) -> MoneyRow:
        token = self._world.chain.payment
        jobs = self._world.state.world.memory.jobs.values()
        heads = [job.head for job in jobs if job.stage in ("running", "exiting", "ill")]
        rate = sum(head.price.raw for head in heads if head is not None)
        row = self._figures.row
        return replace(row, symbol=token.symbol, decimals=token.decimals, rate=rate)

    def _calls(self) -> Iterator[CallRow]:
        calls = self._world.aws.calls
        for region, call in sorted(calls.sent):
            place = (region, call)
            yield CallRow(region, call, calls.sent[place], calls.throttled[place])


def _serving(hosts: tuple[Host, ...]) -> Host | None:
    """The instance people mean: one that has proven itself, else the newest that lives."""
    live = [host for host in hosts if host.live]
    proven = [host for host in live if host.attested]
    return proven[0] if proven else live[-1] if live else None
