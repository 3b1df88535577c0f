"""Whether a contract is the MarketV1 that this agent was written for, asked at each start.

Of another shape it is refused: other units or no rate locks make every figure here wrong. Another
token, or other code behind the proxy, than a known deployment had may still be right; a person is
told, and what changes later pauses new jobs (`agent.loop.market_changes`).
"""

from __future__ import annotations

from agent.config.presets import Preset
from agent.market.model import ZERO_ADDRESS, Address, BlockRef
from agent.markets.marketv1.reads import Market
from agent.markets.token import Token
from faults import MustStop, RetryLater


async def check(market: Market, known: Preset | None, at: BlockRef) -> tuple[Token, list[str]]:
    """What jobs are paid in, and what a person should look at.

    Raises MustStop: another contract, or a token with other decimals than the known deployment's.
    Raises RetryLater: the node's newest block is older than the contract.
    """
    if known is not None and at.number < known.first_block:
        text = f"a node stands at block {at.number} of {known.chain}, the market begins at"
        raise RetryLater(f"{text} {known.first_block}: it has not caught up")
    await market.check(at)
    token = await market.payment_token(at)
    code = await market.implementation(at)
    return token, differences(known, token, code) if known is not None else []


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
