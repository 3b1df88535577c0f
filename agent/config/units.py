"""How people write amounts ("15m", "2GiB", "0.17/h", "40gwei") and what they come to.

Readers raise ValueError with a text that says what was expected. Nothing here knows TOML.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

SECONDS: Mapping[str, Decimal | int] = {
    "ms": Decimal("0.001"),
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
}
BYTES = {
    "B": 1,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "kB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
WEI = {"wei": 1, "gwei": 10**9, "eth": 10**18}
PERIODS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

_AMOUNT = re.compile(r"\s*([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*([A-Za-z]+)\s*\Z")
_OF_COST = re.compile(r"\s*cost\s*(?:\*\s*([0-9]{1,6}(?:\.[0-9]{1,9})?)\s*)?\Z")
_PERCENT = re.compile(r"\s*([0-9]{1,3}(?:\.[0-9]{1,6})?)\s*%\s*\Z")
_RATE = re.compile(r"\s*([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*/\s*([a-z]+)\s*\Z")


@dataclass(frozen=True, slots=True)
class Rate:
    """An exact price in whole payment tokens a period, as a person wrote it: "0.17/h"."""

    amount: Decimal
    period: str

    def __str__(self) -> str:
        return f"{self.amount:f}/{self.period}"


@dataclass(frozen=True, slots=True)
class OfCost:
    """A price as so many times what the type costs: "cost * 1.15"."""

    times: Decimal

    def __str__(self) -> str:
        return f"cost * {self.times:f}"


def read_seconds(text: str) -> float:
    """Seconds in a duration such as "15m", "250ms" or "1.5h"."""
    return float(_scaled(text, SECONDS, "a duration", "15m"))


def read_bytes(text: str) -> int:
    """Whole bytes in a size such as "2GiB" or "500MB"; rounds down."""
    return int(_scaled(text, BYTES, "a size", "2GiB"))


def read_wei(text: str) -> int:
    """Wei in an amount such as "40gwei" or "0.05eth"; finer than a wei is refused."""
    wei = _scaled(text, WEI, "an amount of the chain's coin", "0.05eth")
    if wei != int(wei):
        raise ValueError(f"{text!r} is finer than one wei")
    return int(wei)


def read_rate(text: str) -> Rate:
    """The price in `text`, such as "0.17/h"; more than zero."""
    match = _RATE.match(text)
    if match is None or match[2] not in PERIODS:
        raise ValueError(f"{text!r} is not a price such as '0.17/h' (per {_list(PERIODS)})")
    rate = Rate(Decimal(match[1]), match[2])
    if rate.amount == 0:
        raise ValueError("a price must be more than 0")
    return rate


def read_rate_or_rule(text: str) -> Rate | OfCost:
    """A price, or a rule that makes one of the type's cost: "cost * 1.15"."""
    if "cost" not in text:
        return read_rate(text)
    match = _OF_COST.match(text)
    if match is None:
        raise ValueError(f"{text!r} is not a rule such as 'cost * 1.15'")
    times = Decimal(match[1] or 1)
    if not Decimal("0.01") <= times <= 1000:
        raise ValueError(f"{text!r}: a price is 0.01 to 1000 times the cost")
    return OfCost(times)


def read_percent(text: str) -> Fraction:
    """A part of one, written "1%"; at most all of it."""
    match = _PERCENT.match(text)
    if match is None or Decimal(match[1]) > 100:
        raise ValueError(f"{text!r} is not a share such as '1%', at most 100%")
    return Fraction(match[1]) / 100


def show_percent(share: Fraction) -> str:
    """As it is written: 1/100 -> "1%"."""
    percent = Decimal(share.numerator * 100) / share.denominator
    return f"{percent.normalize():f}%"


def show_seconds(seconds: float) -> str:
    """The shortest exact text of a duration: 900 -> "15m", 0.25 -> "250ms"."""
    if seconds == 0:
        return "0s"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds * 1000:.0f}ms" if seconds < 1 else f"{seconds:g}s"


def show_bytes(size: int) -> str:
    """The largest binary unit that divides `size` evenly."""
    exponent = min(4, int(math.log2(size & -size)) // 10) if size else 0
    return f"{size >> (10 * exponent)}{('B', 'KiB', 'MiB', 'GiB', 'TiB')[exponent]}"


def show_wei(wei: int) -> str:
    """The largest unit that shows `wei` with at most four decimals."""
    for unit, least in (("eth", 10**14), ("gwei", 10**5)):
        if wei >= least and wei % least == 0:
            return f"{(Decimal(wei) / WEI[unit]).normalize():f}{unit}"
    return f"{wei}wei"


def show_coin(wei: int) -> str:
    """An amount of the chain's coin, whatever it is called."""
    return f"{wei / 10**18:.6f} coin" if wei >= 10**12 else show_wei(wei)


def _scaled(text: str, units: Mapping[str, Decimal | int], what: str, example: str) -> Decimal:
    match = _AMOUNT.match(text)
    if match is None or match[2] not in units:
        raise ValueError(f"{text!r} is not {what} such as {example!r} (units: {_list(units)})")
    return Decimal(match[1]) * units[match[2]]


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
