"""Offers follow what can be delivered. Pure: what is so, in; what to list or withdraw, out.

A listing that cannot be served costs a stake; one that is missing costs some income. So a type
without room is withdrawn soon and comes back late, and a gas budget bounds how often. Only what
the agent withdrew by itself does it restore: an offer that a person removed stays removed.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.market.model import Price


@dataclass(frozen=True, slots=True)
class OfferRules:
    """`follow` off: the agent touches no offer but to re-price, and to drain.

    `day_wei` bounds the gas of all changes within 24 hours; a drain is not held up by it.
    """

    follow: bool = True
    withdraw_after_seconds: float = 60.0
    restore_after_seconds: float = 600.0
    probe_seconds: float = 30.0
    day_wei: int = 5 * 10**16


@dataclass(frozen=True, slots=True)
class OfferView:
    """One type. `listed` as the head shows it; `wanted` from the configuration.

    `full_since`/`open_since`: since when no further job, or at least one more, fits; one of them
    is None. `withdrawn`: the last change was the agent's own withdrawal.
    """

    instance_type: str
    wanted: Price | None
    listed: Price | None
    more: int | None
    limited_by: str = ""
    full_since: float | None = None
    open_since: float | None = None
    withdrawn: bool = False


@dataclass(frozen=True, slots=True)
class Relist:
    """List a type, or list it at another price."""

    instance_type: str
    price: Price
    why: str


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Take a type off the market; running jobs stay."""

    instance_type: str
    why: str


Change = Relist | Withdraw


@dataclass(frozen=True, slots=True)
class Spent:
    """Gas of the changes within 24 hours, wei: all of them together, and the dearest."""

    all_wei: int = 0
    dearest_wei: int = 0


def decide(
    view: OfferView, now: float, rules: OfferRules, *, draining: bool, spent: Spent
) -> Change | None:
    """What to do about one offer now. The next change is taken to cost what the dearest did."""
    if draining:
        leaving = view.listed is not None
        return Withdraw(view.instance_type, "draining") if leaving else None
    beyond = spent.all_wei + spent.dearest_wei > rules.day_wei
    if beyond or view.wanted is None:
        return None
    if view.listed is not None:
        return _listed(view, view.wanted, now, rules)
    if (
        view.withdrawn
        and rules.follow
        and _lasted(view.open_since, now, rules.restore_after_seconds)
    ):
        return Relist(view.instance_type, view.wanted, "there is room again")
    return None


def _listed(view: OfferView, wanted: Price, now: float, rules: OfferRules) -> Change | None:
    if rules.follow and _lasted(view.full_since, now, rules.withdraw_after_seconds):
        return Withdraw(view.instance_type, f"no further job fits: {view.limited_by}")
    if view.listed != wanted:
        return Relist(view.instance_type, wanted, "the configured price changed")
    return None


def _lasted(since: float | None, now: float, seconds: float) -> bool:
    return since is not None and now - since >= seconds
