"""What refusing a job costs against serving it.

An exit takes its cool-down, in which the provider serves and can be slashed. Where that ends after
the slash point, a refusal is the slash: anybody could take a stake for a deposit of one unit. So
what only costs money to serve is served, and left once it is up; what can't or must not be served
is refused, and said with its price.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.decide.job_view import JobView
from agent.decide.plan import SERVED_AT_A_LOSS, Draft, Level
from agent.decide.refusal import Refusal, Weight, weight_of


class Way(StrEnum):
    """What to do with a job that is not wanted."""

    LEAVE = "leave"  # the exit passes before anything can be lost
    SERVE = "serve"  # leaving would cost more than serving
    PAY = "pay"  # it can't or must not be served, and leaving may come too late


@dataclass(frozen=True, slots=True)
class Exit:
    """An exit that would be asked for now: when it ends the job, and the slash point it races."""

    ends_at: int
    slash_point: int

    @property
    def in_time(self) -> bool:
        """From `ends_at` on no fault counts; at the slash point one does."""
        return self.ends_at <= self.slash_point


def exit_now(view: JobView, now: float, mined_seconds: float) -> Exit | None:
    """What an exit that takes `mined_seconds` to be mined would come to; None where nothing can be
    lost by it: no stake, no exit, no slash point, or one that is requested already."""
    job, terms = view.head, view.terms
    if job is None or job.exit_requested_at or not view.slash_point or not terms.at_risk(job):
        return None
    ends_at = terms.leaves_at(job, int(max(now, view.head_block.timestamp) + mined_seconds))
    return None if ends_at is None else Exit(ends_at, view.deadline)


def way_out(leaving: Exit | None, refusals: Sequence[Refusal]) -> Way:
    """Leave where that is in time; else serve what money alone speaks against."""
    if leaving is None or leaving.in_time:
        return Way.LEAVE
    costs = all(weight_of(refusal.rule) is Weight.COSTS for refusal in refusals)
    return Way.SERVE if costs else Way.PAY


def say_loss(leaving: Exit, refusals: Sequence[Refusal], draft: Draft) -> None:
    """Why a job is served that only costs money."""
    why = "; ".join(f"{one.rule}: {one.text}" for one in refusals)
    late = leaving.ends_at - leaving.slash_point
    text = f"{why}; leaving would pass {late} s after its slash point, so it is served until then"
    draft.note(SERVED_AT_A_LOSS, text, Level.WARNING)


def say_price(leaving: Exit, draft: Draft) -> None:
    """What a refusal may cost, where leaving comes too late."""
    late = leaving.ends_at - leaving.slash_point
    text = f"its stake can be slashed: leaving passes {late} s after the slash point"
    draft.note("job.refused_at_a_price", text, Level.ERROR)
