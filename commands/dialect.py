"""What `--json` says, the same way everywhere: snake_case names, times as ISO 8601 in UTC, amounts
as text in base units beside their symbol and decimals (JSON's numbers do not hold them exactly).

`schemas.py` says the same as JSON Schemas, one a command, under docs/json.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.market.model import Price
    from agent.markets.token import Token

COIN = "coin"  # the chain's own, whose name the program does not know
COIN_DECIMALS = 18
PRICE_DECIMALS = 12  # beyond the token's own: a price is base units x 10^12 a second


def moment(seconds: float | None) -> str | None:
    """Unix seconds as "2026-11-28T15:22:00Z", with milliseconds where there are some; None for no
    time, which the contract writes as 0."""
    if not seconds:
        return None
    at = datetime.fromtimestamp(seconds, UTC)
    precise = "milliseconds" if at.microsecond else "seconds"
    return at.isoformat(timespec=precise).replace("+00:00", "Z")


def amount(units: int, symbol: str, decimals: int) -> dict[str, Any]:
    """Base units of a token."""
    return {"units": str(units), "symbol": symbol, "decimals": decimals}


def tokens(units: int, token: Token) -> dict[str, Any]:
    """Base units of this token."""
    return amount(units, token.symbol, token.decimals)


def coin(wei: int) -> dict[str, Any]:
    """An amount of the chain's coin."""
    return amount(wei, COIN, COIN_DECIMALS)


def price(found: Price | None, token: Token) -> dict[str, Any] | None:
    """What a second costs, exactly, as the contract keeps it."""
    if found is None:
        return None
    return {**amount(found.raw, token.symbol, token.decimals + PRICE_DECIMALS), "per": "second"}
