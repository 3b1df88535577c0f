"""Opens everything that speaks JSON-RPC for one provider."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from agent.chain.endpoints import Endpoints
from agent.chain.head import HeadTracker
from agent.chain.transactions import Transactions
from agent.chain.wallet import Signer
from agent.config import Config
from agent.markets.token import Token
from agent.markets.transactor import MarketTransactor, NoTransactor
from agent.ports import Clock, Transactor
from agent.wiring.adapters import fees_of, finality_of, open_endpoints, patience_of
from agent.wiring.journal import OpenJournal
from agent.wiring.markets import AnyMarket, calls_of, market_of, tokens_of
from faults import RetryLater, TryElsewhere


@dataclass(frozen=True, slots=True)
class Chain:
    """Everything that speaks JSON-RPC for one provider."""

    endpoints: Endpoints
    tracker: HeadTracker
    followed: HeadTracker  # polled all the time, jobs or not
    market: AnyMarket
    signer: Signer | None  # without a key nothing is sent
    transactions: Transactions | None
    payment: Token
    pond: Token | None  # what is staked


async def open_chain(
    config: Config, signer: Signer | None, opened: OpenJournal, clock: Clock, stack: AsyncExitStack
) -> Chain:
    """Endpoints of one chain, the market on it, and what signs for it. Raises RetryLater while the
    market can't be read, and what the settings are refused by."""
    endpoints = await open_endpoints(config, clock)
    stack.push_async_callback(endpoints.close)
    finality = finality_of(config)
    tracker = HeadTracker(endpoints, finality)
    market = market_of(config, endpoints)
    try:
        head = await tracker.poll()
        payment, pond = await tokens_of(market, config, head.block)
    except TryElsewhere as fault:
        raise RetryLater(f"the market can't be read: {fault}") from fault
    transactions = _transactions(config, endpoints, signer, opened, clock)
    followed = HeadTracker(endpoints, finality)
    return Chain(endpoints, tracker, followed, market, signer, transactions, payment, pond)


def _transactions(
    config: Config, endpoints: Endpoints, signer: Signer | None, opened: OpenJournal, clock: Clock
) -> Transactions | None:
    if signer is None:
        return None
    return Transactions(
        endpoints, signer, opened.record, clock,
        policy=fees_of(config),
        finality=finality_of(config),
        patience=patience_of(config),
        aside=opened.recording,
    )  # fmt: skip


def transactor_of(chain: Chain, clock: Clock) -> Transactor:
    """What carries orders to the market; without a key nothing is sent."""
    if chain.transactions is None:
        return NoTransactor()
    return MarketTransactor(chain.transactions, calls_of(chain.market), clock)
