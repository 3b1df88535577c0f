"""What it means that a gateway answers with something else than what was asked.

One table of statuses, by what to do about them, and the sentence that came along, which is often
the only place where the reason is said ("not pinned here", "blocked for legal reasons").
Sources: RFC 9110 and 7725, the Trustless Gateway specification, Cloudflare's own codes, and what
Kubo, Pinata, Infura and the badbits list were reported to answer.
"""

from __future__ import annotations

from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final

import httpcore

from enclave.web.http import header, is_packed
from enclave.web.words import first_bytes, words
from faults import TryElsewhere

MAX_REST_SECONDS: Final = 300.0  # whatever a gateway asks for


class BadAnswer(TryElsewhere):
    """The source answers, but not with what was asked: it lacks it or does not speak this."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class NotReached(BadAnswer):
    """Nobody answers there."""


class Withheld(BadAnswer):
    """It will not give this, now or in a minute: it is not asked again in this fetch."""


class Busy(BadAnswer):
    """It asks to be left alone for `rest_seconds`."""

    def __init__(self, text: str, status: int, rest_seconds: float) -> None:
        super().__init__(text, status)
        self.rest_seconds = rest_seconds


_CLOUDFLARE_ORIGIN: Final = "Cloudflare does not reach the gateway behind it"
_MEANINGS: Final = {
    206: "a part, though all was asked",
    304: "unchanged, though nothing is kept here",
    400: "it does not understand the question",
    401: "it wants a key; none is sent",
    402: "it wants to be paid",
    403: "it refuses",
    404: "it does not have it",
    406: "it does not serve this format",
    410: "it has removed it for good",
    412: "it serves only what is in its own store",
    415: "it does not serve this format",
    429: "it was asked too often",
    451: "it may not serve it, for legal reasons",
    500: "it is in trouble",
    501: "it does not serve this format",
    502: "what is behind it is in trouble",
    503: "it is too busy",
    504: "it found nobody who has it in its own time",
    **dict.fromkeys(range(520, 531), _CLOUDFLARE_ORIGIN),
}
# Refusals that the next second does not change. 404 is none: what was just added comes late.
_WITHHELD: Final = frozenset({401, 402, 403, 410, 451})
# Single blocks may be what is refused: then a CAR with the block in it is asked for, once.
FINAL: Final = frozenset({410, 451})
_BUSY: Final = frozenset({429, 503})


def bad_answer(response: httpcore.Response, who: str = "gateway") -> BadAnswer:
    """What an answer of `who` whose status is no good comes to. Reads a little of the body."""
    status = response.status
    meaning = _MEANINGS.get(status, "")
    said = sentence(response)
    text = f"the {who} answers with status {status}"
    text += f" ({meaning})" if meaning else ""
    text += f": {said}" if said else ""
    if status in _WITHHELD:
        return Withheld(text, status)
    rest = rest_seconds(response) if status in _BUSY else None
    return BadAnswer(text, status) if rest is None else Busy(text, status, rest)


def sentence(response: httpcore.Response) -> str:
    """What the body says to people, as `words`; what is packed is not unpacked."""
    if is_packed(response):
        return ""
    kind = header(response, "content-type").partition(";")[0].strip().lower()
    return words(first_bytes(response.iter_stream()), kind)


def rest_seconds(response: httpcore.Response) -> float | None:
    """How long `Retry-After` asks to wait, at most MAX_REST_SECONDS; a date counts from the
    answer's own. None: it does not say, or in no way that is known."""
    asked = header(response, "retry-after").strip()
    if asked.isascii() and asked.isdigit() and len(asked) < 10:
        return min(float(asked), MAX_REST_SECONDS)
    with suppress(ValueError, TypeError, OverflowError):
        until = parsedate_to_datetime(asked)
        seconds = (until - parsedate_to_datetime(header(response, "date"))).total_seconds()
        return min(max(0.0, seconds), MAX_REST_SECONDS)
    return None
