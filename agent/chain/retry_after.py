"""How long a node asks to be left alone: in headers, in its error's data, or in words.

`Retry-After` (RFC 9110, 10.2.3) is seconds or a date. Its cousins count seconds, milliseconds or
moments, each service in its own way; a number says by its size what it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

MOST_SECONDS = 60.0  # a longer wish is one node's word; with a single node a slash may come first
_MOMENT_MS, _MOMENT = 10**11, 10**8  # larger numbers are unix milliseconds, unix seconds

# Header (small letters) and what one of it is in seconds.
HEADERS = (
    ("retry-after-ms", 0.001),
    ("x-retry-after-ms", 0.001),
    ("retry-after", 1.0),
    ("x-retry-after", 1.0),
    ("ratelimit-reset", 1.0),  # IETF draft: seconds from now
    ("x-ratelimit-reset-after", 1.0),
    ("x-ratelimit-reset", 1.0),  # from now, or a moment
    ("x-rate-limit-reset", 1.0),
)
# Within an error's data: Infura's {"rate": {"backoff_seconds": 30}}, and what others call it.
DATA = (
    ("backoff_seconds", 1.0), ("retry_after", 1.0), ("retryAfter", 1.0), ("retry_after_ms", 0.001),
    ("try_again_in", 1.0), ("retryAfterMs", 0.001),
)  # fmt: skip
_UNITS = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
WORDS = re.compile(
    r"(?:\bin|\bafter|\bwait(?: for)?|\bwithin)\s+(?:about\s+)?(\d{1,9}(?:\.\d{1,6})?)\s*"
    r"(ms\b|milli|s\b|sec|m\b|min|h\b|hour)",
    re.IGNORECASE,
)


def asked_wait(headers: Mapping[str, str], text: str, data: Any, now: float) -> float | None:
    """Seconds from now, at most MOST_SECONDS; None: nothing was asked. `headers` in small letters.

    Dates are compared with the answer's own `Date`, if it has one: this machine's clock may be off.
    """
    here = _date(headers.get("date", "")) or now
    for name, unit in HEADERS:
        if name in headers and (found := _seconds(headers[name], unit, here)) is not None:
            return found
    found = _in_data(data, here)
    return _in_words(text) if found is None else found


def _seconds(given: str, unit: float, now: float) -> float | None:
    text = given.split(",")[0].split(";")[0].strip()
    if re.fullmatch(r"\d{1,15}(\.\d{1,9})?s?", text, re.ASCII):
        return _bounded(float(text.removesuffix("s")), unit, now)
    moment = _date(given)
    return None if moment is None else min(MOST_SECONDS, max(0.0, moment - now))


def _bounded(number: float, unit: float, now: float) -> float:
    if number >= _MOMENT_MS:
        number, unit = number / 1000 - now, 1.0
    elif number >= _MOMENT:
        number, unit = number - now, 1.0
    return min(MOST_SECONDS, max(0.0, number * unit))


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _in_data(data: Any, now: float, deep: int = 0) -> float | None:
    if not isinstance(data, dict) or deep > 2:
        return None
    for name, unit in DATA:
        given = data.get(name)
        if isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < 1e15:
            return _bounded(float(given), unit, now)
    nested = (_in_data(each, now, deep + 1) for each in list(data.values())[:8])
    return next((found for found in nested if found is not None), None)


def _in_words(text: str) -> float | None:
    match = WORDS.search(text)
    if match is None:
        return None
    unit = match[2].lower()
    factor = next(_UNITS[each] for each in ("milli", "ms", "s", "m", "h") if unit.startswith(each))
    return min(MOST_SECONDS, float(match[1]) * factor)
