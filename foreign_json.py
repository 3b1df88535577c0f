"""JSON that somebody else wrote: how deep it nests is looked at before a parser goes down with it.

CPython's scanner recurses on the C stack. It raises RecursionError at the limit of the interpreter;
where a library has raised that, or the stack of a thread is small, the process dies instead.
"""

from __future__ import annotations

import json
import re
from typing import Any

# Nothing that is read here nests deeper than ten; what people write in metadata might.
MOST_DEPTH = 64
# A string is taken whole, one without an end to the end of the text: a search that began anew at
# each quote would take quadratic time.
_STRINGS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_BRACKETS = re.compile(r"[\[{]|[\]}]")


class TooDeep(ValueError):
    """It nests deeper than anything that is meant to be read."""


def loads(body: str | bytes, most: int = MOST_DEPTH, **how: Any) -> Any:
    """As `json.loads`, `how` is what that takes. Raises ValueError for whatever is no JSON, and for
    what opens more than `most` brackets at once."""
    text = body if isinstance(body, str) else _text(body)
    check(text, most)
    return json.loads(text, **how)


def check(text: str, most: int = MOST_DEPTH) -> None:
    """Raises TooDeep."""
    if deeper_than(text, most):
        raise TooDeep(f"more than {most} brackets are open at once")


def deeper_than(text: str, most: int) -> bool:
    """Whether more than `most` brackets of the JSON text are open at once. Linear time."""
    if text.count("[") + text.count("{") <= most:
        return False
    depth = 0
    for bracket in _BRACKETS.findall(_STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > most:
            return True
    return False


def _text(body: bytes) -> str:
    """As json.loads decodes it."""
    return body.decode(json.detect_encoding(body), "surrogatepass")
