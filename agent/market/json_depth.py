"""How deep a text nests, before a parser goes down with it and runs out of stack."""

from __future__ import annotations

import re

# A string is taken whole, one without an end to the end of the text: a search that began anew at
# each quote would take quadratic time.
_STRINGS_AND_BRACKETS = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)


def deeper_than(text: str, most: int) -> bool:
    """Whether more than `most` brackets of the JSON text are open at once. Linear time."""
    depth = 0
    for match in _STRINGS_AND_BRACKETS.finditer(text):
        first = match[0][0]
        depth += (first in "[{") - (first in "]}")
        if depth > most:
            return True
    return False
