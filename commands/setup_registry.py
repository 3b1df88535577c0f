"""What `setup` asks on the registry: its contract, the provider's key and funds, the first offer.

The frame and the questions of any market are in `setup.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commands.guide import Answers, Question, Step
from commands.setup_reach import coin_of, contract_of, key_of, key_questions, on_chain

if TYPE_CHECKING:
    from agent.config import Config
    from agent.market.model import InstanceType

NEXT = """
next, in this order:
  oyster-provider cloud setup -c {file}     bucket, role and security group in AWS
  oyster-provider doctor -c {file}          what is missing, and what to do about it
  oyster-provider register {type} {price} -c {file}
  oyster-provider service install && systemctl enable --now oyster-provider
keep a copy of {keystore} and {password} where this host can't lose them: without both the stake is
lost"""


def next_steps(file: Path, answers: Answers) -> str:
    """What is to be done once the file is written."""
    return NEXT.format(file=file, **answers.given)


def on_registry(answers: Answers) -> bool:
    return answers.given.get("market") == "registry"


def steps(folder: Path) -> Sequence[Step]:
    """The contract, and the key; `folder` is where the service's credentials lie."""
    contract = Question("registry", "address of the market's contract")
    key = key_questions(folder, "keystore, made when it is not there")
    return (
        Step("the market", [contract], _market, on_registry),
        Step("the provider's key", key, _key, on_registry),
    )


async def _market(answers: Answers) -> Sequence[str]:
    """What the contract asks of a provider. Raises Refused: nothing of the kind is there."""
    from agent.markets.registry.reads import Market
    from commands.amounts import show_amount, show_span

    async with on_chain(answers) as (endpoints, at):
        market = Market(endpoints, await contract_of(answers, endpoints))
        params, (pond, money) = await market.params(at), await market.tokens(at)
        span = show_span(params.job_bootstrapping)
        stake = show_amount(params.stake_per_job, pond)
        return [
            f"a job locks {stake} and has to be up in {span}; jobs pay in {money.symbol}",
            f"{pond.symbol} is the token {pond.address}: this is what you stake",
        ]


async def _key(answers: Answers) -> Sequence[str]:
    """Whose key it is and what it has; made where there is none."""
    from agent.markets.registry.reads import Market
    from commands.amounts import show_amount

    owner, made = key_of(answers)
    async with on_chain(answers) as (endpoints, at):
        market = Market(endpoints, await contract_of(answers, endpoints))
        pond, _money = await market.tokens(at)
        has = await market.balance(pond.address, owner, at)
        coin = await coin_of(owner, endpoints)
        params, stake = await market.params(at), await market.stake_of(owner, at)
        missing = max(0, params.stake_per_job - stake.total - has)
        funds = f"{owner} has {show_amount(has, pond)} and {coin / 1e18:.4f} of the chain's coin"
        todo = [f"! send it {show_amount(missing, pond)} at least"] if missing else []
        todo += [] if coin else ["! send it some of the chain's coin, for gas"]
        return [*made, funds, *todo]


async def listing(config: Config, kind: InstanceType, price: str) -> Sequence[str]:
    """What an offer at that price leaves, and whether EC2 and the account can serve it."""
    from agent.market.model import Price
    from commands.context import open_desk, terms_of
    from commands.offer_preview import look

    async with open_desk(config) as desk:
        terms = await terms_of(desk)
        staked = terms.staked(terms.params.stake_per_job)  # as `register` does
        preview = await look(desk, staked, kind, Price.parse(price, terms.money.decimals))
        return [*(line.strip() for line in preview.lines()), *(f"! {x}" for x in preview.doubts())]
