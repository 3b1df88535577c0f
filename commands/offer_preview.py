"""What an offer would mean before it is made: price, rank, cost, room; and what looks like a slip.

`look` asks chain and AWS; a `Preview` is what they said, and decides by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from agent.market.model import InstanceType, Price
from agent.markets.token import Token
from cloud.model import Headroom, Region
from commands.amounts import show_price
from commands.context import Desk, Terms
from commands.costs import Cost, cost_text, costs_of
from commands.inviting import invitation
from commands.terminal import how_many
from faults import Fault, Refused, UsageFault

FAR = 3  # times off what is known: more likely a slip of the pen than a price


@dataclass(frozen=True, slots=True)
class Preview:
    """One offer as it would stand. `old` is the listing of now, `others` what others ask, cheapest
    first; `rank` and `new_rank` count from 1, None without a listing. `more` None: not known, and
    `limited_by` says why."""

    type: str
    money: Token
    new: Price
    old: Price | None
    rank: int | None
    others: Sequence[Price]
    cost: Cost
    more: int | None
    limited_by: str
    invites: str = ""  # what refusals of the present configuration can cost

    @property
    def new_rank(self) -> int:
        """At another price one stands behind those who ask it already; the same keeps its place."""
        if self.rank is not None and self.old == self.new:
            return self.rank
        return 1 + sum(other <= self.new for other in self.others)

    def lines(self) -> Iterator[str]:
        """For a person, a fact a line."""
        was = show_price(self.old, self.money) if self.old else "not listed"
        yield f"  price  {was} -> {show_price(self.new, self.money)}"
        count = len(self.others)
        before = f"{self.rank} of {count + 1}" if self.rank else "none"
        best = show_price(self.others[0], self.money) if self.others else "nobody else"
        yield f"  rank   {before} -> {self.new_rank} of {count + 1}; cheapest other: {best}"
        yield f"  cost   {cost_text(self.cost, self.money)}{self._leaves()}"
        room = "not known" if self.more is None else how_many(self.more, "more job")
        yield f"  room   {room} ({self.limited_by})"
        if self.invites:
            yield f"  slash  {self.invites}"

    def card(self) -> Iterator[str]:
        """The same where nothing is listed or ranked: a rate card."""
        yield f"  card   {show_price(self.new, self.money)}"
        yield from list(self.lines())[2:]

    def doubts(self) -> Iterator[str]:
        """What has to be meant: a loss with every job, or a price far off everything known."""
        cost, new = self.cost.price, show_price(self.new, self.money)
        if cost is not None and self.new < cost:
            yield f"{new} is below the cost of {show_price(cost, self.money)}: every job loses"
        for what, known in self._known():
            if not Fraction(known.raw, FAR) < self.new.raw < known.raw * FAR:
                yield f"{new} is {_off(self.new, known)} {what} ({show_price(known, self.money)})"

    def _known(self) -> Iterator[tuple[str, Price]]:
        if self.old:
            yield "the price of now", self.old
        if self.others:
            yield "the cheapest other", self.others[0]
        elif self.cost.price:
            yield "the cost", self.cost.price

    def _leaves(self) -> str:
        if self.cost.price is None:
            return ""
        decimals = self.money.decimals
        left = float(self.new.per("h", decimals) - self.cost.price.per("h", decimals))
        return f", leaves {left:+.4f} {self.money.symbol}/h"


def _off(new: Price, known: Price) -> str:
    """How far from it, in whole numbers."""
    return f"{new.raw // known.raw} times" if new > known else f"1/{known.raw // new.raw} of"


async def look(desk: Desk, terms: Terms, kind: InstanceType, price: Price) -> Preview:
    """The offer as it would stand. Raises Refused: EC2 has no such type there, or it holds no
    enclave: each job of it would cost a stake."""
    name = f"{kind.region}/{kind.ec2_type}"
    offers = await desk.market.offers(name, terms.at)
    mine = [
        (n, offer.price) for n, offer in enumerate(offers, 1) if offer.provider == desk.provider
    ]
    others = [offer.price for offer in offers if offer.provider != desk.provider]
    rank, old = mine[0] if mine else (None, None)
    more, limited_by = await _room(desk, terms, kind)
    cost = (await costs_of(desk, [name], terms.money))[name]
    invites = invitation(desk.config, terms.params, terms.pond)
    return Preview(name, terms.money, price, old, rank, others, cost, more, limited_by, invites)


async def look_at_card(desk: Desk, money: Token, kind: InstanceType, price: Price) -> Preview:
    """The same of a rate card: others' prices stand on no chain. Raises Refused as `look`."""
    name = f"{kind.region}/{kind.ec2_type}"
    more, limited_by = await _room(desk, None, kind)
    cost = (await costs_of(desk, [name], money))[name]
    return Preview(name, money, price, None, None, (), cost, more, limited_by)


async def _room(desk: Desk, terms: Terms | None, kind: InstanceType) -> tuple[int | None, str]:
    aws = desk.open_cloud()
    try:
        await aws.room(Region(kind.region), kind.ec2_type)
        found = await aws.headroom(Region(kind.region), kind.ec2_type)
    except (Refused, UsageFault) as no:
        said = str(no).removesuffix("; deregister it")
        raise Refused(f"{said}: a job of it could only be missed; offer another type") from no
    except Fault as fault:
        return None, f"AWS can't be asked: {' '.join(str(fault).split())[:120]}"
    finally:
        aws.close()
    return _bounded(found, terms) if terms else (found.more, found.limited_by)


def _bounded(found: Headroom, terms: Terms) -> tuple[int, str]:
    by_stake = terms.stake.unlocked // max(1, terms.params.stake_per_job)
    return (by_stake, "stake") if by_stake < found.more else (found.more, found.limited_by)
