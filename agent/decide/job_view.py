"""Load: one consistent view of a job, as frozen values that `lifecycle.plan` takes.

What the chain says is read at one block, what AWS says comes from the last listing of the region,
what this process tried lately comes from its memory, and what a person ordered from the journal.
Only the first two decide; memory and journal save repetition and can be lost (rule 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache

from agent.market.model import BlockNumber, BlockRef, InstanceType, Job, JobId, Price
from agent.market.terms import DueKind, Terms
from agent.market.workload import Ask, Workload
from agent.ports import Account, Image
from cloud.model import EnclaveRoom, Instance, InstanceId, Region
from enclave.host.documents import Status
from faults import UsageFault

CALM = "running"  # the stage in which no second counts: such jobs are looked at many at a time


@dataclass(frozen=True, slots=True)
class Probe:
    """How the enclave of one instance answered this process. Times are unix seconds.

    `passed_run` is the run whose document passed every check; `failures` counts the answers
    missed in a row since then. `early`: the last one was right but for its time, which is still to
    come by this clock.
    """

    asked_at: float | None = None
    passed_at: float | None = None
    passed_run: str | None = None
    failures: int = 0
    refused: str | None = None
    early: bool = False
    restarted_at: float | None = None  # when this process last asked for a new run


@dataclass(frozen=True, slots=True)
class Host:
    """One instance of the job and what is known of it."""

    instance: Instance
    status: Status | None = None
    written_at: float | None = None
    probe: Probe = Probe()
    desired_run: str | None = None  # the run this process last wrote to its desired.json
    unhealthy_since: float | None = None  # since when EC2's status checks fail
    condemned: bool = False  # this process has asked EC2 to end it, maybe in vain
    ended_by_others: bool = False  # another process of this provider, or a person, asked for it
    # Counted look by look, so that a clock that jumps adds nothing to them.
    known_seconds: float = float("inf")  # for how long it has been listed
    quiet_seconds: float = float("inf")  # for how long its mailbox has been read without news

    @property
    def live(self) -> bool:
        return self.instance.live

    @property
    def generation(self) -> int:
        return self.instance.identity.generation

    @property
    def attempt(self) -> int:
        return self.instance.identity.attempt

    @property
    def run(self) -> str | None:
        """The run it is at: the newest known of what was asked for and what it says itself."""
        return self.desired_run or (self.status.run_id if self.status else None)

    @property
    def attested(self) -> bool:
        """Whether the present run proved itself to this process."""
        return self.probe.passed_run is not None and self.probe.passed_run == self.run


class ImagePhase(StrEnum):
    UNKNOWN = "unknown"
    FETCHING = "fetching"
    READY = "ready"
    FAILED = "failed"  # unavailable: try again at retry_at
    REFUSED = "refused"  # hostile or broken: never again
    RELEASED = "released"  # the job ended, and nothing of it is held


@dataclass(frozen=True, slots=True)
class ImageView:
    """How far this job's image is. `staged`: the regions whose bucket has it, and when that was
    seen last: it expires there, and somebody may take it away.

    `url` is what it was fetched from: after a reorganisation the same id can be another job.
    `failing_since`: when the first try in this row failed.
    """

    phase: ImagePhase = ImagePhase.UNKNOWN
    since: float = 0.0
    image: Image | None = None
    reason: str = ""
    retry_at: float = 0.0
    failing_since: float | None = None
    staged: Mapping[Region, float] = field(default_factory=dict)
    staging: bool = False
    url: str = field(default="", repr=False)  # its query may be a secret

    def is_of(self, url: str) -> bool:
        """Whether this says anything about the image at `url`."""
        return self.url in ("", url)


class LaunchPhase(StrEnum):
    ASKED = "asked"  # the intent is recorded; what came of it is not known
    LAUNCHED = "launched"
    NOWHERE = "nowhere"  # no zone had room
    LATER = "later"  # throttled or the reply was lost: the same order again
    BLOCKED = "blocked"  # our own set-up is in the way: the same order again, and loudly said
    SPENT = "spent"  # the attempt's token belongs to an instance that is gone
    REFUSED = "refused"  # this order can never work


@dataclass(frozen=True, slots=True)
class LaunchView:
    """The last launch of a job that is remembered."""

    generation: int
    attempt: int
    phase: LaunchPhase
    at: float
    reason: str = ""
    retry_at: float = 0.0
    instance: InstanceId | None = None


class TxPhase(StrEnum):
    SENT = "sent"
    MINED = "mined"
    LATER = "later"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class TxView:
    """What became of one transaction of this job, by its key."""

    phase: TxPhase
    at: float
    block: int = 0
    reason: str = ""
    retry_at: float = 0.0


class WitnessPhase(StrEnum):
    ABSENT = "absent"  # no second endpoint is configured
    SILENT = "silent"  # it did not answer, or is not asked yet
    SPOKE = "spoke"
    DIFFERS = "differs"  # endpoints tell different things: no patience makes that the same


@dataclass(frozen=True, slots=True)
class FinalView:
    """The job at the finalized block, read only when something irreversible depends on it."""

    block: BlockRef
    job: Job | None
    witness: WitnessPhase = WitnessPhase.SILENT
    witnessed: Job | None = None


@dataclass(frozen=True, slots=True)
class FaultReport:
    """One auditor's report of an assignment, heard `at` (unix seconds). `explained`: whether what
    was seen here then accounts for it; None: nobody has looked yet."""

    generation: int
    auditor: str
    at: float
    explained: bool | None = None

    def same(self, other: FaultReport) -> bool:
        """Whether it is the one vote that an auditor has on an assignment."""
        return (self.generation, self.auditor) == (other.generation, other.auditor)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the journal and the operator add. Without it the decisions are the same, but for
    what only a person can order: exits, confirmed terminations."""

    exit_ordered: bool = False
    end_confirmed: bool = False  # the operator confirmed the end that is asked for, or held
    attempts: Mapping[int, int] = field(default_factory=dict)  # generation -> highest attempt
    vetted: int | None = None  # generation that the policy accepted
    accepted: Ask | None = None  # what it asked for when something was last bought or ordered
    proven: int | None = None  # generation of which an enclave has proven itself
    owner_jobs: int = 0  # other jobs of the same user that are tended
    owner_wasted: int = 0  # launches for this user that came to nothing in the last day
    reluctant: int | None = None  # generation that is served though it only costs money
    gone_since: float | None = None  # since when this process has not seen it as ours
    reports: tuple[FaultReport, ...] = ()  # of the present assignment, by auditors
    asked: Price | None = None  # the least of our cards when it was matched; None: not known
    closed: str = ""  # why no new job is taken: paused, leaving; empty: they are


