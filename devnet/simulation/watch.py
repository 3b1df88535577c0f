"""Who watches a storm: what is heard of machines on any market, and how a violation is said.

Each market's invariants build on it (`invariants`, `marketv1.invariants`). Each check looks at the
truth of the models, never at what the agent believes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from agent.ports import Image
from cloud.model import InstanceId
from devnet.simulation.blocks import Block, BlockChain
from devnet.simulation.loop import START
from devnet.simulation.machine import NEVER, Machine
from devnet.simulation.storm_cloud import StormCloud
from devnet.simulation.storm_troubles import Plan

# Invariants, by the names that runs print.
ONE = "at most one instance an attempt, beyond a declared race"
STRANGER = "no instance for a job that is not ours, after finality and grace"
UNPROVEN = "no reportStarted without a matching attestation"
EARLY = "no termination before finality"
TWICE = "no identical transaction twice"
MISSED = "what could be started in time is started in time"
DROPPED = "what is started is kept answering"
GIVEN_UP = "no job is left that could be served"
LEFT = "at the end nothing is left"
MONEY = "money is exact"
BROKEN = "the agent runs"
BOUGHT = "nothing is bought for what can't be served"
UNSERVED = "no paid second is left unserved without a reason"
ASKED_FOR = "what a host is told to fetch is in its bucket"
NAMES = (
    ONE, STRANGER, UNPROVEN, EARLY, TWICE, MISSED, DROPPED, GIVEN_UP, LEFT, MONEY, BROKEN, BOUGHT,
    UNSERVED, ASKED_FOR,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Violation:
    """Which invariant, when (second of the run), and what was seen."""

    at: float
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.at:8.1f} s  {self.name}: {self.text}"


@dataclass(frozen=True, slots=True)
class Allowances:
    """Seconds that the agent may take, beyond what the world takes.

    `react`: from a fact to the act on it, all stages of a start together; `spare`: to notice that
    a machine does not come up and have another; `grace`: from final to terminated; `on_its_way`:
    from a block that was read to the transaction that was sent for it; `least_start`: in less no
    machine comes up, so that a job without one is as good as missed.
    """

    react: float = 30.0
    spare: float = 170.0
    grace: float = 150.0
    on_its_way: float = 1.0
    least_start: float = 15.0


@dataclass
class Watch:
    """Hears of every event; `found` are the violations so far, `judged` counts the decided."""

    chain: BlockChain
    cloud: StormCloud
    plan: Plan
    image_seconds: float
    allow: Allowances = field(default_factory=Allowances)
    clock_off: Callable[[], bool] = lambda: False
    found: list[Violation] = field(default_factory=list)
    judged: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._proven: dict[str, set[str]] = {}  # instance -> digests it proved
        self._races: set[tuple[int, int, int]] = set()
        self._told: set[tuple[str, object]] = set()
        self._strange: dict[str, float] = {}
        self._undone: list[tuple[float, Any]] = []

    @property
    def now(self) -> float:
        return self.chain.clock.now() - START

    def violated(self, name: str, text: str, once: object = None) -> None:
        """Say it; with `once`, only the first time for that thing."""
        if once is not None and (name, once) in self._told:
            return
        self._told.add((name, once))
        self.found.append(Violation(self.now, name, text))

    # Events of the cloud.

    def declared(self, job: int, generation: int, attempt: int, *, race: bool) -> None:
        """The agent said, before the call, whether this launch races another instance."""
        if race:
            self._races.add((job, generation, attempt))

    def launched(self, machine: Machine) -> None:
        identity = machine.order.identity
        who = (identity.job, identity.generation, identity.attempt)
        others = [
            one
            for one in self.cloud.of_job(identity.job)
            if one is not machine
            and one.ends_at == NEVER
            and one.order.identity.generation == identity.generation
        ]
        if any(one.order.identity.attempt == identity.attempt for one in others):
            self.violated(ONE, f"job {who[0]} has two of attempt {who[2]}")
        elif len(others) > 1:
            self.violated(ONE, f"job {who[0]} has {len(others) + 1} instances")
        elif others and who not in self._races:
            self.violated(ONE, f"job {who[0]} has a second instance that is no declared race")

    def attested(self, machine: Machine, image: Image) -> None:
        self._proven.setdefault(machine.id, set()).add(image.sha256)

    def _spare(self, machine: Machine) -> bool:
        """Another machine of the same assignment has proven itself and lives."""
        who = machine.order.identity
        return any(
            one is not machine
            and one.ends_at == NEVER
            and one.order.identity.generation == who.generation
            and one.id in self._proven
            for one in self.cloud.of_job(who.job)
        )

    def ending(self, machine: Machine) -> None:
        """The agent terminates a live machine: somebody must have made that right."""
        if self._may_end(machine):
            return
        if self.clock_off():
            # How long a host took to boot can't be said by a clock that is minutes off.
            self.judged["instances ended by a wrong clock"] += 1
        else:
            who = machine.order.identity
            text = f"{machine.id[-4:]} of job {who.job}, generation {who.generation}, still serves"
            self.violated(EARLY, text)

    def _may_end(self, machine: Machine) -> bool:
        """Whether somebody made it right that the agent ends this live machine."""
        raise NotImplementedError

    def _needless(self, machine: Machine, block: Block) -> bool:
        """Whether, as of this block, the machine serves nothing that is this provider's."""
        raise NotImplementedError

    def _look_for_strangers(self) -> None:
        final = self.chain.final
        quiet = self.plan.quiet_since(self.now)
        for machine in self.cloud.live_machines():
            if not self._needless(machine, final):
                self._strange.pop(machine.id, None)
                continue
            since = max(self._strange.setdefault(machine.id, self.now), quiet)
            if self.now - since > self.allow.grace:
                text = f"{machine.id[-4:]} of job {machine.order.identity.job}: {since:.0f} s"
                self.violated(STRANGER, text, machine.id)

    # Events of the chain.

    def undone(self, block: Block) -> None:
        """A fork took this block off the chain."""
        self._undone.append((self.now, block.state))

    def undone_lately(self) -> list[Any]:
        """The states that a fork took back while a call was on its way."""
        return [state for at, state in self._undone if self.now - at <= self.allow.on_its_way]

    def journal_lost(self) -> None:
        """What was sent is forgotten with the file: the same may be sent again."""

    def block(self, block: Block) -> None:
        """After each block."""

    # What waits for a person, and the end.

    def needless(self, machine: Machine) -> bool:
        """What the finalized block, looked up by a person, says."""
        return self._needless(machine, self.chain.final)

    def mail_left(self, *, lives: int) -> list[InstanceId]:
        """Mailboxes that the agent should have emptied.

        What a restarted agent can't see is left to the buckets' expiry: orders for a host that
        never said a word, and an image that was staged by a life before.
        """
        mail = self.cloud.mail
        return list(mail) if lives == 1 else [name for name in mail if self._has_spoken(name)]

    def _has_spoken(self, name: InstanceId) -> bool:
        machine = self.cloud.machines[name]
        return machine.status(self.chain.clock.now()) is not None

    def finish(self, *, remembered: int, lives: int) -> None:
        """What is left when a run is over."""
        raise NotImplementedError
