from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.fetch.pipeline import DEPTH, FLUSH_BYTES, PIECE_BYTES, Pipeline
from enclave.fetch.store import allocate
from enclave.ipfs.unixfs import Piece, Span
from faults import Refused, RetryLater

pytestmark = pytest.mark.unit


class Collector:
    """A measurer that keeps what it is fed, and can be held up or made to fail."""

    def __init__(self, fail_at: int | None = None, gate: threading.Event | None = None) -> None:
        self.fed = bytearray()
        self.closed = 0
        self._fail_at = fail_at
        self._gate = gate

    def update(self, data: bytes, /) -> None:
        if self._gate is not None:
            self._gate.wait(10)
        self.fed += data
        if self._fail_at is not None and len(self.fed) >= self._fail_at:
            raise Refused("no enclave image")

    def finish(self) -> bytes:
        return bytes(self.fed)

    def close(self) -> None:
        self.closed += 1


def pipeline(part: Path, size: int, collector: Collector) -> Pipeline[bytes]:
    allocate(part, size)
    return Pipeline(part, collector)


@given(
    st.lists(st.binary(max_size=30) | st.tuples(st.integers(0), st.integers(1, 50)), max_size=20)
)
def test_put__pieces_and_spans__reach_disk_and_measurer_alike(
    tmp_path_factory: pytest.TempPathFactory, plan: list[bytes | tuple[int, int]]
) -> None:
    expected, pieces = bytearray(), list[Piece]()
    for step in plan:
        if isinstance(step, bytes):
            expected += step
            pieces.append(step)
        elif expected:
            start = step[0] % len(expected)
            size = min(step[1], len(expected) - start)
            pieces.append(Span(start, size))
            expected += expected[start : start + size]
    part = tmp_path_factory.mktemp("pipeline") / "part"
    one = pipeline(part, len(expected), Collector())
    for piece in pieces:
        one.put(piece)
    assert one.finish() == bytes(expected) == part.read_bytes()
    one.close()


def test_put__a_span_over_several_pieces__is_copied_in_bounds(tmp_path: Path) -> None:
    data = os.urandom(2 * PIECE_BYTES + 5)
    one = pipeline(tmp_path / "part", 2 * len(data), Collector())
    one.put(data)
    one.put(Span(0, len(data)))
    assert one.finish() == data * 2 == (tmp_path / "part").read_bytes()
    one.close()


def test_put__a_measurer_that_refuses__is_raised_to_the_caller(tmp_path: Path) -> None:
    collector = Collector(fail_at=1)
    one = pipeline(tmp_path / "part", 0, collector)
    with pytest.raises(Refused, match="no enclave image"):
        _finish(one, [bytes(PIECE_BYTES)] * (DEPTH + 3))
    one.close()
    one.close()
    assert collector.closed >= 1


def test_put__a_slow_measurer__holds_the_caller_back(tmp_path: Path) -> None:
    gate, put = threading.Event(), list[int]()
    one = pipeline(tmp_path / "part", 0, Collector(gate=gate))

    def feed() -> None:
        for number in range(3 * DEPTH):
            one.put(bytes(PIECE_BYTES))
            put.append(number)

    feeding = threading.Thread(target=feed)
    feeding.start()
    feeding.join(0.2)
    assert len(put) <= DEPTH + 1
    gate.set()
    feeding.join()
    assert len(one.finish()) == 3 * DEPTH * PIECE_BYTES
    one.close()


def test_close__in_the_middle__ends_the_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    one = pipeline(tmp_path / "part", 0, Collector())
    one.put(bytes(PIECE_BYTES))
    one.close()
    assert threading.active_count() == before


def test_put__a_disk_that_is_full__says_so(tmp_path: Path) -> None:
    one = Pipeline(Path("/dev/full"), Collector())
    with pytest.raises(RetryLater, match="disk is full"):
        _finish(one, [bytes(PIECE_BYTES)])
    one.close()


def test_finish__an_early_flush_that_failed__is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells an error once for each opened file: the last flush knows nothing of it."""

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "the disk is broken")

    monkeypatch.setattr(os, "fdatasync", fail)
    one = pipeline(tmp_path / "part", 0, Collector())
    with pytest.raises(RetryLater, match="the disk is broken"):
        _finish(one, [bytes(FLUSH_BYTES)])
    one.close()


def test_close__during_an_early_flush__keeps_the_file_open_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, seen = threading.Event(), list[str]()
    close = os.close

    def flush(fd: int) -> None:
        begun.set()
        os.fsync(fd)
        seen.append("flushed")

    def closed(fd: int) -> None:
        seen.append("closed")
        close(fd)

    monkeypatch.setattr(os, "fdatasync", flush)
    monkeypatch.setattr(os, "close", closed)
    one = pipeline(tmp_path / "part", 0, Collector())
    one.put(bytes(FLUSH_BYTES))
    assert begun.wait(10)
    one.close()
    assert seen[-2:] == ["flushed", "closed"]


def test_allocate__a_folder_that_is_gone__says_so(tmp_path: Path) -> None:
    with pytest.raises(RetryLater, match="no disk space"):
        allocate(tmp_path / "gone" / "part", 10)


def _finish(one: Pipeline[bytes], pieces: list[bytes]) -> bytes:
    for piece in pieces:
        one.put(piece)
    return one.finish()