@dataclass(frozen=True, slots=True)
class Observed:
    """When this process last saw the region: a missing thing counts only if it was looked for.

    `since` is when it first did, and `looked_seconds` for how long it has, counted look by look:
    one listing alone can be empty by mistake, and a clock that jumps makes no look longer.
    """

    listed_at: float | None = None
    reports_at: float | None = None
    since: float | None = None
    looked_seconds: float = 0.0


@dataclass(frozen=True)
class JobView:
    """Everything one decision may use. `head` is None when the head block has no such job."""

    id: JobId
    account: Account
    terms: Terms
    head_block: BlockRef
    head: Job | None
    final: FinalView | None = None
    hosts: tuple[Host, ...] = ()
    observed: Observed = Observed()
    image: ImageView = ImageView()
    launch: LaunchView | None = None
    transactions: Mapping[str, TxView] = field(default_factory=dict)
    room: EnclaveRoom | None = None
    room_refused: str = ""
    facts: Facts = Facts()
    doubt: bool = False  # a large part of all jobs looks dead: the observer may be
    # What endpoints say of each other's word (`decide.belief`); one alone has nobody to object.
    agreed: bool = True  # two tell exactly `head` and `params`
    alone: bool = False  # one endpoint is configured: nobody else can tell anything
    told_at: float = float("inf")  # the time of the block at which they did
    head_as_of: BlockNumber | None = None  # the block that tells `head`, where it may be older
    hold: bool = False  # what the id stands for is being asked
    disputed: bool = False  # they differ about the job
    other: Job | None = None  # the story that is not believed

    @property
    def as_of(self) -> BlockNumber:
        """The number of the block as of which `head` is told: what was mined after it may not show
        there, whatever the newest block is."""
        return self.head_block.number if self.head_as_of is None else self.head_as_of

    @cached_property
    def ours(self) -> bool:
        """Whether the head says that this provider has to serve it."""
        job = self.head
        return job is not None and job.provider == self.account.provider and not job.is_stopped

    @cached_property
    def instance_type(self) -> InstanceType | None:
        """None: the user wrote something that is no `<region>/<ec2 type>`."""
        return parse_instance_type(self.head.instance_type) if self.head else None

    @cached_property
    def workload(self) -> Workload | None:
        """What to run, and in what: as the market says, else all the room that the type gives an
        enclave. None while that is not known."""
        job, room = self.head, self.room
        if job is None or job.workload is not None or room is None:
            return job.workload if job else None
        return Workload(job.enclave_url, room.memory_mib, room.cpu_count)

    @cached_property
    def deadline(self) -> int:
        """The second from which it is too late to be up; 0 without a job."""
        return self.terms.due(self.head).at if self.head else 0

    @cached_property
    def slash_point(self) -> bool:
        """Whether a stake is lost at the deadline; else it only orders the work."""
        return self.head is not None and self.terms.due(self.head).kind is DueKind.SLASH

    @cached_property
    def up(self) -> bool:
        """Whether the job has come up: by the chain's word where starts are reported, else by an
        enclave that has proven itself, or one that this process found running."""
        job = self.head
        if job is None or self.terms.abilities.reports_start:
            return job is not None and job.is_started
        return self.facts.proven == job.generation or any(map(self._found_up, self.live))

    @cached_property
    def served(self) -> bool:
        """Whether it was ever up here, as far as is known; a host that is gone tells it, too."""
        return self.up or any(map(self._found_up, self.hosts))

    def _found_up(self, host: Host) -> bool:
        since = self.observed.since
        ran = host.status is not None and "running" in host.status.phases
        return host.attested or (ran and since is not None and host.instance.launched_at < since)

    def missed(self, now: float) -> bool:
        """Whether a stake can be lost: the slash point passed, and the job is not up."""
        return self.slash_point and not self.up and now >= self.deadline

    @cached_property
    def live(self) -> tuple[Host, ...]:
        """Live hosts of the present generation, first attempt first."""
        return tuple(h for h in self.hosts if h.live and self._present(h))

    @cached_property
    def strays(self) -> tuple[Host, ...]:
        """Live hosts of another generation than the head's."""
        return tuple(h for h in self.hosts if h.live and not self._present(h))

    def _present(self, host: Host) -> bool:
        return self.head is None or host.generation == self.head.generation


@lru_cache(maxsize=4096)
def parse_instance_type(text: str) -> InstanceType | None:
    """None for a text that is not of the agent's convention."""
    try:
        return InstanceType.parse(text)
    except UsageFault:
        return None
