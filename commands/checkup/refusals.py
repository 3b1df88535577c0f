"""What `doctor` says of refusals: where an exit outlasts a start, each may cost a stake."""

from __future__ import annotations

from agent.wiring.markets import abilities_of
from commands.amounts import show_span
from commands.checkup.patient import Finding, Patient, skipped
from commands.inviting import invitation


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
    text = invitation(patient.config, params, patient.terms.pond)
    if not text:
        return [Finding("refusals", "ok", "no setting refuses jobs that could be served")]
    return [Finding("refusals", "warn", text, "keep such lists short, or leave the setting empty")]
