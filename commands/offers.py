"""`oyster-provider offers ...`: what is on offer, at what price, and against whom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.terminal import (
    ConfigOption,
    DryRunOption,
    JsonOption,
    YesOption,
    print_json,
    print_table,
)

if TYPE_CHECKING:
    from agent.market.model import Price
    from agent.markets.registry.reads import Token
    from commands.context import Desk, Terms
    from commands.costs import Cost
    from commands.sending import Step

app = typer.Typer(no_args_is_help=True, help="Offer instance types on the market.")

TypeArgument = Annotated[str, typer.Argument(help="REGION/TYPE: us-east-1/c6a.xlarge.")]


@app.command("set")
def set_(
    instance_type: TypeArgument,
    price: Annotated[str, typer.Argument(help="Payment tokens a period: 0.17/h.")],
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """List a type at a price, or change its price; the configuration follows."""
    from agent.config.load import path_of
    from commands.context import at_desk, terms_of
    from commands.sending import How, carry_out

    async def work(desk: Desk) -> None:
        terms = await terms_of(desk)
        how = How(yes, dry_run, as_json)
        await carry_out(desk, [offer_step(desk, terms, instance_type, price)], how)
        if not dry_run:
            write_offer(path_of(config), instance_type, price)

    at_desk(config, work)


@app.command()
def remove(
    instance_type: TypeArgument,
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Take a type off the market; running jobs of it go on."""
    from agent.config.load import path_of
    from commands.context import at_desk
    from commands.sending import How, Step, carry_out

    async def work(desk: Desk) -> None:
        text = f"take {instance_type} off the market (running jobs go on)"
        step = Step(desk.calls.deregister(instance_type), text)
        await carry_out(desk, [step], How(yes, dry_run, as_json))
        if not dry_run:
            write_offer(path_of(config), instance_type, None)

    at_desk(config, work)


@app.command("list")
def list_(
    instance_type: Annotated[
        list[str] | None, typer.Argument(help="Types to look at; the configured ones if absent.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Own offers and the competition: rank, cheapest other, what the price leaves after cost.

    The cost is the configuration's, else AWS's list price with a public address.
    """
    from commands.context import at_desk

    rows = at_desk(config, lambda desk: _compare(desk, instance_type or []))
    if as_json:
        print_json([row.to_json() for row in rows])
        return
    print_table(
        ("type", "price", "configured", "rank", "of", "cheapest other", "left after cost"),
        [row.cells() for row in rows],
        empty="nothing is on offer; `oyster-provider offers set TYPE PRICE` lists a type",
    )
    for row in rows:
        typer.echo(f"cost of {row.type}: {row.cost.text(row.money)}")


@dataclass(frozen=True, slots=True)
class Row:
    """One type as `offers list` shows it; prices in tokens an hour."""

    type: str
    money: Token
    price: Price | None
    configured: Price | None
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
            self._text(self.configured),
            self.rank,
            self.listed,
            self._text(self.cheapest_other),
            left,
        )

    def to_json(self) -> dict[str, Any]:
        prices = {
            "price": self.price,
            "configured": self.configured,
            "cheapestOther": self.cheapest_other,
            "cost": self.cost.price,
        }
        return {
            "type": self.type,
            "rank": self.rank,
            "listed": self.listed,
            "marginPerHour": self.margin,
            "costSource": self.cost.source,
            **{name: price and str(price.raw) for name, price in prices.items()},
            **{f"{name}Text": self._text(price) for name, price in prices.items()},
        }

    def _text(self, price: Price | None) -> str | None:
        from commands.amounts import show_price

        return None if price is None else show_price(price, self.money)


async def _compare(desk: Desk, types: list[str]) -> list[Row]:
    from agent.wiring.adapters import offered_prices
    from commands.context import terms_of
    from commands.costs import costs_of

    terms = await terms_of(desk)
    prices = offered_prices(desk.config, terms.money.decimals)
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
                configured=prices.get(kind), rank=ranks[0] if ranks else None, listed=len(offers),
                cheapest_other=others[0] if others else None,
                cost=costs[kind],
            )
        )  # fmt: skip
    return rows


def offer_step(desk: Desk, terms: Terms, instance_type: str, price: str) -> Step:
    """The transaction that lists. Raises UsageFault: not REGION/TYPE, not a price."""
    from agent.market.model import InstanceType, Price
    from commands.amounts import show_price
    from commands.sending import Step
    from faults import UsageFault

    kind = InstanceType.parse(instance_type)
    if kind.region not in desk.config.aws.regions:
        known = ", ".join(desk.config.aws.regions)
        raise UsageFault(f"{instance_type}: {kind.region} is not in aws.regions ({known})")
    found = Price.parse(price, terms.money.decimals)
    text = f"offer {instance_type} at {show_price(found, terms.money)}"
    return Step(desk.calls.register(instance_type, found), text)


def write_offer(path: Path, instance_type: str, price: str | None) -> None:
    """Make the file say what the chain says, comments and all; SIGHUP or a restart reads it."""
    import tomlkit

    document: Any = tomlkit.parse(path.read_text(encoding="utf-8"))
    offers: Any = document.get("offers")
    if offers is None:
        offers = tomlkit.aot()
        document["offers"] = offers
    known = next((item for item in offers if item.get("type") == instance_type), None)
    if price is None:
        if known is not None:
            offers.remove(known)
    elif known is not None:
        known["price"] = price
    else:
        offers.append(tomlkit.item({"type": instance_type, "price": price}))
    if not offers:
        document.pop("offers", None)
    _replace(path, tomlkit.dumps(document))


def _replace(path: Path, text: str) -> None:
    """All or nothing, with the mode and owner it had."""
    import os

    from faults import UsageFault

    about = path.stat()
    part = path.with_name(f".{path.name}.part")
    try:
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, about.st_mode & 0o777)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        if os.geteuid() == 0:
            os.chown(part, about.st_uid, about.st_gid)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageFault(
            f"{path}: {error.strerror}; the chain has the offer, the file not"
        ) from error
