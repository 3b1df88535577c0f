"""What must hold on MarketV1, whatever its owners write and whatever goes wrong.

Beside what holds on any market: nothing is bought for what can't be served, no unpaid second is
served beyond a bound, and no paid second goes unserved without a reason. Reasons are read from the
plan of troubles, from the fates of machines and from what the owner did; never from the agent.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import takewhile

from agent.markets.marketv1.adapter import FORGOTTEN_SHARE
from agent.ports import Image
from devnet.simulation.blocks import Block
from devnet.simulation.loop import START
from devnet.simulation.machine import Machine
from devnet.simulation.marketv1.model import CLOSED, HOLDER, Job, State
from devnet.simulation.marketv1.truth import ENOUGH_SECONDS, Truth, end_of, job_of, owed
from devnet.simulation.names import US
from devnet.simulation.people import UNIT, sha_of
from devnet.simulation.storm_troubles import SECOND_VOICE, Kind, covered, union
from devnet.simulation.watch import ASKED_FOR, BOUGHT, LEFT, MONEY, TWICE, UNSERVED, Watch

LOST_SECONDS = 900.0  # what finding a dead host or enclave and replacing it may take, once
UNCONFIRMED = 8  # jobs that are bought on one endpoint's word (breaker.unconfirmed)
DOUBTS = SECOND_VOICE | {Kind.LIAR}


@dataclass(frozen=True, slots=True)
class Silence:
    """A job that is to be served and is not: `job` as it was when it began."""

    since: float
    job: Job
    was_up: bool


@dataclass
class MarketV1Invariants(Watch):
    """`truth` says what a job means."""

    truth: Truth = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._supply = self._money(self.chain.model.state)
        # A crowd of new jobs is bought as far as two endpoints tell of it.
        doubts = ((t.since, t.until + 40) for t in self.plan.troubles if t.kind in DOUBTS)
        self._reasons = list(union([*self.plan.start_spans(), *doubts]))
        self._silent: dict[tuple[int, str], Silence] = {}
        self._opened: dict[int, tuple[str, str]] = {}  # owner and first text, on this fork
        self._meant: dict[str, tuple[str, str] | None] = {}  # the job that a machine is for
        self._served_until: dict[tuple[int, tuple[str, str] | None], int] = {}
        self._known: set[str] = set()  # machines that proved themselves since the journal is kept
        self._forgot = False  # at which rates jobs were taken
        self._invented: set[str] = set()  # machines for jobs that never were
        self._up: set[tuple[int, str]] = set()  # jobs that were seen served

    # Events of the cloud.

    def launched(self, machine: Machine) -> None:
        super().launched(machine)
        number = machine.order.identity.job
        self._meant[machine.id] = self._opened.get(number)
        states = [self.chain.head.state, *self.undone_lately()]
        if all(job_of(state, number) is CLOSED for state in states) or self._just_opened(number):
            self._count_invented(machine)
        elif self.clock_off() and any(self.truth.worth(job_of(s, number)) for s in states):
            self.judged["instances bought by a wrong clock"] += 1
        elif not any(self._worth(state, number) for state in [*states, *self._lately()]):
            self.violated(BOUGHT, f"job {number}: {job_of(states[0], number).metadata[:60]!r}")

    def _lately(self) -> list[State]:
        """The states that were the newest while what is on its way now was decided: an owner may
        write in between."""
        since, blocks = self.now + START - self.allow.on_its_way, self.chain.blocks_
        pairs = zip(blocks[-2::-1], blocks[:0:-1], strict=True)  # the newest first
        recent = takewhile(lambda pair: pair[1].ref.timestamp >= since, pairs)
        return [before.state for before, _ in recent]

    def _newest_second(self) -> int:
        """Of the newest block. While none comes, one that a liar dates later is bounded by the
        agent's clock alone: it is no later than the next block will be."""
        head, now = self.chain.head.ref.timestamp, int(self.now + START)
        return now if self._lied() and now - head > 2 * self.chain.block_seconds else head

    def _lied(self) -> bool:
        """Whether one endpoint lies just now."""
        return any(
            t.kind is Kind.LIAR and t.since <= self.now <= t.until for t in self.plan.troubles
        )

    def _just_opened(self, number: int) -> bool:
        """Whether a liar told of the id before a block opened it, as another job: what was decided
        by the blocks before, as long as a look at the second endpoint may be old, was for the one
        that is not."""
        since = int(self.now + START) - 2 * self.chain.block_seconds
        lately = [block for block in self.chain.blocks_[-4:] if block.ref.timestamp >= since]
        before = self.chain.blocks_[: -len(lately)] if lately else []
        return self._lied() and any(number >= block.state.opened for block in before[-1:])

    def _count_invented(self, machine: Machine) -> None:
        """A launch can be taken back, so one endpoint's word is enough for one; not for many. An id
        that has been opened since is of a job that is."""
        self._invented.add(machine.id)
        self.judged["jobs bought that are not"] += 1
        state = self.chain.head.state
        live = sum(
            one.id in self._invented and job_of(state, one.order.identity.job) is CLOSED
            for one in self.cloud.live_machines()
        )
        if live > UNCONFIRMED:
            self.violated(BOUGHT, f"{live} jobs that are not, at once")

    def _worth(self, state: State, number: int) -> bool:
        job = job_of(state, number)
        worth = self.truth.worth(job) or self._runs_on_below_the_card(number, job)
        return worth and end_of(state, number) > self.chain.head.ref.timestamp

    def _runs_on_below_the_card(self, number: int, job: Job) -> bool:
        """Whether it is served at a rate of which a lost journal knew whether that was agreed to
        (`_needless`): what serves it is replaced like any other, then."""
        served = (number, f"{job.owner}:{job.metadata}") in self._up
        enough = self._forgot and job.rate >= UNIT // FORGOTTEN_SHARE
        return served and enough and self.truth.worth(replace(job, rate=UNIT))

    def _may_end(self, machine: Machine) -> bool:
        head = self.chain.head
        if self.needless(machine) or self._spare(machine):
            return True
        number, now = machine.order.identity.job, self.chain.clock.now()
        if self._meant[machine.id] != self._opened.get(number):
            return True  # a fork gave its id to another job
        job = job_of(head.state, number)
        wanted = self.truth.meaning(job)
        # What was never up, and can't be brought up any more as its owner has changed it.
        changed = wanted is None or wanted.ec2_type != machine.order.instance_type
        begun = now >= machine.running_at or now - machine.launched_at > self.allow.spare
        return (changed and not self._alive(machine)) or (begun and not self._alive(machine))

    def _alive(self, machine: Machine) -> bool:
        """An enclave of whichever image it was ordered to run, that answers and proves itself."""
        desired, now = machine.desired, self.chain.clock.now()
        return desired is not None and self.cloud.serves(machine, desired.image_sha256, now)

    def _needless(self, machine: Machine, block: Block) -> bool:
        """By what a block says of the job, and by the newest block's time: that a job is as it is
        must be final, that time went on needs no proof."""
        number, at = machine.order.identity.job, self._newest_second()
        job = job_of(block.state, number)
        if job is CLOSED:
            return block.ref.timestamp >= machine.launched_at or number < block.state.opened
        if job.provider != US or at >= end_of(block.state, number):
            return True
        # No job is taken at less than the card: it was lowered, and with the journal lost nobody
        # knows any more from what. The agent goes by a part of the card then.
        return job.rate < (UNIT // FORGOTTEN_SHARE if self._forgot else UNIT)

    # Events of the chain.

    def attested(self, machine: Machine, image: Image) -> None:
        super().attested(machine, image)
        self._known.add(machine.id)

    def journal_lost(self) -> None:
        """Who was served, and at which rate, is in the journal alone: what proves itself no more
        before its job is over may have been up, or not. And what was bought on one's word: a liar
        has as many places once more."""
        self._forgot = True
        self._invented.clear()
        self._known.clear()
        self._served_until.clear()

    def block(self, block: Block) -> None:
        """After each block: who is served for nothing, who is not served for money."""
        self._note_openings(block)
        self._look_for_strangers()
        self._note_service(block)
        self._look_for_unserved(block)
        self._check_money(block.state)

    def _note_openings(self, block: Block) -> None:
        for event in block.logs:
            if event.name == "JobOpened":
                number, metadata, owner = event.args[:3]
                self._opened[int.from_bytes(number, "big")] = (owner, metadata)

    def _note_service(self, block: Block) -> None:
        for machine in self.cloud.live_machines():
            number = machine.order.identity.job
            if machine.id in self._known and self._pays(machine, block.state):
                until = min(end_of(block.state, number), block.ref.timestamp)
                self._served_until[number, self._opened.get(number)] = until

    def _pays(self, machine: Machine, state: State) -> bool:
        """Whether running on is owed for: at a rate that was lowered below the least, and settled
        as it was, a machine waits for its end alone."""
        rate = job_of(state, machine.order.identity.job).rate
        return self._is_for(machine, state) and rate >= UNIT

    def _is_for(self, machine: Machine, state: State) -> bool:
        """Whether what it was bought for is this state's job, and ours: an invented id is given to
        whoever opens the next one, a fork's to another's."""
        number = machine.order.identity.job
        same = self._meant[machine.id] == self._opened.get(number)
        return same and job_of(state, number).provider == US

    def _look_for_unserved(self, block: Block) -> None:
        now, seen = block.ref.timestamp, set[tuple[int, str]]()
        for number, job in block.state.jobs.items():
            key = (number, f"{job.owner}:{job.metadata}")
            up = self._served(number, job)
            if up:
                self._up.add(key)
            if not self._due(block.state, number, key, now) or up:
                continue
            seen.add(key)
            silence = self._silent.setdefault(key, Silence(self.now, job, key in self._up))
            self._judge(number, silence)
        for key in [key for key in self._silent if key not in seen]:
            del self._silent[key]

    def _due(self, state: State, number: int, key: tuple[int, str], now: int) -> bool:
        """To be served by what it pays. One that is not up yet is taken only with enough money, and
        nobody has to buy for the last minutes of one whose machine died."""
        job = state.jobs[number]
        left = end_of(state, number) - now
        return self.truth.welcome(job) and left >= ENOUGH_SECONDS

    def _served(self, number: int, job: Job) -> bool:
        meaning, now = self.truth.meaning(job), self.chain.clock.now()
        return meaning is not None and any(
            self.cloud.serves(machine, sha_of(meaning.url), now)
            and machine.order.instance_type == meaning.ec2_type
            for machine in self.cloud.of_job(number)
        )

    def _judge(self, number: int, silence: Silence) -> None:
        lost, touches = covered(self._reasons, silence.since, self.now)
        allowed = self._needed(number, silence, touches)
        if self.now - silence.since - lost > allowed and not self._held_by_place(number):
            said = "once up, " if silence.was_up else ""
            text = f"job {number}: {said}nobody serves it since {silence.since:.0f} s"
            self.violated(UNSERVED, text, (number, silence.since))

    def _needed(self, number: int, silence: Silence, touches: int) -> float:
        """Seconds that a perfect agent takes, and what this one is allowed to take beside."""
        lengths, allow = self.cloud.lengths, self.allow
        up = 1.5 * (lengths.running + lengths.boot)
        needed = max(up, self.image_seconds) + lengths.fetch + lengths.enclave
        needed += 2 * self.chain.block_seconds + allow.react
        needed += touches * min(self.image_seconds, 30.0)
        bad = sum(self.plan.fate(number, 1, attempt).bad_start for attempt in (1, 2, 3))
        if silence.was_up or self.cloud.of_job(number):
            needed += LOST_SECONDS
        return needed + bad * allow.spare

    def _held_by_place(self, number: int) -> bool:
        """Whether a machine runs on as it was ordered, as the owner asks for what can't be had in
        place."""
        return any(self._alive(machine) for machine in self.cloud.of_job(number))

    def _money(self, state: State) -> int:
        return sum(state.money.values())

    def _check_money(self, state: State) -> None:
        if sum(job.balance for job in state.jobs.values()) != state.money[HOLDER]:
            self.violated(MONEY, "balances are not what the contract holds", "balance")
        if self._money(state) != self._supply:
            self.violated(MONEY, "tokens came from nowhere or went there", "supply")

    # The end.

    def waiting(self, number: int) -> bool:
        """Whether a job that is not served is open and paid at its own rate, so that the agent has
        to know it on."""
        state = self.chain.head.state
        paid = end_of(state, number) > self.chain.head.ref.timestamp
        return paid and job_of(state, number).provider == US and not self.paid(number)

    def paid(self, number: int) -> bool:
        """Whether the chain's newest block has it served for."""
        block = self.chain.head
        job = block.state.jobs[number]
        return self.truth.welcome(job) and end_of(block.state, number) > block.ref.timestamp

    def unsettled(self) -> list[int]:
        """Jobs that were served and are over, of which money of ours is still in the contract."""
        head = self.chain.head
        return [
            number
            for number, job in head.state.jobs.items()
            if job.provider == US
            and job.last_settled < self._served_until.get((number, self._opened.get(number)), 0)
            and end_of(head.state, number) <= head.ref.timestamp
            and owed(job, head.ref.timestamp)
        ]

    def finish(self, *, remembered: int, lives: int) -> None:
        """Nothing may be left: in the cloud, unsettled on the chain, in the agent's memory."""
        self._check_twice()
        mail = self.mail_left(lives=lives)
        left = {
            "instances": len(self.cloud.live_machines()),
            "mailboxes": len(mail),
            "staged images": len(self.cloud.bucket) if lives == 1 else 0,
            "init params": len(self.cloud.params) if lives == 1 else 0,
            "jobs in memory": remembered,
            "jobs that ended and are not settled": len(self.unsettled()),
            "transactions that wait": self.chain.unmined,
        }
        for what, count in left.items():
            if count:
                self.violated(LEFT, f"{count} {what}")
        for text in self.cloud.missed:
            self.violated(ASKED_FOR, text)
        self._count(self.chain.head.state)

    def _check_twice(self) -> None:
        """A settlement that had nothing to pay any more was one too many, but where a fork, a lost
        journal or somebody else's settlement came between."""
        for block, before in zip(self.chain.blocks_[1:], self.chain.blocks_, strict=False):
            for tx in block.txs:
                if tx.sender != US or tx.reverted or tx.function != "jobSettle":
                    continue
                number = int.from_bytes(tx.args[0], "big")
                if not owed(job_of(before.state, number), block.ref.timestamp):
                    self.judged["settlements of nothing"] += 1
        if self.judged["settlements of nothing"] > len(self.plan.troubles) + 3:
            self.violated(TWICE, f"{self.judged['settlements of nothing']} settled nothing")

    def _count(self, state: State) -> None:
        served = {machine.order.identity.job for machine in self.cloud.machines.values()}
        self.judged["jobs opened"] += state.opened
        self.judged["jobs served"] += len(served)
        self.judged["jobs opened that nobody could serve"] += sum(
            job.provider == US and not self.truth.welcome(job) for job in state.jobs.values()
        )
        self.judged["seconds of the run"] += int(self.chain.clock.now() - START)
