"""When a job that runs is given up: it keeps dying, it only costs money, its signer ends.

Whoever stays can be slashed for each silence, whoever leaves for the cool-down alone.
"""

from __future__ import annotations

from agent.decide.job_view import JobView
from agent.decide.refusal import PolicyRules, still_costs
from agent.market.model import Job

DYING_INSTANCES = 3  # of one generation: two may be bad luck with machines
SIGNER_MARGIN_SECONDS = 3600  # so long before it must be, so that an exit can be mined in peace


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
