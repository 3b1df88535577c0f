"""What must hold whatever goes wrong, checked after every event of a run.

Each check looks at the truth of the models, never at what the agent believes. The time that a
fault takes away is read from the plan; what is left is the agent's to use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.ports import Call, Order
from devnet.simulation.blocks import Block, Tx
from devnet.simulation.loop import START
from devnet.simulation.machine import NEVER, Machine
from devnet.simulation.names import OTHER, US
from devnet.simulation.people import AUDITORS, sha_of
from devnet.simulation.protocol import SCALE, Job
from devnet.simulation.storm_troubles import covered
from devnet.simulation.watch import (
    DROPPED,
    GIVEN_UP,
    LEFT,
    MISSED,
    MONEY,
    TWICE,
    UNPROVEN,
    Watch,
)


@dataclass
class Invariants(Watch):
    """What must hold on the registry."""

    served: Callable[[Job], bool] = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._sent: dict[tuple[object, ...], Tx] = {}
        self._starts: dict[tuple[int, int], Job] = {}
        self._to_serve: dict[tuple[int, int], float] = {}  # since when; one may be funded late
        self._supply = self._total_supply()

    def _may_end(self, machine: Machine) -> bool:
        now = self.chain.clock.now()
        if self._needless(machine, self.chain.final) or self._spare(machine):
            return True
        job = self._job(machine, self.chain.head)
        if job is None:
            return False
        # What a fork changed is no news yet to a call that is on its way.
        given_up = any(map(self._gives_up, (job, *self._lately(job.id))))
        wrong = machine.order.instance_type != job.instance_type.partition("/")[2]
        begun = now >= machine.running_at or now - machine.launched_at > self.allow.spare
        dead = begun and not self.cloud.serves(machine, sha_of(job.enclave_url), now)
        return given_up or wrong or dead

    def _gives_up(self, job: Job) -> bool:
        """What another provider has started since says nothing of what this one left."""
        return not (job.started_at and job.provider == US) and not self.served(job)

    def _needless(self, machine: Machine, block: Block) -> bool:
        """Whether, as of this block, the machine serves nothing that is this provider's."""
        who, job = machine.order.identity, self._job(machine, block)
        if job is None:
            return block.ref.timestamp >= machine.launched_at
        if job.provider != US or job.stop_reason or job.generation != who.generation:
            return job.generation >= who.generation or block.ref.timestamp >= machine.launched_at
        over = any(block.ref.timestamp >= second for second, _ in self.chain.model.ends(job))
        deadline = job.assigned_at + self.chain.model.terms.job_bootstrapping
        return over or (not job.started_at and block.ref.timestamp >= deadline)

    def _job(self, machine: Machine, block: Block) -> Job | None:
        number, jobs = machine.order.identity.job, block.state.jobs
        return jobs[number - 1] if number <= len(jobs) else None

    # Events of the chain.

    def sent(self, tx: Tx, order: Order) -> None:
        if order.call is Call.REPORT_STARTED and order.job is not None:
            self._check_report(order)
        if order.call is Call.REQUEST_EXIT and order.job is not None:
            self._check_exit(order.job)
        head = self.chain.head.state.jobs
        job = head[order.job - 1] if order.job and order.job <= len(head) else None
        generation = job.generation if job else 0
        moment = job.settled_until if job and order.call is Call.SETTLE else 0
        what = (order.call, order.job, generation, moment, order.instance_type, order.price)
        before = self._sent.get(what)
        if order.job is not None and before is not None and _stands(before, order):
            self.violated(TWICE, f"{order.call} of job {order.job} is sent again")
        self._sent[what] = tx

    def _check_exit(self, number: int) -> None:
        """Only what may not be served, what the operator leaves, and what was missed is left."""
        job = self.chain.head.state.jobs[number - 1]
        late = self.chain.head.ref.timestamp - job.assigned_at
        left = self.chain.model.terms.job_bootstrapping - late
        up = any(machine.ends_at == NEVER for machine in self.cloud.of_job(number))
        missed = not job.started_at and left <= (0 if up else self.allow.least_start)
        ours = (once for once in self._lately(number) if once.provider == US)
        news = any(not self.served(once) for once in ours)
        if job.provider == US and self.served(job) and not missed and not news:
            self.violated(GIVEN_UP, f"job {number} is left after {late} s")

    def _check_report(self, order: Order) -> None:
        machine = self.cloud.by_ip.get((order.endpoint or "").partition(":")[0])
        jobs = self.chain.head.state.jobs
        job = jobs[order.job - 1] if order.job and order.job <= len(jobs) else None
        if machine is None or machine.order.identity.job != order.job:
            self.violated(UNPROVEN, f"job {order.job} is reported at {order.endpoint}: not its own")
        elif not self._proven.get(machine.id):
            self.violated(UNPROVEN, f"job {order.job} is reported, its enclave was never asked")
        elif job is not None and not self._proven[machine.id] & self._images_of(job):
            self.violated(UNPROVEN, f"job {order.job} is reported with another image's enclave")

    def _images_of(self, job: Job) -> set[str]:
        """What its enclave may be: another one only while a fork that changed that is news."""
        return {sha_of(one.enclave_url) for one in (job, *self._lately(job.id))}

    def _lately(self, number: int) -> list[Job]:
        """What a number stood for in blocks that a fork took back while a call was on its way."""
        recent = [state.jobs for state in self.undone_lately()]
        return [jobs[number - 1] for jobs in recent if number <= len(jobs)]

    def journal_lost(self) -> None:
        """What was sent is forgotten with the file: the same may be sent again."""
        self._sent.clear()

    def block(self, block: Block) -> None:
        """After each block: who is a stranger now, whose deadline passed, is the money exact."""
        self._note_starts(block)
        self._look_for_strangers()
        self._check_money()

    def _note_starts(self, block: Block) -> None:
        for job in block.state.jobs:
            if job.provider == US and not job.stop_reason:
                key = (job.id, job.generation)
                self._starts[key] = job
                if job.started_at or self.served(job):
                    self._to_serve.setdefault(key, self.now)
                else:
                    self._to_serve.pop(key, None)

    def _total_supply(self) -> tuple[int, int]:
        state = self.chain.model.state
        return sum(state.pond.values()), sum(state.money.values())

    def _check_money(self) -> None:
        state, holder = self.chain.model.state, self.chain.model.HOLDER
        if sum(job.escrow for job in state.jobs) != state.money[holder]:
            self.violated(MONEY, "escrows are not what the contract holds", "escrow")
        if sum(state.total.values()) != state.pond[holder]:
            self.violated(MONEY, "stakes are not what the contract holds", "stake")
        if self._total_supply() != self._supply:
            self.violated(MONEY, "tokens came from nowhere or went there", "supply")

    def reported(self, job: Job, since: float) -> None:
        """Auditors report a job of ours: was that the plan's fault or the agent's?"""
        if job.provider != US or not job.started_at:
            return
        lost, _ = covered(self.plan.start_spans(), since - START, self.now)
        deaths = sum(
            self.plan.fate(job.id, job.generation, attempt).bad_start for attempt in (1, 2, 3)
        )
        if lost == 0 and deaths < 2:
            text = f"job {job.id} answered nobody since {since - START:.0f} s"
            self.violated(DROPPED, text, (job.id, job.generation))

    # The end.

    def finish(self, *, remembered: int, lives: int) -> None:
        """Nothing may be left: not in the cloud, not on the chain, not in the agent's memory."""
        self._check_starts()
        self._check_earnings()
        live, mail = self.cloud.live_machines(), self.mail_left(lives=lives)
        expire = len(self.cloud.mail) - len(mail) + (len(self.cloud.bucket) if lives > 1 else 0)
        self.judged["objects left to expiry"] += expire
        left = {
            "instances": len(live),
            "mailboxes": len(mail),
            "staged images": len(self.cloud.bucket) if lives == 1 else 0,
            "jobs in memory": remembered,
            "jobs of ours on the chain": self._active(),
            "transactions that wait": self.chain.unmined,
        }
        for what, count in left.items():
            if count:
                self.violated(LEFT, f"{count} {what}")

    def _active(self) -> int:
        jobs = self.chain.head.state.jobs
        return sum(job.provider == US and not job.stop_reason for job in jobs)

    def _check_starts(self) -> None:
        """Every assignment that reached its slash point: started, or beyond what was possible."""
        final: dict[int, Job] = {job.id: job for job in self.chain.head.state.jobs}
        for (number, generation), job in self._starts.items():
            if job.started_at:
                self.judged["started"] += 1
            elif number not in final or not self._reached_deadline(job, final[number]):
                self.judged["ended before"] += 1
            elif not self.served(job):
                self.judged["not to be served"] += 1
            elif self._feasible(job):
                end = job.assigned_at - START + self.chain.model.terms.job_bootstrapping
                text = f"job {number}, generation {generation}, by {end:.0f} s"
                self.violated(MISSED, text)
            else:
                self.judged["out of reach"] += 1

    def _reached_deadline(self, job: Job, last: Job) -> bool:
        """Whether it was ours, unstarted and active until the slash point, on the last fork."""
        deadline = job.assigned_at + self.chain.model.terms.job_bootstrapping
        if last.generation == job.generation:
            same = last.assigned_at == job.assigned_at and last.provider == US
            return same and not (last.stop_reason and last.stopped_at < deadline)
        return last.generation > job.generation and US in last.slashed

    def _feasible(self, job: Job) -> bool:
        """Whether a perfect agent had the time, with what this one is allowed to take."""
        lengths, allow = self.cloud.lengths, self.allow
        until = job.assigned_at - START + self.chain.model.terms.job_bootstrapping
        since = self._to_serve[job.id, job.generation]
        lost, touches = covered(self.plan.start_spans(), since, until)
        up = 1.5 * (lengths.running + lengths.boot)
        needed = max(up, self.image_seconds) + lengths.fetch + lengths.enclave
        needed += 2 * self.chain.block_seconds + allow.react
        if self.plan.fate(job.id, job.generation, 1).bad_start:
            needed += allow.spare
        # What a fault interrupts is done again: at most one image or boot each time.
        needed += touches * min(self.image_seconds, 30.0)
        return bool(until - since - lost >= needed)

    def _check_earnings(self) -> None:
        """Independent of the model's books: what our intervals add up to, and nobody else's."""
        owed = Counter[str]()
        for job in self._starts.values():
            owed["seen"] += 1
            if job.paid > job.price * max(0, self._last_second(job) - job.started_at) // SCALE:
                self.violated(MONEY, f"job {job.id} paid more than it owes", job.id)
        people = (US, OTHER, *AUDITORS)
        if any(self.chain.model.state.money[one] < 0 for one in people):
            self.violated(MONEY, "somebody has less than nothing")

    def _last_second(self, job: Job) -> int:
        return job.settled_until or self.chain.head.ref.timestamp


def _stands(tx: Tx, order: Order) -> bool:
    """Whether the transaction waits or did its work: sending another is sending it twice.

    A settlement that a fork moved before the end was mined without ending anything.
    """
    records = order.call in (Call.SETTLE, Call.FINALIZE_EXIT)
    return not tx.reverted and not (records and tx.block is not None)
