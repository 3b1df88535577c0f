"""Amounts and times as people write and read them."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal

from agent.market.model import Price, Wei
from agent.markets.token import Token
from faults import UsageFault

MOST_DIGITS = 12  # of whole tokens, before a rate is shown by its size
_AMOUNT = re.compile(r"[0-9]{1,30}(?:\.[0-9]{1,30})?\Z")


def check_amount(text: str, symbol: str) -> None:
    """Raises UsageFault: not a number of whole tokens; before anybody is asked anything."""
    if not _AMOUNT.match(text):
        raise UsageFault(f"{text[:60]!r} is not an amount of {symbol} such as 250 or 0.5")


def read_amount(text: str, token: Token) -> Wei:
    """`text` whole tokens as base units, exactly. Raises UsageFault."""
    check_amount(text, token.symbol)
    units = Decimal(text) * 10**token.decimals
    if units != int(units) or units == 0:
        problem = "is finer than the token" if units else "is nothing"
        raise UsageFault(f"{text} {token.symbol} {problem}")
    return Wei(int(units))


def show_amount(units: int, token: Token, places: int = 2) -> str:
    """Base units in whole tokens, rounded down to `places`; more where that shows 0 for some."""
    whole, rest = divmod(abs(units), 10**token.decimals)
    digits = f"{rest:0{token.decimals}d}" if token.decimals else ""
    if not whole and not int(digits[:places] or "0") and rest:
        places = token.decimals
    sign = "-" if units < 0 else ""
    shown = f"{whole}.{digits[:places]}" if places and digits else str(whole)
    return f"{sign}{shown} {token.symbol}"


def show_price(price: Price, token: Token) -> str:
    """A rate as people say it: 0.17 USDC/h. Users may write one of 256 bits: 2.084e+68."""
    amount, _, unit = price.text(token.decimals).partition("/")
    if len(amount.partition(".")[0]) > MOST_DIGITS:
        amount = f"{Decimal(amount):.3e}"
    return f"{amount} {token.symbol}/{unit}"


def show_time(at: float | None) -> str:
    """A moment in UTC, to the second; a dash for none."""
    if not at:
        return "-"
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def show_until(seconds: float, what: str) -> str:
    """How far off something is, in the tense that it has."""
    if seconds < 0:
        return f"{what} passed {show_span(seconds)}"
    return f"{what} in {show_span(seconds)}"


def show_span(seconds: float) -> str:
    """A length of time, in two units at most."""
    if seconds < 0:
        return f"{show_span(-seconds)} ago"
    whole = int(seconds)
    for size, unit, part, smaller in ((86400, "d", 3600, "h"), (3600, "h", 60, "min")):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // part} {smaller}"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
