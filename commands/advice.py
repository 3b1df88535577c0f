"""`exit --advise`: what leaving a job now comes to, against serving it until its money ends.

Nothing is asked of anybody and nothing is ordered. Gas is paid in the chain's coin and the stake
is POND: they are shown beside the money, not added to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from agent.config.units import show_coin
from agent.market.model import Job, Price, Wei
from agent.market.terms import Terms as MarketTerms
from agent.markets.token import Token
from commands import dialect
from commands.amounts import show_amount, show_price, show_span, show_time
from commands.context import Desk, Terms
from commands.costs import Cost, cost_text, costs_of
from commands.sending import USUAL_GAS, present_fees

HOUR = 3600


@dataclass(frozen=True, slots=True)
class Course:
    """One way to go on: `seconds` of service more, what they earn and cost in base units (None: not
    known), and transactions of so much gas."""

    seconds: int
    earns: int
    costs: int | None
    gas_wei: int

    @property
    def leaves(self) -> int | None:
        """What is left of the earnings, base units."""
        return None if self.costs is None else self.earns - self.costs

    def to_json(self, money: Token, now: float) -> dict[str, Any]:
        """For programs."""
        known = {"earns": self.earns, "costs": self.costs, "leaves": self.leaves}
        return {
            "until": dialect.moment(now + self.seconds),
            "gas": dialect.coin(self.gas_wei),
            **{
                name: None if units is None else dialect.tokens(units, money)
                for name, units in known.items()
            },
        }


@dataclass(frozen=True, slots=True)
class Advice:
    """One job: both courses, and which is better. `risk`: why leaving can cost the stake."""

    job: Job
    stay: Course
    leave: Course
    stake: Wei
    risk: str

    @property
    def verdict(self) -> str:
        """stay, leave, or unknown where a cost is."""
        stay, leave = self.stay.leaves, self.leave.leaves
        if stay is None or leave is None:
            return "unknown"
        return "leave" if leave > stay and not self.risk else "stay"

    def why(self, money: Token) -> str:
        """The verdict's reason, in words."""
        stay, leave = self.stay.leaves, self.leave.leaves
        if stay is None or leave is None:
            return "what an hour costs is not known: set cost in [[offers]]"
        saved = show_amount(abs(stay - leave), money, 4)
        if leave <= stay:
            return f"leaving gives up {saved}" if leave < stay else "both come to the same"
        return self.risk or f"leaving saves {saved}"


def advise(job: Job, terms: MarketTerms, now: int, cost: Price | None, gas_wei: int) -> Advice:
    """Both courses of a job that is not over, by the price and the cost of now; `gas_wei` is what
    one transaction costs."""
    paid = _paid_seconds(job, terms, now)
    leaves = terms.leaves_at(job, job.exit_requested_at or now) or now
    cool_down = max(0, leaves - now)
    stay = _course(job, terms, paid, cost, gas_wei)
    gas = 0 if job.is_exiting else gas_wei
    leave = _course(job, terms, min(paid, cool_down), cost, gas + gas_wei)
    due = terms.due(job).at
    late = not job.is_started and leaves > due
    risk = (
        "not up yet, and the exit passes after its slash point: bring it up first" if late else ""
    )
    return Advice(job, stay, leave, terms.at_risk(job), risk)


def _paid_seconds(job: Job, terms: MarketTerms, now: int) -> int:
    """For how long its escrow pays, from now on; of one that is not started, from its start."""
    left = job.escrow - terms.accrued(job, now)
    return max(0, int(left * Price.SCALE // max(1, job.price.raw)))


def _course(job: Job, terms: MarketTerms, seconds: int, cost: Price | None, gas: int) -> Course:
    costs = None if cost is None else int(Fraction(cost.raw * seconds, Price.SCALE))
    return Course(seconds, terms.owed(job.price, seconds), costs, gas)


async def advice_on(
    desk: Desk, terms: Terms, jobs: Sequence[Job]
) -> tuple[list[Advice], dict[str, Cost]]:
    """Of each job, and what their types cost."""
    costs = await costs_of(desk, [job.instance_type for job in jobs], terms.money)
    gas = USUAL_GAS * (await present_fees(desk)).max_fee
    now = terms.at.timestamp
    found = [advise(job, terms.params, now, costs[job.instance_type].price, gas) for job in jobs]
    return found, costs


def lines(advice: Advice, cost: Cost, terms: Terms) -> Iterator[str]:
    """For a person."""
    job, money, now = advice.job, terms.money, terms.at.timestamp
    stay, leave = advice.stay, advice.leave
    rate = show_price(job.price, money)
    yield f"job {job.id} ({job.instance_type}): {rate}, costs {cost_text(cost, money)}"
    yield f"  stay   paid for {show_span(stay.seconds)} more, {_money(stay, money)}"
    yield (
        f"  leave  serves {show_span(leave.seconds)} more, {_money(leave, money)}; "
        f"{show_amount(advice.stake, terms.pond)} free at {show_time(now + leave.seconds)} UTC"
    )
    yield f"  gas    stay about {show_coin(stay.gas_wei)}, leave about {show_coin(leave.gas_wei)}"
    yield f"  advice {advice.verdict}: {advice.why(money)}"


def to_json(advice: Advice, terms: Terms) -> dict[str, Any]:
    """For programs."""
    money, now = terms.money, terms.at.timestamp
    return {
        "job": advice.job.id,
        "advice": advice.verdict,
        "why": advice.why(money),
        "stay": advice.stay.to_json(money, now),
        "leave": advice.leave.to_json(money, now),
        "stake": dialect.tokens(advice.stake, terms.pond),
    }


def _money(course: Course, money: Token) -> str:
    earns = show_amount(course.earns, money, 4)
    if course.costs is None or course.leaves is None:
        return f"earns {earns}"
    costs, left = show_amount(course.costs, money, 4), show_amount(course.leaves, money, 4)
    return f"earns {earns}, costs {costs}, leaves {left}"
