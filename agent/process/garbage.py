"""Garbage that counting references can't free: looked for among what is new, rarely among all.

With 10,000 jobs there are millions of values, and a full collection looks at each of them: half a
second in which the loop answers nothing, twice a minute. So what survives one is set aside
(`gc.freeze`), and the next looks at what came since. What is set aside is still freed with its last
reference; only cycles of it wait until all is looked at again.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ALL_SECONDS = 3600.0  # a look at everything: the half second, once an hour
_FULL = 2  # the generation that holds everything


@contextmanager
def set_aside(now: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Within, full collections look at what is new; at its end all is as Python has it."""
    looked_at = now()

    def collecting(phase: str, info: dict[str, Any]) -> None:
        nonlocal looked_at
        if info["generation"] != _FULL:
            return
        if phase == "stop":
            gc.freeze()
        elif now() - looked_at >= ALL_SECONDS:
            gc.unfreeze()
            looked_at = now()

    gc.callbacks.append(collecting)
    try:
        yield
    finally:
        gc.callbacks.remove(collecting)
        gc.unfreeze()
