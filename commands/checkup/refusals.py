"""What `doctor` says of refusals: where an exit outlasts a start, each may cost a stake."""

from __future__ import annotations

from collections.abc import Iterator

from agent.config.model import Config
from agent.wiring.markets import abilities_of
from commands.amounts import show_amount, show_span
from commands.checkup.patient import Finding, Patient, skipped


def inviting(config: Config) -> Iterator[str]:
    """The settings that refuse jobs at the operator's will."""
    jobs = config.jobs
    lists = ("allow_owners", "deny_owners", "allow_images", "deny_images")
    limits = ("per_owner", "wasted_per_owner")
    yield from (f"jobs.{name}" for name in (*lists, *limits) if getattr(jobs, name))


async def refusals(patient: Patient) -> list[Finding]:
    """Which refusals of this configuration may be slashed, and for how much."""
    if not abilities_of(patient.config).slashes:
        return [skipped("refusals", "no refusal costs a stake on this market")]
    if patient.terms is None:
        return [skipped("refusals", "the chain cannot be read")]
    params = patient.terms.params
    window, cool_down = params.job_bootstrapping, params.job_exit_cool_down
    if cool_down < window:
        return [Finding("refusals", "ok", f"an exit passes in {show_span(cool_down)}, in time")]
    names = list(inviting(patient.config))
    if not names:
        return [Finding("refusals", "ok", "no setting refuses jobs that could be served")]
    stake = show_amount(params.stake_per_job, patient.terms.pond)
    text = (
        f"with this cool-down ({show_span(cool_down)}, a start has {show_span(window)}) each job "
        f"refused by {', '.join(names)} can cost {stake}"
    )
    return [Finding("refusals", "warn", text, "keep such lists short, or leave the setting empty")]
