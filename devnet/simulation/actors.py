"""Users and the operator at work: what was drawn for them before the run, carried out in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.journal.orders import OrderKind, Orders
from agent.market.model import JobId
from devnet.simulation import people
from devnet.simulation.lives import Lives
from devnet.simulation.names import US
from devnet.simulation.people import Request
from devnet.simulation.protocol import Job
from devnet.simulation.stage import Stage
from faults import RetryLater

OPERATOR_SECONDS = 120.0  # between two looks at what waits for a confirmation


@dataclass
class Actors:
    """`users` and `operator` are tasks of the storm; `left` is what the operator ordered to leave.

    `left` has (job, generation).
    """

    stage: Stage
    lives: Lives
    requests: Sequence[Request]
    left: set[tuple[int, int]] = field(default_factory=set)

    async def users(self) -> None:
        """Everything that was drawn, at its second."""
        for second, number, act in sorted(people.timeline(self.requests)):
            await self.stage.until(second)
            self._act(self.requests[number], act)

    def _act(self, one: Request, act: str) -> None:
        chain = self.stage.chain
        if act == "request":
            args = (one.instance_type, one.max_price, one.url, one.deposit)
            chain.submit(one.user, "requestJob", *args)
            return
        job = self._job_of(one)
        if job is None:
            return
        if act == "stop":
            chain.submit(one.user, "requestToStopJob", job.id)
        elif act == "fund":
            chain.submit(one.user, "addFunds", job.id, one.funds)
        elif job.provider == US and self._order(self.stage.clock.now(), OrderKind.EXIT, job.id):
            self.left.add((job.id, job.generation))

    def _order(self, at: float, kind: str, job: int) -> bool:
        """Whether it was placed: while the disk is full the command says so, and nothing is."""
        try:
            Orders(self.lives.engine).place(at, kind, JobId(job), "storm")
        except RetryLater as fault:
            self.stage.note(f"{job} order.refused {fault}")
            return False
        return True

    def _job_of(self, one: Request) -> Job | None:
        """The job that came of a request: its user, image, type and deposit tell."""
        jobs: list[Job] = self.stage.chain.head.state.jobs
        for job in jobs:
            same = (job.user, job.enclave_url, job.instance_type, job.max_price)
            wanted = (one.user, one.url, one.instance_type, one.max_price)
            if same == wanted and not job.stop_reason:
                return job
        return None

    async def operator(self) -> None:
        """Looks now and then, and confirms terminations that are right."""
        stage = self.stage
        while True:
            await stage.clock.sleep(OPERATOR_SECONDS)
            for number in self.lives.process.held_jobs:
                machines = [m for m in stage.cloud.of_job(number) if m.ends_at == float("inf")]
                if machines and all(stage.watch.needless(m) for m in machines):
                    at = stage.agent_clock.now()
                    self._order(at, OrderKind.CONFIRM_TERMINATIONS, number)
