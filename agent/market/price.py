"""A price, exactly: payment-token base units x 10^12 per second, to and from `"0.17/h"`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from faults import UsageFault

HOUR = 3600
DAY = 24 * HOUR
MONTH = 730 * HOUR  # the month of AWS price pages: a year of 8,760 hours, by twelve

_SECONDS = {
    **dict.fromkeys(("s", "sec", "second"), 1),
    **dict.fromkeys(("min", "minute"), 60),
    **dict.fromkeys(("h", "hour"), HOUR),
    **dict.fromkeys(("d", "day"), DAY),
    **dict.fromkeys(("mo", "month"), MONTH),
}
_TEXT = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*/\s*([a-z]+)\s*")
_MAX_DIGITS = 40  # of an amount as text: more is a mistake, and not worth computing with


@dataclass(frozen=True, slots=True, order=True)
class Price:
    """What a second costs. `raw` is the contract's number; rates as text say "0.17/h".

    Any number that a contract can hold is a price, since users write them; what a provider asks
    (`parse`) is more than 0 and within 128 bits.

    A rate that is no whole number of units is rounded down, in the user's favour, by less than
    10^-12 base units a second. `text()` gives the shortest rate that reads back to this price.
    """

    raw: int

    SCALE: ClassVar[int] = 10**12
    MAX_RAW: ClassVar[int] = 2**128 - 1  # of an offer; the registry reverts above

    def __post_init__(self) -> None:
        if not 0 <= self.raw < 2**256:
            raise UsageFault(f"price {self.raw} is no number of 256 bits (10^-12 units/s)")

    @classmethod
    def parse(cls, text: str, decimals: int) -> Price:
        """From "0.17/h" in whole tokens of `decimals` decimals. Units: s, min, h, d, mo.

        Raises UsageFault: not a rate, an unknown unit, or a price the contract would refuse.
        """
        match = _TEXT.fullmatch(text)
        if match is None or len(text) > _MAX_DIGITS:
            raise UsageFault(f'price {text[:60]!r} is not a rate such as "0.17/h" or "0.0001/s"')
        per = _unit(match[2])
        raw = Fraction(match[1]) * 10**decimals * cls.SCALE / per
        if raw < 1:
            raise UsageFault(f"price {text!r} is less than the market can express")
        if raw > cls.MAX_RAW:
            raise UsageFault(f"price {text!r} is out of range: at most 2^128 - 1 (10^-12 units/s)")
        return cls(int(raw))

    def per(self, unit: str, decimals: int) -> Fraction:
        """Whole tokens per `unit`, exactly."""
        return Fraction(self.raw * _unit(unit), self.SCALE * 10**decimals)

    def text(self, decimals: int, unit: str = "h") -> str:
        """The shortest rate with `Price.parse(rate, decimals) == self`, such as "0.17/h"."""
        low = self.per(unit, decimals)
        high = Fraction((self.raw + 1) * _unit(unit), self.SCALE * 10**decimals)
        places = 0
        while (digits := -(-low.numerator * 10**places // low.denominator)) >= high * 10**places:
            places += 1
        return f"{_decimal(digits, places)}/{unit}"


def _unit(name: str) -> int:
    if name not in _SECONDS:
        known = "s, min, h, d or mo"
        raise UsageFault(f"unknown unit of time {name!r} in a price: use {known}")
    return _SECONDS[name]


def _decimal(digits: int, places: int) -> str:
    if places == 0:
        return str(digits)
    whole, part = divmod(digits, 10**places)
    return f"{whole}.{part:0{places}d}"
