"""Whether a contract is the MarketV1 that this agent was written for, asked at each start.

Of another shape it is refused: other units or no rate locks make every figure here wrong. Another
token, or other code behind the proxy, than a known deployment had may still be right; a person is
told, and what changes later pauses new jobs (`agent.loop.market_changes`).
"""

from __future__ import annotations

from typing import Any

from agent.chain.rpc import CallReverted, Json, NodeRefused
from agent.config.presets import Preset
from agent.market.model import ZERO_ADDRESS, Address, BlockRef
from agent.markets.marketv1.reads import RATE_LOCK, Market, market_abi
from agent.markets.token import Token
from faults import MustStop, RetryLater

EXTRA_DECIMALS = 12


async def check(market: Market, known: Preset | None, at: BlockRef) -> tuple[Token, list[str]]:
    """What jobs are paid in, and what a person should look at.

    Raises MustStop: another contract, or a token with other decimals than the known deployment's,
    by all endpoints that tell. Raises RetryLater: the node's newest block is older than the
    contract; TryElsewhere: none can tell now.
    """
    if known is not None and at.number < known.first_block:
        text = f"a node stands at block {at.number} of {known.chain}, the market begins at"
        raise RetryLater(f"{text} {known.first_block}: it has not caught up")
    stories = await market.of_each(lambda one: _story(one, known, at))
    good = [story for story in stories if not isinstance(story, MustStop)]
    if good:
        return good[0]
    raise next(story for story in stories if isinstance(story, MustStop))


async def _story(
    market: Market, known: Preset | None, at: BlockRef
) -> tuple[Token, list[str]] | MustStop:
    """What one endpoint tells; its word alone stops nobody where another tells otherwise."""
    try:
        await _check_functions(market, at)
        token = await market.payment_token(at)
        code = await market.implementation(at)
        return token, differences(known, token, code) if known is not None else []
    except MustStop as stop:
        return stop


async def _check_functions(market: Market, at: BlockRef) -> None:
    """Raises MustStop: what stands there is no MarketV1 of the form that is known here.
    NodeRefused: a node can't tell what stands there just now."""
    calls = [("EXTRA_DECIMALS", ()), ("lockWaitTime", (RATE_LOCK,)), ("locks", (bytes(32),))]
    pairs = zip(calls, await market.undecoded(calls, at), strict=True)
    try:
        extra, _wait, _lock = (_decoded(name, answer) for (name, _), answer in pairs)
    except (NodeRefused, CallReverted) as other:
        text = f"{market.contract} is no MarketV1 that this agent knows: {other}"
        raise MustStop(text) from None
    if extra != EXTRA_DECIMALS:
        text = f"{market.contract} counts rates in 10^-{extra} units, not in 10^-{EXTRA_DECIMALS}"
        raise MustStop(f"{text}: it is another version of the market than this agent knows")


def _decoded(name: str, answer: Json | CallReverted) -> Any:
    if isinstance(answer, CallReverted):
        raise answer
    return market_abi().decode(name, answer)


def differences(known: Preset, token: Token, code: Address) -> list[str]:
    """What is not as it was known, a sentence each. Raises MustStop: other decimals."""
    if token.decimals != known.payment_decimals:
        text = f"{token.symbol} ({token.address}), which jobs on {known.chain} are paid in, has"
        wanted = f"{token.decimals} decimals, not {known.payment_decimals}"
        raise MustStop(f"{text} {wanted}: every price would be wrong by that; look what changed")
    found = []
    if token.address.lower() != known.payment.lower():
        text = f"jobs on {known.chain} are paid in {token.symbol} ({token.address})"
        found.append(f"{text}, not in {known.payment} as was known")
    if known.implementation and code.lower() != known.implementation.lower():
        shown = "no code of a proxy" if code == ZERO_ADDRESS else code
        text = f"the market on {known.chain} runs {shown}, not {known.implementation} as was known"
        found.append(text)
    return found
