"""`oyster-provider offers ...`: what is on offer, at what price, and against whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands import completion
from commands.terminal import (
    BelowCostOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    YesOption,
    print_json,
    print_table,
    say,
)

if TYPE_CHECKING:
    from agent.market.model import Price
    from agent.markets.token import Token
    from commands.context import Desk, Terms
    from commands.costs import Cost
    from commands.offer_file import Ask
    from commands.offer_rules import Shown
    from commands.offering import Wish
    from commands.sending import Step

app = typer.Typer(no_args_is_help=True, help="Offer instance types on the market.")

TypeArgument = Annotated[
    str,
    typer.Argument(help="REGION/TYPE: us-east-1/c6a.xlarge.", autocompletion=completion.types),
]


@app.command("set")
def set_(
    instance_type: TypeArgument,
    price: Annotated[
        str, typer.Argument(help='Payment tokens a period, 0.17/h; or a rule: "cost * 1.15".')
    ],
    floor: Annotated[
        str, typer.Option(help="By rule: never below it; the cost if absent.", metavar="PRICE")
    ] = "",
    undercut: Annotated[
        str, typer.Option(help="So far below the cheapest other: 1%.", metavar="SHARE")
    ] = "",
    below_cost: BelowCostOption = False,
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """List a type at a price, or change its price: in the file, in the running agent, on the chain.

    Returns when all three agree. By a rule the price is what the rule makes of cost and market now,
    and the running agent goes on by it: `offers rules` shows what it does.
    """
    from commands.context import Need, at_desk, terms_of
    from commands.offer_file import Ask
    from commands.offering import carry_through
    from commands.sending import How

    async def work(desk: Desk) -> None:
        terms, ask = await terms_of(desk), Ask(price, floor, undercut)
        wish = await wish_for(desk, terms, instance_type, ask, below_cost=below_cost)
        await carry_through(desk, wish, How(yes, dry_run, as_json), config)

    at_desk(config, work, Need.OFFERS)


@app.command()
def remove(
    instance_type: TypeArgument,
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take a type off the market: file, agent and chain; running jobs of it go on."""
    from commands.context import Need, at_desk
    from commands.offering import Wish, carry_through
    from commands.sending import How, Step
    from faults import Refused

    async def work(desk: Desk) -> None:
        listed = await desk.market.offer(desk.provider, instance_type, await desk.head())
        if listed is None and instance_type not in {offer.type for offer in desk.config.offers}:
            raise Refused(f"{instance_type} is neither listed nor in the configuration")
        text = f"take {instance_type} off the market (running jobs go on)"
        step = Step(desk.calls.deregister(instance_type), text) if listed else None
        wish = Wish(instance_type, None, None, step)
        await carry_through(desk, wish, How(yes, dry_run, as_json), config)

    at_desk(config, work, Need.OFFERS)


