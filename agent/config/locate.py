"""On which line of a TOML file a key stands.

TOML's statements end at line ends, so the first whole lines of a file parse exactly when they end
between statements. The statement that sets a key is therefore between the longest such beginning
without the key and the shortest with it. Quadratic, and only used to word an error.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence

Path = Sequence[str | int]


def line_of(text: str, path: Path) -> int | None:
    """The 1-based line where the statement that sets `path` begins; None when nothing does."""
    lines = text.splitlines(keepends=True)
    whole = 0
    for count in range(1, len(lines) + 1):
        try:
            data = tomllib.loads("".join(lines[:count]))
        except tomllib.TOMLDecodeError:
            continue
        if _has(data, path):
            return whole + 1
        whole = count
    return None


def _has(data: object, path: Path) -> bool:
    for step in path:
        if isinstance(step, int):
            if not isinstance(data, list) or step >= len(data):
                return False
        elif not isinstance(data, dict) or step not in data:
            return False
        data = data[step]  # type: ignore[index]  # checked just above, by the kind of step
    return True
