"""What will go wrong in one run, drawn from its seed before it begins.

A plan is a value: the run carries it out, and the invariants read from it what could have been
done in time. Seconds count from the start of the run.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Kind(StrEnum):
    CHAIN_DOWN = "chain endpoints silent"
    CHAIN_LAGS = "chain endpoint lags"
    CHAIN_EMPTY = "chain endpoint answers empty"
    CHAIN_LIES = "chain endpoint lies about jobs"
    EVENTS_LOST = "events lost"
    EVENTS_DOUBLED = "events doubled"
    WITNESS_DOWN = "second endpoint silent"
    REORG = "reorganisation"
    NO_BLOCKS = "chain halts"
    SEND_FAILS = "transactions not taken"
    SEND_REPLY_LOST = "transaction's reply lost"
    LAUNCH_THROTTLED = "launches throttled"
    LAUNCH_REPLY_LOST = "launch's reply lost"
    SOLD_OUT = "zones sold out"
    QUOTA = "quota refused"
    LIST_DOWN = "listing fails"
    LIST_EMPTY = "listing answers empty"
    TERMINATE_FAILS = "terminations fail"
    TERMINATE_REPLY_LOST = "termination's reply lost"
    S3_DOWN = "mailbox down"
    IMAGES_LOST = "buckets lose their images"
    GATEWAYS_DOWN = "gateways down or lying"
    GATEWAYS_STALL = "gateways stall"
    BLIND = "enclaves unreachable from here"
    CLOCK_JUMPS = "clock jumps"
    KILLED = "agent killed"
    JOURNAL_LOST = "agent killed, journal lost"
    DISK_FULL = "disk full"
    LIAR = "endpoint lies"  # of two, in one of the ways of `opinions.Lie`
    # In wire storms only.
    POOL_FORGETS = "pools forget transactions"
    RECEIPTS_HIDDEN = "receipts hidden"
    SEND_REFUSED = "transactions refused"
    FEES_RISE = "base fee rises"
    KILLED_SENDING = "agent killed as it sends"
    # What single machines suffer; not in the plan's list but in `fate`.
    SLOW_BOOT = "slow boot"
    NEVER_BOOTS = "host never boots"
    ROGUE = "enclave attests wrong"
    HOST_HANGS = "host hangs"
    ENCLAVE_DIES = "enclave dies"
    INSTANCE_DIES = "instance dies"


@dataclass(frozen=True, slots=True)
class Nature:
    """How a kind of trouble comes: how many a run, how long, and what it keeps the agent from.

    `starts`/`ends`: seconds after it that may still be lost for starting or ending a job (the
    agent's retry and look cadences); None: it keeps nobody from it.
    """

    most: int
    least_seconds: float
    most_seconds: float
    starts: float | None = 20.0
    ends: float | None = 30.0


NATURES: dict[Kind, Nature] = {
    Kind.CHAIN_DOWN: Nature(2, 5, 120),
    Kind.CHAIN_LAGS: Nature(2, 20, 200),
    Kind.CHAIN_EMPTY: Nature(2, 5, 200),
    Kind.CHAIN_LIES: Nature(2, 5, 200),
    Kind.EVENTS_LOST: Nature(1, 5, 60, starts=80, ends=90),  # made up for by the next relisting
    Kind.EVENTS_DOUBLED: Nature(1, 5, 200, starts=None, ends=None),
    Kind.WITNESS_DOWN: Nature(2, 5, 300, starts=None),
    Kind.REORG: Nature(4, 0, 0, starts=30, ends=30),
    Kind.NO_BLOCKS: Nature(1, 20, 150),
    Kind.SEND_FAILS: Nature(2, 5, 60),
    Kind.SEND_REPLY_LOST: Nature(3, 30, 60),
    Kind.LAUNCH_THROTTLED: Nature(2, 5, 60),
    Kind.LAUNCH_REPLY_LOST: Nature(3, 30, 60),
    Kind.SOLD_OUT: Nature(1, 20, 200),
    Kind.QUOTA: Nature(1, 20, 200),
    Kind.LIST_DOWN: Nature(2, 5, 120),
    Kind.LIST_EMPTY: Nature(2, 5, 100),
    Kind.TERMINATE_FAILS: Nature(2, 5, 120),
    Kind.TERMINATE_REPLY_LOST: Nature(2, 30, 60),
    Kind.S3_DOWN: Nature(2, 5, 120),
    Kind.IMAGES_LOST: Nature(2, 1, 5, starts=40, ends=None),  # told, staged anew, fetched
    Kind.GATEWAYS_DOWN: Nature(2, 5, 120),
    Kind.GATEWAYS_STALL: Nature(1, 20, 120),
    Kind.BLIND: Nature(1, 5, 200),
    Kind.CLOCK_JUMPS: Nature(1, 5, 300),
    Kind.KILLED: Nature(4, 1, 60, starts=45, ends=45),
    Kind.JOURNAL_LOST: Nature(2, 1, 60, starts=45, ends=45),
    Kind.DISK_FULL: Nature(1, 10, 120, starts=45, ends=45),
}

# Nobody is excused for a start that was missed, nor for an end that came too early. Jobs end late
# while endpoints disagree about them.
LIAR = Nature(4, 20, 600, starts=None, ends=40)
CALM_SECONDS = 60.0  # between two of these: what one hid is seen before the next
SECOND_VOICE = frozenset(
    {Kind.CHAIN_DOWN, Kind.CHAIN_LAGS, Kind.CHAIN_EMPTY, Kind.CHAIN_LIES, Kind.WITNESS_DOWN}
)
"""While the other endpoint fails, a liar is alone: no liar is drawn then."""

WIRE_NATURES: dict[Kind, Nature] = {
    Kind.POOL_FORGETS: Nature(4, 0, 0, starts=30, ends=30),
    Kind.RECEIPTS_HIDDEN: Nature(2, 20, 200, starts=None, ends=None),
    Kind.SEND_REFUSED: Nature(2, 5, 60),
    Kind.FEES_RISE: Nature(2, 20, 200),
    Kind.KILLED_SENDING: Nature(4, 60, 60, starts=45, ends=45),
}


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing that goes wrong from `since` until `until`; `size` is its kind's own number."""

    kind: Kind
    since: float
    until: float
    size: int = 0


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one machine. Ages are seconds from its launch; inf: never."""

    boot_factor: float = 1.0
    never_boots: bool = False
    rogue: bool = False
    hangs_at: float = float("inf")
    enclave_dies_at: float = float("inf")
    ends_at: float = float("inf")

    @property
    def bad_start(self) -> bool:
        """Whether a second machine has to make up for this one before the start."""
        first = min(self.hangs_at, self.enclave_dies_at, self.ends_at)
        return self.never_boots or self.rogue or self.boot_factor > 2 or first < 900


@dataclass(frozen=True)
class Plan:
    """Everything that a seed decides about one run's troubles."""

    seed: int
    troubles: tuple[Trouble, ...] = ()
    gentle: bool = False
    told_time: bool = False  # AWS's answers say when they were given: a wrong clock is no excuse
    spans: dict[str, list[tuple[float, float]]] = field(default_factory=dict, compare=False)

    def fate(self, job: int, generation: int, attempt: int) -> Fate:
        """The same machine meets the same fate, whenever it is launched.

        Only the first machine of an assignment can fail to come up: that is what a race of two
        is good for.
        """
        if self.gentle:
            return Fate()
        rng = random.Random(f"{self.seed}:fate:{job}:{generation}:{attempt}")
        draw, age = rng.random(), rng.uniform(30, 2000)
        if attempt == 1 and draw < 0.06:
            return (Fate(never_boots=True), Fate(rogue=True), Fate(boot_factor=5.0))[
                rng.randrange(3)
            ]
        if attempt == 1 and draw < 0.16:
            return (Fate(hangs_at=age), Fate(enclave_dies_at=age), Fate(ends_at=age))[
                rng.randrange(3)
            ]
        return Fate(boot_factor=rng.uniform(0.7, 1.5))

    def start_spans(self) -> list[tuple[float, float]]:
        """When a job can't be brought up further, for reasons that are not the agent's."""
        return self._spans("starts")

    def end_spans(self) -> list[tuple[float, float]]:
        """When a job can't be taken down further."""
        return self._spans("ends")

    def _spans(self, which: str) -> list[tuple[float, float]]:
        if which not in self.spans:
            self.spans[which] = list(union(self._with_tails(which)))
        return self.spans[which]

    def _with_tails(self, which: str) -> Iterator[tuple[float, float]]:
        for one in self.troubles:
            tail = getattr(_nature(one.kind), which)
            if tail is not None and not (self.told_time and one.kind is Kind.CLOCK_JUMPS):
                yield one.since, one.until + tail

    def forgets(self, since: float, until: float) -> bool:
        """Whether the journal is lost, or can't be written, shortly before or while it lasts."""
        kinds = (Kind.JOURNAL_LOST, Kind.DISK_FULL)
        spans = [(one.since, one.until) for one in self.troubles if one.kind in kinds]
        return covered(spans, since - CALM_SECONDS, until)[1] > 0

    def quiet_since(self, now: float) -> float:
        """Since when nothing keeps jobs from ending; `now` while something does."""
        since = 0.0
        for begins, ends in self.end_spans():
            if begins <= now:
                since = max(since, min(ends, now))
        return since


def _nature(kind: Kind) -> Nature:
    if kind is Kind.LIAR:
        return LIAR
    return NATURES[kind] if kind in NATURES else WIRE_NATURES[kind]


def union(spans: Iterable[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """The same time, as spans that do not overlap, in order."""
    begun: float | None = None
    until = 0.0
    for since, ends in sorted(spans):
        if begun is None:
            begun, until = since, ends
        elif since > until:
            yield begun, until
            begun, until = since, ends
        else:
            until = max(until, ends)
    if begun is not None:
        yield begun, until


def covered(spans: Sequence[tuple[float, float]], since: float, until: float) -> tuple[float, int]:
    """Seconds of [since, until) in `spans`, and how many of them touch it."""
    parts = [min(ends, until) - max(begins, since) for begins, ends in spans]
    held = [part for part in parts if part > 0]
    return sum(held), len(held)


ALONE = frozenset({Kind.CHAIN_EMPTY, Kind.CHAIN_LIES, Kind.WITNESS_DOWN})
"""Need a second endpoint: with one alone, who lies to it about a single job is believed."""


def draw(seed: int, *, length: float, witness: bool) -> Plan:
    """The plan of a seed: each kind comes with a chance of one half, then up to its most."""
    rng = random.Random(f"{seed}:troubles")
    found = [
        one
        for kind, nature in NATURES.items()
        if (witness or kind not in ALONE) and rng.random() < 0.5
        for one in _some(kind, nature, rng, length)
    ]
    found += _liars(seed, found, length) if witness else []
    told_time = random.Random(f"{seed}:time").random() < 0.5
    return Plan(seed, _in_order(found), told_time=told_time)


def _liars(seed: int, others: Sequence[Trouble], length: float) -> Iterator[Trouble]:
    """One at a time, of a source of chance of its own: the other troubles do not depend on it."""
    taken = [(one.since, one.until + CALM_SECONDS) for one in others if one.kind in SECOND_VOICE]
    for one in _some(Kind.LIAR, LIAR, random.Random(f"{seed}:liar"), length):
        if not covered(taken, one.since, one.until + CALM_SECONDS)[1]:
            taken.append((one.since, one.until + CALM_SECONDS))
            yield one


def draw_wire(seed: int, *, length: float, witness: bool) -> Plan:
    """The same plan, and what happens to transactions and their nodes besides."""
    rng, plan = random.Random(f"{seed}:wire"), draw(seed, length=length, witness=witness)
    found = [
        one
        for kind, nature in WIRE_NATURES.items()
        if rng.random() < 0.5
        for one in _some(kind, nature, rng, length)
    ]
    return replace(plan, troubles=_in_order([*plan.troubles, *found]))


def _in_order(troubles: Iterable[Trouble]) -> tuple[Trouble, ...]:
    return tuple(sorted(troubles, key=lambda one: (one.since, one.kind)))


def _some(kind: Kind, nature: Nature, rng: random.Random, length: float) -> Iterator[Trouble]:
    for _ in range(rng.randint(1, nature.most)):
        since = rng.uniform(5, length)
        seconds = rng.uniform(nature.least_seconds, nature.most_seconds)
        yield Trouble(kind, since, since + seconds, rng.randint(1, 10**6))
