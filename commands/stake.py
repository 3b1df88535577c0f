"""`stake`, `unstake` and `register`: money at stake, and the short way to the first offer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from commands import completion
from commands.terminal import (
    BelowCostOption,
    ConfigOption,
    DryRunOption,
    JsonOption,
    YesOption,
    say,
)

if TYPE_CHECKING:
    from commands.context import Desk, Terms
    from commands.sending import Step

AmountArgument = Annotated[str, typer.Argument(help="Whole POND, such as 250 or 0.5.")]


def stake(
    amount: AmountArgument,
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Stake POND: each job locks StakePerJob of it."""
    from commands.amounts import check_amount, read_amount
    from commands.context import Need, at_desk, terms_of
    from commands.sending import How, carry_out

    check_amount(amount, "POND")

    async def work(desk: Desk) -> None:
        terms = await terms_of(desk)
        steps = await stake_steps(desk, terms, read_amount(amount, terms.pond))
        await carry_out(desk, steps, How(yes, dry_run, as_json))

    at_desk(config, work, Need.STAKE)


def unstake(
    amount: Annotated[str | None, typer.Argument(help="Whole POND.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that no job locks.")] = False,
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Withdraw stake that no job locks."""
    from commands.amounts import check_amount, read_amount, show_amount
    from commands.context import Need, at_desk, terms_of
    from commands.sending import How, Step, carry_out
    from faults import Refused, UsageFault

    if (amount is None) != everything:
        raise UsageFault("name an amount, or --all")
    if amount is not None:
        check_amount(amount, "POND")

    async def work(desk: Desk) -> None:
        terms = await terms_of(desk)
        free = terms.stake.unlocked
        wanted = free if amount is None else read_amount(amount, terms.pond)
        if wanted > free or not wanted:
            locked = show_amount(terms.stake.locked, terms.pond)
            raise Refused(
                f"{show_amount(free, terms.pond)} are free, {locked} are locked by jobs; "
                "locked stake comes back when its job has ended"
            )
        text = f"withdraw {show_amount(wanted, terms.pond)} of stake"
        if free - wanted < terms.params.stake_per_job and desk.config.offers and not as_json:
            say("no further job comes then: a running agent takes the offers off")
        await carry_out(desk, [Step(desk.calls.unstake(wanted), text)], How(yes, dry_run, as_json))

    at_desk(config, work, Need.STAKE)


def register(
    instance_type: Annotated[
        str,
        typer.Argument(help="REGION/TYPE: us-east-1/c6a.xlarge.", autocompletion=completion.types),
    ],
    price: Annotated[str, typer.Argument(help="Payment tokens a period: 0.17/h.")],
    stake: Annotated[
        str | None, typer.Option(help="POND to have at stake in all; StakePerJob when absent.")
    ] = None,
    below_cost: BelowCostOption = False,
    config: ConfigOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Stake what is missing and offer one type: the way from nothing to the first job."""
    from commands.amounts import read_amount
    from commands.context import Need, at_desk, terms_of
    from commands.offer_file import Ask
    from commands.offering import carry_through
    from commands.offers import wish_for
    from commands.sending import How

    async def work(desk: Desk) -> None:
        terms = await terms_of(desk)
        wanted = read_amount(stake, terms.pond) if stake else terms.params.stake_per_job
        missing = wanted - terms.stake.total
        steps = await stake_steps(desk, terms, missing) if missing > 0 else []
        wish = await wish_for(
            desk,
            terms.staked(wanted),
            instance_type,
            Ask(price),
            steps=steps,
            below_cost=below_cost,
        )
        await carry_through(desk, wish, How(yes, dry_run, as_json), config)

    at_desk(config, work, Need.STAKE)


async def stake_steps(desk: Desk, terms: Terms, amount: int) -> list[Step]:
    """The transactions that stake `amount`. Raises Refused: the account has less."""
    from agent.market.model import Wei
    from commands.amounts import show_amount
    from commands.sending import Step
    from faults import Refused

    has = await desk.market.balance(terms.pond.address, desk.provider, terms.at)
    if has < amount:
        shown = show_amount(has, terms.pond)
        raise Refused(f"{desk.provider} has {shown}; send it {show_amount(amount, terms.pond)}")
    allowed = await desk.market.allowance(terms.pond.address, desk.provider, terms.at)
    shown = show_amount(amount, terms.pond)
    steps = []
    if allowed < amount:
        approve = desk.calls.approve(terms.pond.address, Wei(amount))
        steps.append(Step(approve, f"let the market take {shown}"))
    return [*steps, Step(desk.calls.stake(Wei(amount)), f"stake {shown}")]
