"""The agent's lives in one storm: killed at any moment, started again by its supervisor."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from agent.chain.endpoints import NoEndpoint
from agent.decide.listings import OfferRules
from agent.journal.lines import Event
from devnet.simulation.process import Life, Manner
from devnet.simulation.scenario import rules
from devnet.simulation.stage import Stage
from devnet.simulation.storm_troubles import Kind, Plan, Trouble
from devnet.simulation.watch import BROKEN
from devnet.simulation.world import new_engine
from faults import MustStop

RESTART_SECONDS = 5.0  # systemd's
LATEST_KILL = 0.9  # seconds: a kill that waits for an outside call does not wait longer


@dataclass
class Lives:
    """`supervise` is a task of the storm; `count` lives were begun so far."""

    stage: Stage
    plan: Plan
    begin: Callable[[Manner], Life]
    count: int = 0
    killing: bool = False
    kills_send: str = ""  # "before" or "after" the next broadcast
    lost_at: float = float("inf")  # the second at which the journal's file goes

    def __post_init__(self) -> None:
        self.engine = new_engine()

    def start(self) -> None:
        """A new process, with what the journal knows and nothing else."""
        self.count += 1
        self.stage.chain.restart()
        offers = OfferRules(probe_seconds=60)
        self.process = self.begin(Manner(self.engine, rules(), offers, self._hook, self._hear))
        self.stage.note("agent starts")

    def _hook(self, when: str, name: str) -> None:
        """Around each outside call of an effect: where a kill hurts most."""
        if self.killing:
            self.killing = False
            asyncio.get_running_loop().call_soon(self.process.kill)

    def sends(self, when: str) -> None:
        """Around each broadcast of a wire storm."""
        if self.kills_send == when:
            self.kills_send = ""
            asyncio.get_running_loop().call_soon(self.process.kill)

    def _hear(self, event: Event) -> None:
        self.stage.note(f"{event.job} {event.name} {event.text}")
        if event.name == "launch.asked" and event.job is not None and event.generation:
            race, attempt = bool(event.fields["race"]), int(event.fields["attempt"])
            self.stage.watch.declared(event.job, event.generation, attempt, race=race)

    def kill_as_it_sends(self, trouble: Trouble) -> None:
        """The agent dies around the next broadcast: before it, or before it hears the answer."""
        self.kills_send = "before" if trouble.size % 2 else "after"

    def fill_disk(self, full: bool) -> None:
        """The journal's file can't grow: SQLite says that the disk is full."""
        self.stage.chain.disk_full = full
        with self.engine.connect() as connection:
            pages = connection.execute(sa.text("PRAGMA page_count")).scalar()
            connection.execute(sa.text(f"PRAGMA max_page_count = {pages if full else 2**30}"))

    def kill(self, trouble: Trouble) -> None:
        """At this very moment, or around the next outside call; at the latest in a second."""
        if trouble.size % 2:
            self.killing = True
            asyncio.get_running_loop().call_later(LATEST_KILL, self.process.kill)
        else:
            self.process.kill()
        if trouble.kind is Kind.JOURNAL_LOST:
            self.lost_at = trouble.since

    async def supervise(self) -> None:
        """systemd: a process that ended is started again, unless it is down for now."""
        while True:
            await self.stage.clock.sleep(RESTART_SECONDS)
            if self.process.alive or self._down():
                continue
            self._why_ended()
            if self.stage.second() >= self.lost_at:
                self._lose_journal()
            self.start()

    def _lose_journal(self) -> None:
        self.engine, self.lost_at = new_engine(), float("inf")
        self.stage.chain.lose_log()
        self.stage.watch.journal_lost()

    def _why_ended(self) -> None:
        self._why_task_ended(self.process.task)

    def _why_task_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, NoEndpoint):
            return  # at a start, while all nodes are silent
        if isinstance(error, MustStop) and "can't be recorded" in str(error):
            return
        if error is not None:
            self.stage.watch.violated(BROKEN, f"{type(error).__name__}: {error}")

    def _down(self) -> bool:
        now = self.stage.second()
        kinds = (Kind.KILLED, Kind.JOURNAL_LOST)
        return any(t.kind in kinds and t.since <= now < t.until for t in self.plan.troubles)