@app.command()
def rules(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Prices by rule: what each rule sees, and what it would do now; changes nothing.

    The agent goes by the same judgement twice a minute. What waits for time (a rise that has to
    last) is shown as waiting; what it did, and why, is in its journal (`offer.priced`).
    """
    from commands.context import at_desk, standing_of
    from commands.looking import looking
    from commands.offer_rules import look_at_rules

    async def work(desk: Desk) -> list[Shown]:
        now = await standing_of(desk)
        ruled = [offer for offer in desk.config.offers if offer.by_rule]
        return await look_at_rules(desk, ruled, now.money, now.at)

    shown = at_desk(looking(config), work)
    if as_json:
        print_json([each.to_json() for each in shown])
        return
    for each in shown:
        for line in each.lines():
            say(line)
    if not shown:
        say('no price is by rule; write price = "cost * 1.15" in [[offers]], or use')
        say('`oyster-provider offers set TYPE "cost * 1.15" --undercut 1%`')


@app.command("list")
def list_(
    instance_type: Annotated[
        list[str] | None,
        typer.Argument(
            help="Types to look at; the configured ones if absent.",
            autocompletion=completion.offered_types,
        ),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Own offers and the competition: rank, cheapest other, what the price leaves after cost.

    The cost is the configuration's, else AWS's list price with a public address.
    """
    from commands.context import Need, at_desk, terms_of
    from commands.costs import cost_text
    from commands.inviting import invitation
    from commands.looking import looking
    from commands.ordering import paused

    async def work(desk: Desk) -> tuple[list[Row], str]:
        terms = await terms_of(desk)
        rows = await _compare(desk, terms, instance_type or [])
        if not as_json and paused(desk):
            say("paused: nothing is listed before `oyster-provider resume`")
        return rows, invitation(desk.config, terms.params, terms.pond)

    rows, invites = at_desk(looking(config), work, Need.OFFERS)
    if as_json:
        print_json([{**row.to_json(), "refusals": invites} for row in rows])
        return
    print_table(
        ("type", "price", "configured", "rank", "of", "cheapest other", "left after cost"),
        [row.cells() for row in rows],
        empty="nothing is on offer; `oyster-provider offers set TYPE PRICE` lists a type",
    )
    for row in rows:
        say(f"cost of {row.type}: {cost_text(row.cost, row.money)}")
    if invites:
        say(f"refusals: {invites}")


@dataclass(frozen=True, slots=True)
class Row:
    """One type as `offers list` shows it; prices in tokens an hour."""

    type: str
    money: Token
    price: Price | None
    configured: Price | None
    rule: str  # empty: its price is a number
    rank: int | None
    listed: int
    cheapest_other: Price | None
    cost: Cost

    @property
    def margin(self) -> float | None:
        """Tokens an hour that the price leaves after the cost."""
        if self.price is None or self.cost.price is None:
            return None
        decimals = self.money.decimals
        return float(self.price.per("h", decimals) - self.cost.price.per("h", decimals))

    def cells(self) -> tuple[object, ...]:
        left = "cost unknown" if self.cost.price is None else None
        if self.margin is not None:
            left = f"{self.margin:+.4f} {self.money.symbol}/h"
        return (
            self.type,
            self._text(self.price) or "not listed",
            self.rule or self._text(self.configured),
            self.rank,
            self.listed,
            self._text(self.cheapest_other),
            left,
        )

    def to_json(self) -> dict[str, Any]:
        from commands import dialect

        prices = {
            "price": self.price,
            "configured": self.configured,
            "cheapest_other": self.cheapest_other,
            "cost": self.cost.price,
        }
        return {
            "type": self.type,
            "rule": self.rule,
            "rank": self.rank,
            "listed": self.listed,
            "margin_per_hour": self.margin,
            "cost_source": self.cost.source,
            **{name: dialect.price(price, self.money) for name, price in prices.items()},
        }

    def _text(self, price: Price | None) -> str | None:
        from commands.amounts import show_price

        return None if price is None else show_price(price, self.money)


async def _compare(desk: Desk, terms: Terms, types: list[str]) -> list[Row]:
    from agent.wiring.adapters import offered_prices
    from commands.costs import costs_of

    prices = offered_prices(desk.config, terms.money.decimals)
    rules = {offer.type: offer.rule_text for offer in desk.config.offers if offer.by_rule}
    kinds = types or sorted({offer.type for offer in desk.config.offers})
    costs = await costs_of(desk, kinds, terms.money)
    rows = []
    for kind in kinds:
        offers = await desk.market.offers(kind, terms.at)
        ranks = [n for n, offer in enumerate(offers, 1) if offer.provider == desk.provider]
        others = [offer.price for offer in offers if offer.provider != desk.provider]
        rows.append(
            Row(
                kind, terms.money,
                price=offers[ranks[0] - 1].price if ranks else None,
                configured=prices.get(kind), rule=rules.get(kind, ""),
                rank=ranks[0] if ranks else None, listed=len(offers),
                cheapest_other=others[0] if others else None,
                cost=costs[kind],
            )
        )  # fmt: skip
    return rows


async def wish_for(
    desk: Desk,
    terms: Terms,
    instance_type: str,
    ask: Ask,
    *,
    steps: Sequence[Step] = (),
    below_cost: bool = False,
) -> Wish:
    """An offer with its preview. Raises UsageFault: not REGION/TYPE, not a price; Refused: such a
    type can hold no enclave."""
    from agent.market.model import InstanceType
    from commands.amounts import show_price
    from commands.offer_preview import look
    from commands.offering import Wish
    from commands.sending import Step
    from faults import UsageFault

    kind = InstanceType.parse(instance_type)
    if kind.region not in desk.config.aws.regions:
        known = ", ".join(desk.config.aws.regions)
        raise UsageFault(f"{instance_type}: {kind.region} is not in aws.regions ({known})")
    found = await _price_of(desk, terms, instance_type, ask)
    preview = await look(desk, terms, kind, found)
    text = f"offer {instance_type} at {show_price(found, terms.money)}"
    step = None
    if preview.old != found:
        step = Step(desk.calls.register(instance_type, found), text)
    return Wish(instance_type, found, ask, step, steps, preview, below_cost)


async def _price_of(desk: Desk, terms: Terms, instance_type: str, ask: Ask) -> Price:
    """As it was said, or where the rule points now. Raises UsageFault, RetryLater: the cost is not
    known."""
    from agent.market.model import Price
    from commands.offer_file import offer_of
    from commands.offer_rules import look_at_rules
    from faults import RetryLater

    plain = None if ask.by_rule else Price.parse(ask.price, terms.money.decimals)
    offer = offer_of(desk.config, instance_type, ask)
    if plain is not None:
        return plain
    (shown,) = await look_at_rules(desk, [offer], terms.money, terms.at)
    if shown.view.goal is None:
        raise RetryLater(f"what {instance_type} costs is not known: {shown.cost.source}")
    return shown.view.goal
