"""Against mass termination: a wrong answer from a node must not end everything at once.

Ends that the chain asks for are counted over a window: terminations, and with one endpoint exits of
jobs for which something runs, which can't be taken back either. While they concern more than a
share of all jobs that are served, those that no second endpoint and no operator has confirmed are
held. An exit of a job for which nothing runs yet is not: to hold it could cost the stake that it
saves, and a lie costs no more than that job. What one of two endpoints alone tells while the other
is silent is held however few it is: two are configured so that no single word ends anything.

Pure: the state is a value, and the tick passes it along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.decide.plan import RequestExit, Terminate
from agent.market.model import JobId

End = Terminate | RequestExit


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """More ends than `share` of all jobs within `window_seconds` are a mass; `min_jobs` never."""

    share: float = 0.3
    window_seconds: float = 600.0
    min_jobs: int = 3


@dataclass(frozen=True, slots=True)
class BreakerState:
    """When each job's end was first asked for, within the window; and what is held now."""

    asked: Mapping[JobId, float] = field(default_factory=dict)
    held: frozenset[JobId] = frozenset()


@dataclass(frozen=True, slots=True)
class Ruling:
    """What may go on and what is held; the state for the next time."""

    allowed: tuple[End, ...]
    held: tuple[End, ...]
    state: BreakerState


@dataclass(frozen=True, slots=True)
class Asked:
    """One tick: the jobs that were looked at, which ends are wanted, how many jobs have
    instances."""

    looked_at: frozenset[JobId]
    ends: Sequence[End]
    served: int

    @property
    def by_chain(self) -> frozenset[JobId]:
        return frozenset(action.job for action in self.ends if action.by_chain)


def judge(asked: Asked, state: BreakerState, now: float, rules: BreakerRules) -> Ruling:
    """Rule on the ends of one tick.

    A held one stays counted while it is asked for, however long that is, so that a lie
    that lasts longer than the window does not pass in the end.
    """
    by_chain = asked.by_chain
    waiting = (state.held - asked.looked_at) | (state.held & by_chain)
    recent = {
        job: since
        for job, since in state.asked.items()
        if now - since < rules.window_seconds or job in waiting
    }
    counted = {**dict.fromkeys(by_chain, now), **recent}
    gone = len(counted.keys() - by_chain - waiting)
    mass = len(counted) >= rules.min_jobs and len(counted) > rules.share * (asked.served + gone)
    held = tuple(end for end in asked.ends if _is_held(end, mass=mass))
    allowed = tuple(a for a in asked.ends if a not in held)
    still = (waiting - by_chain) | {action.job for action in held}
    return Ruling(allowed, held, BreakerState(counted, frozenset(still)))


def _is_held(end: End, *, mass: bool) -> bool:
    alone = isinstance(end, Terminate) and end.alone
    return (mass or alone) and end.by_chain and not end.confirmed
