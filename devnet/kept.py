"""What takes minutes to make is made once and kept; who wants it meanwhile waits for the first.

A place is there whole or not at all: it is made in a folder beside it and renamed. A maker that is
broken off, even by a power cut, leaves at most a folder `part-...`, which the next one clears away.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK, _PART = ".lock", "part-"


def once(place: Path, make: Callable[[Path], Path]) -> Path:
    """`place`; when it is missing, what `make` made in the empty folder that it is given.

    One process at a time makes anything beside `place`. Raises what `make` raises, and OSError.
    """
    if place.exists():
        return place
    with _alone(place.parent):
        if not place.exists():
            with tempfile.TemporaryDirectory(prefix=_PART, dir=place.parent) as work:
                make(Path(work)).rename(place)
    return place


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """The only one here that makes something, by flock(2), which ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(f"{_PART}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield
