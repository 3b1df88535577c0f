"""Which refusals of a configuration invite users to have this provider slash itself.

Where an exit outlasts a start, a refused job keeps its stake at risk until the exit passed: each
setting that refuses at the operator's will has its price then. `doctor` and `offers` say so.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.config.model import Config
from agent.markets.registry.terms import RegistryTerms
from agent.markets.token import Token
from commands.amounts import show_amount, show_span

LISTS = ("allow_owners", "deny_owners", "allow_images", "deny_images", "pass_by")
LIMITS = ("per_owner", "wasted_per_owner")


def inviting(config: Config) -> Iterator[str]:
    """The settings that refuse jobs at the operator's will."""
    yield from (f"jobs.{name}" for name in (*LISTS, *LIMITS) if getattr(config.jobs, name))


def invitation(config: Config, params: RegistryTerms, pond: Token) -> str:
    """What a job that such a setting refuses can cost with the market's cool-down; empty: nothing
    that an exit does not spare."""
    window, cool_down = params.job_bootstrapping, params.job_exit_cool_down
    names = list(inviting(config))
    if cool_down < window or not names:
        return ""
    return (
        f"with this cool-down ({show_span(cool_down)}, a start has {show_span(window)}) each job "
        f"refused by {', '.join(names)} can cost {show_amount(params.stake_per_job, pond)}"
    )
