"""What a type is to cost by its operator's rule. Pure: what is so, in; the next price and why, out.

A rule names a price that is asked as long as nobody else asks less (`top`, a number or so many
times the cost), how far to go below the cheapest other (`undercut`), and a floor under all of it.
Down it goes at once, up only when the reason has lasted: two providers with one rule would else
chase each other up and down. The floor is never waited for; all else keeps to the largest move of
a day, to the least that is worth a transaction, and to a budget of gas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from agent.decide.listings import Spent
from agent.market.model import Price

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Amount:
    """A price as the operator says it: `fixed`, or so many `times` what the type costs."""

    fixed: Price | None = None
    times: Fraction | None = None

    def of(self, cost: Price | None) -> Price | None:
        """The price, rounded up; None: it needs a cost, and that is not known."""
        if self.times is None:
            return self.fixed
        if cost is None:
            return None
        return _bounded(-(-cost.raw * self.times.numerator // self.times.denominator))


@dataclass(frozen=True, slots=True)
class PriceRule:
    """One type's rule; `text` in the operator's words. `undercut` 0: others are not looked at."""

    text: str
    top: Amount
    floor: Amount
    undercut: Fraction = Fraction(0)


@dataclass(frozen=True, slots=True)
class PricingRules:
    """What holds for all rules. Shares are parts of one; `day_wei` is gas within 24 hours."""

    day_share: Fraction = Fraction(1, 10)
    least_share: Fraction = Fraction(1, 100)
    raise_after_seconds: float = 6 * 3600.0
    day_wei: int = 10**16


@dataclass(frozen=True, slots=True)
class Move:
    """A price that a rule changed, at that unix second."""

    at: float
    was: Price
    to: Price


@dataclass(frozen=True, slots=True)
class PriceView:
    """One type. `asked` is the price that the agent goes by now; None: it has none yet.

    `other` is the cheapest that another provider asks who could take a job; `dearer_since` since
    when the rule has pointed above what is asked.
    """

    rule: PriceRule
    asked: Price | None
    cost: Price | None = None
    other: Price | None = None
    moves: Sequence[Move] = field(default=())
    dearer_since: float | None = None

    @property
    def floor(self) -> Price | None:
        """Below which nothing is asked; None: not known."""
        return self.rule.floor.of(self.cost)

    @property
    def goal(self) -> Price | None:
        """Where the rule points, whatever holds it back; None: a cost is missing."""
        top, floor = self.rule.top.of(self.cost), self.floor
        if top is None or floor is None:
            return None
        if self.rule.undercut and self.other is not None:
            top = min(top, _below(self.other, self.rule.undercut))
        return max(top, floor)

    @property
    def contested(self) -> bool:
        """Whether another one is as cheap, so that jobs may go there."""
        other = self.other if self.rule.undercut else None
        return self.asked is not None and other is not None and other <= self.asked


@dataclass(frozen=True, slots=True)
class Decision:
    """`price` is what to ask from now on; None: what is asked stays, and `why` says what for."""

    price: Price | None
    why: str


def decide_price(view: PriceView, now: float, rules: PricingRules, spent: Spent) -> Decision:
    """What the rule does now. The next change is taken to cost what the dearest of the day did."""
    goal, floor, asked = view.goal, view.floor, view.asked
    if goal is None or floor is None:
        return Decision(None, "waits: what the type costs is not known")
    if asked is None:
        return Decision(goal, _reason(view, goal))
    if goal == asked:
        return Decision(None, "as the rule has it")
    if asked >= floor and (held := _held(view, asked, goal, now, rules)):
        return Decision(None, held)
    price = max(floor, _within_day(view, asked, goal, now, rules))
    if asked >= floor and price != goal and not _worth(asked, price, rules):
        return Decision(None, "waits: it has moved as far as it may within a day")
    if spent.all_wei + spent.dearest_wei > rules.day_wei or not rules.day_wei:
        return Decision(None, "waits: the gas for price changes of this day is spent")
    return Decision(price, _reason(view, price))


def _held(view: PriceView, asked: Price, goal: Price, now: float, rules: PricingRules) -> str:
    """Why what is asked stays for now; empty: it need not."""
    lowered = goal < asked
    if not (lowered and view.contested) and not _worth(asked, goal, rules):
        return "stays: the difference is too small"
    if lowered:
        return ""
    lasted = view.dearer_since is not None and now - view.dearer_since >= rules.raise_after_seconds
    return "" if lasted else "waits: it goes up when the reason has lasted"


def _worth(asked: Price, to: Price, rules: PricingRules) -> bool:
    return abs(to.raw - asked.raw) > asked.raw * rules.least_share


def _within_day(
    view: PriceView, asked: Price, goal: Price, now: float, rules: PricingRules
) -> Price:
    """The nearest to `goal` that is no further from any price of these 24 hours than a day's move.

    What somebody else set in between begins anew: only moves that lead to what is asked count.
    """
    seen = [asked]
    for move in reversed(view.moves):
        if move.to != seen[-1] or now - move.at >= DAY_SECONDS:
            break
        seen.append(move.was)
    least = max(price.raw for price in seen) * (1 - rules.day_share)
    most = min(price.raw for price in seen) * (1 + rules.day_share)
    low, high = -(-least.numerator // least.denominator), int(most)
    if low > high:
        return asked
    return Price(min(max(goal.raw, low), high))


def _reason(view: PriceView, price: Price) -> str:
    """Why this price, in few words."""
    if price == view.floor:
        return "the floor"
    if price != view.goal:
        return "as far as a day's move goes"
    if (
        view.rule.undercut
        and view.other is not None
        and price < view.other
        and (price != view.rule.top.of(view.cost))
    ):
        return "below the cheapest other"
    return "the price by the rule"


def _below(other: Price, share: Fraction) -> Price:
    return _bounded(min(other.raw - 1, int(other.raw * (1 - share))))


def _bounded(raw: int) -> Price:
    return Price(min(max(raw, 1), Price.MAX_RAW))
