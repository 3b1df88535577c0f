"""Lets launches through, or has them wait for a second endpoint (`decide.unconfirmed_launches`)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace

from agent.agenda import Agenda
from agent.apply.context import World
from agent.decide.job_view import JobView, LaunchPhase
from agent.decide.plan import Launch
from agent.decide.unconfirmed_launches import BurstRules, Standing, Wish, admits
from agent.market.model import Job, JobId

WAITS = "launch.waits"  # on the job's timeline: for a second endpoint to tell the same of it
_MAY_BE_THERE = frozenset({LaunchPhase.ASKED, LaunchPhase.LATER, LaunchPhase.LAUNCHED})
LOOK_SECONDS = 1.0  # until it is asked again: a second endpoint's answer comes sooner, and wakes


class Buying:
    """Counts what was bought on one endpoint's word alone; once a turn, then as it grows."""

    def __init__(
        self,
        world: World,
        agenda: Agenda,
        ask: Callable[[Iterable[JobId]], None],
        launching: Callable[[], Collection[JobId]],
    ) -> None:
        self._world = world
        self._agenda = agenda
        self._ask = ask
        self._launching = launching
        self._counted: Standing | None = None

    def begin(self) -> None:
        """Another turn: what was counted in the last one is old."""
        self._counted = None

    def admits(self, view: JobView, launch: Launch, rules: BurstRules) -> bool:
        """Whether it may be bought now; else the job is looked at again soon, and says why."""
        job = view.head
        known = self._world.memory.known(view.id)
        if view.agreed or job is None or self._ordered(view, launch):
            return True
        if known.confirmed == job.generation:
            return True
        self._ask([view.id])
        waited = self._waited_enough(view, job, launch)
        standing = self._standing(view)
        why = admits(Wish(view.agreed, view.disputed, waited), standing, rules)
        if why:
            self._wait(view, why)
        else:
            self._counted = replace(standing, unconfirmed=standing.unconfirmed + 1)
        return not why

    def _waited_enough(self, view: JobView, job: Job, launch: Launch) -> bool:
        """Half of the time that there was when a second endpoint was first asked, by this clock:
        when the job began is told by whoever may have made it up. Where no slash point ends the
        time, what watchers grant counts from then on."""
        known, now = self._world.memory.known(view.id), self._world.clock.now()
        if known.waits_since is None or known.waits_since > now:
            known.waits_since = now
        since, granted = known.waits_since, float(view.deadline - job.assigned_at)
        left = min(launch.order.latest, float(view.deadline)) - since
        return now >= since + (left if view.slash_point else granted) / 2

    def _wait(self, view: JobView, why: str) -> None:
        known = self._world.memory.known(view.id)
        if known.waits != why:
            self._world.say(view.id, WAITS, why, 30)
        known.waits = why
        self._agenda.put_off(view.id, self._world.clock.now() + LOOK_SECONDS)

    def _standing(self, view: JobView) -> Standing:
        if self._counted is None:
            memory = self._world.memory
            views = [job.view for job in memory.jobs.values() if job.view]
            served = sum(one.ours for one in views)
            alone = [one for one in views if not self._confirmed(one)]
            proven = {one.id for one in alone if one.ours and self._proven(one)}
            bought = sum(self._instances(one.id) for one in alone if one.id not in proven)
            bought += sum(map(self._instances, self._unseen()))
            stake_is_for = memory.stake_is_for
            self._counted = Standing(bought, served, stake_is_for, len(proven))
        return self._counted

    def _unseen(self) -> Iterator[JobId]:
        """What an earlier process bought instances for, and this one has not looked at yet."""
        for job in self._world.fleet.jobs():
            known = self._world.memory.jobs.get(job)
            if known is None or known.view is None:
                yield job

    def _ordered(self, view: JobView, launch: Launch) -> bool:
        """Whether it is the order that was made already and may have been carried out: EC2 makes
        one instance of it, however often it is asked."""
        known, identity = self._world.memory.known(view.id).launch, launch.order.identity
        if known is None or known.phase not in _MAY_BE_THERE:
            return False
        return (known.generation, known.attempt) == (identity.generation, identity.attempt)

    def _instances(self, job: JobId) -> int:
        """There, being bought, or maybe bought: a lost reply says nothing of what EC2 did.

        What the journal does not know to have been launched was bought while another one was kept,
        and most of it by what two told then: where a journal was lost, those do not fill the places
        of jobs that are new. A liar then has as many places once more.
        """
        memory, launching = self._world.memory.jobs.get(job), job in self._launching()
        known = memory.launch if memory else None
        if known is None:
            return int(launching)
        hosts = self._world.fleet.hosts(job)
        listed = {(host.generation, host.attempt) for host in hosts}
        unlisted = (known.generation, known.attempt) not in listed
        maybe = known.phase in _MAY_BE_THERE and unlisted
        return sum(host.live for host in hosts) + (launching or maybe)

    def _confirmed(self, view: JobView) -> bool:
        """Told by two endpoints, once at least. That there is no such job, or that it is another's,
        confirms nothing: what was bought for it runs until that is final."""
        job = view.head
        confirmed = self._world.memory.known(view.id).confirmed
        if job is None or job.provider != view.account.provider:
            return confirmed is not None
        return view.agreed or confirmed == job.generation

    def _proven(self, view: JobView) -> bool:
        """Its start was reported and mined, by this process or one before, as two endpoints tell of
        the transaction: of a job that is none, or not ours, it reverts. One endpoint's word that
        it is started is not enough: it is who may have made up the job."""
        known, head = self._world.memory.known(view.id), view.head
        return head is not None and head.is_started and known.start_mined == head.generation
