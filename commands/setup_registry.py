"""What `setup` asks on the registry: its contract, the provider's key and funds, the first offer.

The frame and the questions of any market are in `setup.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from commands.guide import Answers, Question, Step
from commands.setup_reach import (
    coin_of,
    contract_of,
    key_of,
    key_questions,
    naming,
    on_chain,
    stands_in,
)
from faults import Refused

if TYPE_CHECKING:
    from agent.config import Config
    from agent.market.model import InstanceType
    from commands.offer_preview import Preview

NEXT = """
next, in this order:
  oyster-provider cloud setup{c}
    bucket, role and security group in AWS
  oyster-provider doctor{c}
    what is missing, and what to do about it
  oyster-provider register {type} {price}{c}
  oyster-provider service install
  systemctl enable --now oyster-provider"""
KEEP = (
    "keep a copy of {keystore} and {password} where this host can't lose them: without both the"
    " stake is lost"
)


def next_steps(file: Path, answers: Answers) -> str:
    """What is to be done once the file is written."""
    told = f"{NEXT}\n{KEEP}"
    return told.format(c=naming(file), **answers.given)


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
    from agent.chain.rpc import CallReverted, NodeRefused
    from agent.markets.registry.reads import Market
    from commands.amounts import show_amount, show_span

    async with on_chain(answers) as (endpoints, at):
        market = Market(endpoints, await contract_of(answers, endpoints))
        try:
            params, (pond, money) = await market.params(at), await market.tokens(at)
        except NodeRefused as other:
            if not isinstance(other.__cause__, CallReverted):
                raise
            text = f"{market.contract} is a contract, but no such market: it reverts what is read"
            raise Refused(text) from other
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
        if stands_in(answers):
            need = show_amount((await market.params(at)).stake_per_job, pond)
            return [*made, f"! once it is made, send it {need} at least, and coin for gas"]
        has = await market.balance(pond.address, owner, at)
        coin = await coin_of(owner, endpoints)
        params, stake = await market.params(at), await market.stake_of(owner, at)
        missing = max(0, params.stake_per_job - stake.total - has)
        funds = f"{owner} has {show_amount(has, pond)} and {coin / 1e18:.4f} of the chain's coin"
        todo = [f"! send it {show_amount(missing, pond)} at least"] if missing else []
        todo += [] if coin else ["! send it some of the chain's coin, for gas"]
        return [*made, funds, *todo]


async def listing(config: Config, kind: InstanceType, price: str) -> Preview:
    """What an offer at that price leaves, and whether EC2 and the account can serve it."""
    from agent.market.model import Price
    from commands.context import open_desk, terms_of
    from commands.offer_preview import look

    async with open_desk(config) as desk:
        terms = await terms_of(desk)
        staked = terms.staked(terms.params.stake_per_job)  # as `register` does
        return await look(desk, staked, kind, Price.parse(price, terms.money.decimals))
