"""For fuzzing: bytes to change, and the bounds within which a reader must come to an answer."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import strategies as st

# Generous for a busy machine, and far below what a loop or an allocation out of hand takes.
SECONDS = 2.0
MEMORY_BYTES = 4 << 20


@contextmanager
def bounded(input_bytes: int) -> Iterator[None]:
    """No hang, no unbounded memory: CPU seconds of this thread, and bytes at the peak."""
    tracemalloc.start()
    begun = time.thread_time()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.thread_time() - begun < SECONDS
    assert peak < MEMORY_BYTES + 8 * input_bytes


@st.composite
def bytes_changed(draw: st.DrawFn, data: bytes) -> bytes:
    """`data`, or with some bytes changed, put in or cut out."""
    for _ in range(draw(st.integers(0, 2))):
        at, cut = draw(st.integers(0, len(data))), draw(st.integers(0, 6))
        data = data[:at] + draw(st.binary(max_size=6)) + data[at + cut :]
    return data
