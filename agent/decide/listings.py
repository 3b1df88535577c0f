"""Offers follow what can be delivered. Pure: what is so, in; what to list or withdraw, out.

A listing that cannot be served costs a stake; one that is missing costs some income. So a type
without room is withdrawn soon and comes back late, and a gas budget bounds how often. Only what
the agent withdrew by itself does it restore: an offer that a person removed stays removed.
What a person orders is done whatever it costs in gas, but not listed while nothing of it fits.
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


BLIP_SECONDS = 60.0  # at least: two rounds of probes
CLOSED = frozenset({"draining", "paused"})  # why nothing is to be listed at all: people's orders


@dataclass(frozen=True, slots=True)
class OfferView:
    """One type. `listed` as the head shows it; `wanted` from the configuration.

    `full_since`/`open_since`: since when no further job, or at least one more, fits; one of them
    is None; `sure`: it is full for a reason that needs no waiting. `withdrawn`: why the agent
    took it off, which was the last change; empty: it did not. `ordered`: a person asks for what is
    wanted, listed or not. `rule`: why its rule wants that price; empty: the configuration says it.
    `blips`: how often the agent took it off within a day for what was no want of room (keys or
    launches that AWS refused, a region that was silent), if it is off for that; 0: it is not.
    `away_seconds`: how long the last of them lasted.
    """

    instance_type: str
    wanted: Price | None
    listed: Price | None
    more: int | None
    limited_by: str = ""
    full_since: float | None = None
    open_since: float | None = None
    sure: bool = False
    withdrawn: str = ""
    ordered: bool = False
    rule: str = ""
    blips: int = 0
    away_seconds: float = 0.0

    @property
    def agrees(self) -> bool:
        """Whether the chain shows what is wanted: at that price, or not at all."""
        return self.listed == self.wanted


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
    view: OfferView, now: float, rules: OfferRules, *, closed: str, spent: Spent
) -> Change | None:
    """What to do about one offer now. The next change is taken to cost what the dearest did.

    `closed` says why nothing is to be listed at all, or nothing.
    """
    if closed:
        return None if view.listed is None else Withdraw(view.instance_type, closed)
    if view.ordered:
        return _ordered(view, rules)
    beyond = spent.all_wei + spent.dearest_wei > rules.day_wei
    if beyond or view.wanted is None:
        return None
    if view.listed is not None:
        return _listed(view, view.wanted, now, rules)
    if view.withdrawn in CLOSED and not (rules.follow and not view.more):
        return Relist(view.instance_type, view.wanted, "offers are open again")
    if (
        view.withdrawn
        and rules.follow
        and _lasted(view.open_since, now, _restore_after(view, rules))
    ):
        return Relist(view.instance_type, view.wanted, "there is room again")
    return None


def _ordered(view: OfferView, rules: OfferRules) -> Change | None:
    """A person saw the gas and agreed to it, so no budget holds it up; want of room does."""
    if view.agrees:
        return None
    if view.wanted is None:
        return Withdraw(view.instance_type, "ordered")
    full = rules.follow and view.more is not None and view.more <= 0
    return None if full else Relist(view.instance_type, view.wanted, "ordered")


def _listed(view: OfferView, wanted: Price, now: float, rules: OfferRules) -> Change | None:
    lasted = _lasted(view.full_since, now, rules.withdraw_after_seconds)
    if rules.follow and view.full_since is not None and (view.sure or lasted):
        return Withdraw(view.instance_type, f"no further job fits: {view.limited_by}")
    if view.listed != wanted:
        return Relist(view.instance_type, wanted, view.rule or "the configured price changed")
    return None


def _restore_after(view: OfferView, rules: OfferRules) -> float:
    """Room comes and goes, and its return is waited out. What was AWS's or our own trouble is
    believed to be over once it is for as long as it lasted; twice as late each time it comes."""
    if not view.blips:
        return rules.restore_after_seconds
    wait = max(BLIP_SECONDS, view.away_seconds) * 2.0 ** min(view.blips - 1, 20)
    return min(rules.restore_after_seconds, wait)


def _lasted(since: float | None, now: float, seconds: float) -> bool:
    return since is not None and now - since >= seconds
