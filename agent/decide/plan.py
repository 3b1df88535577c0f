"""What a decision says: actions, when to look again, and what is worth telling.

Actions are values. Each names one effect; `agent.apply.actions` has the only table of how they are
carried out, and the crash matrix of the tests is made from that table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

from agent.market.model import JobId
from agent.ports import Image, Order
from cloud.model import Identity, Instance, InstanceId, LaunchOrder, Region
from enclave.host.documents import Desired

SERVED_AT_A_LOSS = "job.served_at_a_loss"  # the note of a job that leaving would cost more
END_NOT_FINAL = "job.end_not_final"  # the note of an end that is still waited for
DISAGREE = "endpoints.disagree"  # the note of a job of which endpoints tell different things


@dataclass(frozen=True, slots=True)
class FetchImage:
    """Have the image verified, measured and on disk before `deadline`."""

    job: JobId
    url: str = field(repr=False)  # its query may be a secret
    deadline: float


@dataclass(frozen=True, slots=True)
class StageImage:
    """Have the image in the region's bucket; `missed`: a host says that it is not there."""

    job: JobId
    region: Region
    image: Image
    missed: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """Buy an instance; `race` says that another of this generation is still coming up."""

    job: JobId
    order: LaunchOrder
    race: bool = False


@dataclass(frozen=True, slots=True)
class WriteDesired:
    """Tell a host what to run; another `run_id` than before starts the enclave anew."""

    job: JobId
    region: Region
    instance: InstanceId
    desired: Desired
    params: bytes = field(default=b"", repr=False)
    """The init params that `desired` names; a user's, maybe secret."""


@dataclass(frozen=True, slots=True)
class Attest:
    """Ask the enclave to prove itself, the way an auditor would."""

    job: JobId
    instance: Instance
    image: Image
    run_id: str
    init_pcr: str | None = None
    """PCR16 (hex) that the job's init params lead to; None: not known."""
    debug: bool = False
    """The job asks for debug mode: PCR0 to 2 are zeros, and the instance alone is proven."""


@dataclass(frozen=True, slots=True)
class ReportStarted:
    job: JobId
    order: Order


@dataclass(frozen=True, slots=True)
class Settle:
    job: JobId
    order: Order


@dataclass(frozen=True, slots=True)
class RequestExit:
    """Leave the job. `by_chain`: something is served for it, and what asks for this is the chain as
    one endpoint alone tells it, so the breaker has its say. `confirmed`: a person wants it."""

    job: JobId
    order: Order
    by_chain: bool = False
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class FinalizeExit:
    job: JobId
    order: Order


@dataclass(frozen=True, slots=True)
class Terminate:
    """End these instances. `by_chain`: the chain asked for it, so the breaker has its say.

    `confirmed`: a second endpoint or the operator confirmed it, which a mass needs. `alone`: of two
    endpoints one alone tells it, and the other has been silent for long: a person's to confirm.
    """

    job: JobId
    region: Region
    instances: tuple[InstanceId, ...]
    reason: str
    by_chain: bool = False
    confirmed: bool = False
    alone: bool = False


@dataclass(frozen=True, slots=True)
class ForgetHost:
    """Delete what the mailbox holds of an instance that is gone."""

    job: JobId
    region: Region
    instance: InstanceId


@dataclass(frozen=True, slots=True)
class ReleaseImage:
    """The job needs its image no more: not on disk, and in no bucket that no other job uses."""

    job: JobId


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing of the job is left anywhere: say so in the journal and stop looking."""

    job: JobId
    outcome: str


Action = (
    FetchImage
    | StageImage
    | Launch
    | WriteDesired
    | Attest
    | ReportStarted
    | Settle
    | RequestExit
    | FinalizeExit
    | Terminate
    | ForgetHost
    | ReleaseImage
    | Finish
)


class Level(IntEnum):
    """How loudly to say it: `logging`'s numbers."""

    INFO = 20
    WARNING = 30
    ERROR = 40


@dataclass(frozen=True, slots=True)
class Note:
    """Something to tell: logged and journaled when it is new for the job, not each time."""

    name: str
    text: str = ""
    level: Level = Level.INFO


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions of one decision. `next_look_at` (unix seconds) is when time alone changes it.

    `stage` is one word for people; `deadline` is the slash point while there is one.
    """

    stage: str
    actions: tuple[Action, ...] = ()
    next_look_at: float | None = None
    notes: tuple[Note, ...] = ()
    deadline: float | None = None
    asks: bool = False

    @property
    def buys(self) -> Identity | None:
        """What it has launched, if anything: a job buys one instance at a time."""
        wanted = (one.order.identity for one in self.actions if isinstance(one, Launch))
        return next(wanted, None)

    @property
    def reluctant(self) -> bool:
        """Whether the job is brought up though it only costs money."""
        return any(note.name == SERVED_AT_A_LOSS for note in self.notes)

    @property
    def asks_for_end(self) -> bool:
        """Whether the chain asks for the end of instances, final or not yet."""
        ends = any(isinstance(action, Terminate) and action.by_chain for action in self.actions)
        return ends or any(note.name == END_NOT_FINAL for note in self.notes)


@dataclass(slots=True)
class Draft:
    """Collects a plan while it is made; `done` freezes it."""

    stage: str
    deadline: float | None = None
    actions: list[Action] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    asks: bool = False

    def do(self, *actions: Action) -> None:
        self.actions.extend(actions)

    def look_at(self, *times: float | None) -> None:
        """Look again then at the latest; None means never."""
        self.looks.extend(when for when in times if when is not None)

    def note(self, name: str, text: str = "", level: Level = Level.INFO) -> None:
        self.notes.append(Note(name, text, level))

    def done(self) -> Plan:
        return Plan(
            stage=self.stage,
            actions=tuple(self.actions),
            next_look_at=min(self.looks, default=None),
            notes=tuple(self.notes),
            deadline=self.deadline,
            asks=self.asks,
        )
