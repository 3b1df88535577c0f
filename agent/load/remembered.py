"""What this process remembers of the jobs it tends. All of it can be lost: it saves repetition.

After a restart the image is found on disk again, the launch by its token, the run by its name,
the transaction by its key; only counts of missed answers start anew, in the enclave's favour.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.decide.belief import Heard, Past
from agent.decide.job_view import (
    Facts,
    FaultReport,
    FinalView,
    ImageView,
    JobView,
    LaunchPhase,
    LaunchView,
    TxView,
)
from agent.decide.plan import Note
from agent.journal.orders import OrderRecord, Taken
from agent.load.cards import Cards
from agent.load.owners import Owners
from agent.load.pins import Pins
from agent.market.model import BlockNumber, Job, JobId
from agent.market.terms import Terms
from agent.market.workload import Ask
from cloud.model import Identity, Region


@dataclass(slots=True)
class JobMemory:
    """One job. `said` holds the last texts of each note, so that each is told once."""

    id: JobId
    image: ImageView = field(default_factory=ImageView)
    launch: LaunchView | None = None
    transactions: dict[str, TxView] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    vetted: int | None = None
    reluctant: int | None = None  # the generation that is served at a loss
    proven: int | None = None  # the generation of which an enclave has proven itself
    start_mined: int | None = None  # the generation of which our report got into a block
    buying: Identity | None = None  # what the last plan wants launched
    gone_since: float | None = None  # since when the head has not shown it as ours
    told: int = 0  # the generation whose assignment is on the timeline
    said: dict[str, tuple[str, ...]] = field(default_factory=dict)
    view: JobView | None = None
    read_at: float = 0.0  # when the view was read from the chain
    stage: str = "new"
    stage_since: float = 0.0  # as far as this process saw
    deadline: float | None = None
    believed: Job | None = None  # what was last decided by
    believed_as_of: BlockNumber | None = None  # the block as of which that was told
    differs_since: float | None = None  # since when the head's claim is another one
    meanwhile: Job | None = None  # the other job that the id has been told to be since then
    past: Past | None = None  # its assignment, as two told it or the journal has it
    heard: Heard | None = None  # what several endpoints told of it at the head
    watched: bool = False  # another endpoint lists it
    confirmed: int | None = None  # the generation that two endpoints told is ours to serve
    confirmed_told: tuple[int, Past | None] | None = None  # what of that the journal has
    waits: str = ""  # why it is not bought on one endpoint's word
    waits_since: float | None = None  # since when a second one has been asked for that
    final: FinalView | None = None  # what they told of it at a final block
    reports: tuple[FaultReport, ...] = ()  # by auditors, of any of its assignments
    served: bool = False  # it was this provider's, or something was bought for it
    end_asked_at: float | None = None  # since when the chain has been asking for its end
    held_at: float | None = None  # since when the breaker has been holding that end
    end_confirmed: bool = False  # a person confirmed that very end
    params: set[tuple[Region, str]] = field(default_factory=set)  # init params staged, by digest

    @property
    def head(self) -> Job | None:
        return self.view.head if self.view else None

    @property
    def alike(self) -> Past | None:
        """What two endpoints told alike of its assignment."""
        return self.past if self.past is not None and self.past.alike_at is not None else None

    def news(self, notes: tuple[Note, ...]) -> list[Note]:
        """Those that say something they did not say the last time; forgets what is over."""
        fresh = [note for note in notes if note.text not in self.said.get(note.name, ())]
        self.said = {}
        for note in notes:
            self.said[note.name] = (*self.said.get(note.name, ()), note.text)
        return fresh

    def remember_launch(self, view: LaunchView) -> None:
        """What is known of the last launch; the highest attempt that led to an instance stays."""
        self.launch = view
        if view.phase in (LaunchPhase.LAUNCHED, LaunchPhase.SPENT):
            known = self.attempts.get(view.generation, 0)
            self.attempts[view.generation] = max(known, view.attempt)


@dataclass(slots=True)
class Orders:
    """What the operator ordered, as far as it was read."""

    taken: Taken = field(default_factory=Taken)
    exits: set[JobId] = field(default_factory=set)
    exit_all_at: float | None = None
    paused: bool = False  # nothing is listed, every job stays
    resumed: OrderRecord | None = None  # by which a person last let offers be open again


@dataclass(slots=True)
class Memory:
    """All jobs that are tended, by id."""

    jobs: dict[JobId, JobMemory] = field(default_factory=dict)
    ended: dict[JobId, int] = field(default_factory=dict)  # the generation whose end was told
    orders: Orders = field(default_factory=Orders)
    terms: Terms | None = None  # that two endpoints told alike
    terms_told: tuple[Terms, ...] = ()  # that they told where they differ
    stake_is_for: int | None = None  # jobs, as two endpoints told alike
    owners: Owners = field(default_factory=Owners)
    cards: Cards = field(default_factory=Cards)
    pins: Pins = field(default_factory=dict)
    asks: dict[JobId, Ask] = field(default_factory=dict)  # what jobs were last accepted for

    def job(self, job: JobId) -> JobMemory:
        """The memory of a job, made when it is new."""
        known = self.jobs.get(job)
        if known is None:
            known = self.jobs[job] = JobMemory(job)
        return known

    def known(self, job: JobId) -> JobMemory:
        """The memory of a job, to look into: of one that is not tended, or no more, it is blank,
        and what an effect that ends late writes there is kept nowhere."""
        return self.jobs.get(job) or JobMemory(job)

    def facts(self, job: JobId, head: Job | None, now: float, *, drained: bool) -> Facts:
        """What journal and operator add to the job's view."""
        known, orders, owners = self.job(job), self.orders, self.owners
        generation = head.generation if head else 0
        return Facts(
            exit_ordered=drained or job in orders.exits,
            end_confirmed=known.end_confirmed,
            attempts=known.attempts,
            vetted=known.vetted,
            accepted=self.asks.get(job),
            proven=known.proven,
            reluctant=known.reluctant,
            owner_jobs=owners.others(head.user, job) if head else 0,
            owner_wasted=owners.wasted_today(head.user, now) if head else 0,
            gone_since=known.gone_since,
            asked=self.cards.asked(head.instance_type, head.assigned_at) if head else None,
            reports=tuple(one for one in known.reports if one.generation == generation),
            closed="paused" if orders.paused else "leaving" if orders.exit_all_at else "",
        )
