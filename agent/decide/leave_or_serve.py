"""What leaving a job costs against serving it: before a refusal, and when it keeps dying.

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
from agent.decide.refusal import PolicyRules, Refusal, Weight, still_costs, weight_of
from agent.market.model import Job

DYING_INSTANCES = 3  # of one generation: two may be bad luck with machines
SIGNER_MARGIN_SECONDS = 3600  # so long before it must be, so that an exit can be mined in peace


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


def worth_leaving(view: JobView, job: Job, next_at: float, now: float) -> str:
    """Why a job whose instances keep dying is left; empty: it is kept.

    Staying, it is silent until the next instance comes up at `next_at`, and again each time that
    one dies too: auditors may slash each silence. Leaving, that lasts no longer than the cool-down.
    So it is left when the next silence alone is longer than the cool-down, or when instances die
    more often than a cool-down is long; after as many as no chance explains.
    """
    ends_at = view.terms.leaves_at(job, int(now))
    count = max(view.facts.attempts.get(job.generation, 0), len(view.live))
    if ends_at is None or count < DYING_INSTANCES:
        return ""
    cool_down, wait = ends_at - now, next_at - now
    lives = (now - (job.started_at or job.assigned_at)) / count
    if wait > cool_down:
        when = f"the next may come in {wait:.0f} s"
        return f"{count} instances of it died; {when}, leaving takes {cool_down:.0f} s"
    if count > DYING_INSTANCES and lives < cool_down:
        often = f"one every {lives:.0f} s"
        return f"{count} instances of it died, {often}; leaving takes {cool_down:.0f} s"
    return ""


def unwanted(view: JobView, job: Job, now: float, rules: PolicyRules) -> str:
    """Why a job that runs is left by this provider's own wish; empty: it is kept."""
    end, ends_at = view.terms.ending(job), view.terms.leaves_at(job, int(now))
    if end is not None and ends_at is not None and end.at <= ends_at:
        return ""  # it ends by itself first
    if view.facts.reluctant == job.generation:
        costs = still_costs(view, rules)
        if costs:
            return f"it is up, and only costs money: {costs[0].text}"
    return _signer_ends(view, job, now)


def _signer_ends(view: JobView, job: Job, now: float) -> str:
    """nitro-cli starts nothing of an expired signer: from then on no restart mends anything."""
    signer = view.image.image.signer if view.image.image else None
    if signer is None or not view.terms.at_risk(job):
        return ""
    ends_at = view.terms.leaves_at(job, int(now) + SIGNER_MARGIN_SECONDS)
    if ends_at is None or ends_at < signer.not_after:
        return ""
    return "its image's signing certificate ends: after that nothing starts the enclave anew"


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
