"""Amounts of the devnet's test dollars."""

from __future__ import annotations


def dollars(text: str) -> int:
    """Base units. Raises UsageFault: not more than 0 with at most six decimals."""
    from decimal import Decimal, InvalidOperation

    from faults import UsageFault

    try:
        amount = Decimal(text) * 10**6
    except InvalidOperation:
        raise UsageFault(f"{text!r} is no amount; write it as 2.50") from None
    if amount != amount.to_integral_value() or amount <= 0:
        raise UsageFault(f"{text} is not more than 0 with at most six decimals")
    return int(amount)
