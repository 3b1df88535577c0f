"""The near end of a fetch: verified bytes to disk and to the measurer, in a thread of its own.

The network and the block hashes run in the caller's thread, writing here, measuring in the
measurer's threads; hashlib and the kernel release the interpreter's lock, so they overlap.
Memory is bounded: `PIECE_BYTES` x `DEPTH` wait here at most, then the caller waits.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Final, Generic, Protocol, TypeVar

from enclave.fetch.disk import disk_fault
from enclave.ipfs.unixfs import Piece, Span
from faults import RetryLater

PIECE_BYTES: Final = 1 << 20  # large enough that switching threads costs nothing beside hashing
DEPTH: Final = 6
FLUSH_BYTES: Final = 32 << 20  # the disk works while the rest arrives, so the last flush is short

M_co = TypeVar("M_co", covariant=True)


class Measurer(Protocol[M_co]):
    """What every verified byte is fed to, in order; `eif.measure.StreamingMeasurer` is one."""

    def update(self, data: bytes, /) -> None: ...

    def finish(self) -> M_co:
        """The measurements; called once, after the last byte."""
        ...

    def close(self) -> None:
        """Give up: release threads and memory. Called always, after `finish` too."""
        ...


class Pipeline(Generic[M_co]):
    """Takes the pieces of one file and leaves it at `part`, flushed to the disk, and measured.

    `part` exists already, with its disk space taken.
    """

    def __init__(self, part: Path, measurer: Measurer[M_co]) -> None:
        self._fd = os.open(part, os.O_RDWR | os.O_CLOEXEC)
        self._measurer = measurer
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._queue: Queue[Piece | None] = Queue(DEPTH)
        self._fault: BaseException | None = None
        self._flusher = _Flusher(self._fd)
        self._thread = threading.Thread(target=self._work, name="image-writer", daemon=True)
        self._thread.start()

    def put(self, piece: Piece) -> None:
        """Take the next piece; waits while the disk or the measurer is behind.

        Raises what they raised: Refused for no enclave image, RetryLater for a full disk.
        """
        if isinstance(piece, Span):
            self._send_waiting()
            self._send(piece)
            return
        self._waiting.append(piece)
        self._waiting_bytes += len(piece)
        if self._waiting_bytes >= PIECE_BYTES:
            self._send_waiting()

    def finish(self) -> M_co:
        """Everything is written and flushed; the measurements. Raises as `put` does."""
        self._send_waiting()
        self._send(None)
        self._thread.join()
        self._check()
        return self._measurer.finish()

    def close(self) -> None:
        """Stop, whatever is still queued, and let go of everything. Twice is fine."""
        if self._thread.is_alive():
            self._fault = self._fault or RuntimeError("the pipeline was closed")
            self._queue.put(None)
            self._thread.join()
        self._flusher.close()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._measurer.close()

    def _send_waiting(self) -> None:
        if self._waiting:
            whole = self._waiting[0] if len(self._waiting) == 1 else b"".join(self._waiting)
            self._waiting, self._waiting_bytes = [], 0
            self._send(whole)

    def _send(self, piece: Piece | None) -> None:
        self._check()
        self._queue.put(piece)

    def _check(self) -> None:
        if self._fault is not None:
            raise self._fault

    def _work(self) -> None:
        """The writer's thread: on a fault it keeps emptying the queue so that nobody waits."""
        while (piece := self._queue.get()) is not None:
            if self._fault is None:
                self._attempt(lambda piece=piece: self._store(piece))  # type: ignore[misc]  # bound
        if self._fault is None:
            self._attempt(self._flusher.finish)

    def _attempt(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as fault:
            self._fault = disk_fault(fault)
        except BaseException as fault:  # noqa: BLE001 - handed to the caller's thread, which raises it
            self._fault = fault

    def _store(self, piece: Piece) -> None:
        if isinstance(piece, Span):
            for start in range(piece.start, piece.start + piece.size, PIECE_BYTES):
                size = min(PIECE_BYTES, piece.start + piece.size - start)
                self._write(self._read_back(start, size))
        else:
            self._write(piece)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]
        self._flusher.wrote(len(data))
        self._measurer.update(data)

    def _read_back(self, start: int, size: int) -> bytes:
        data = os.pread(self._fd, size, start)
        if len(data) != size:
            raise RetryLater("the image changed on disk while it was written; fetch it again")
        return data


class _Flusher:
    """Has the disk keep up with what is written to `fd`, beside the writer.

    An error of the disk is told once for each opened file, so what an early flush met is raised
    by the next call here.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._pool = ThreadPoolExecutor(1, "image-flusher")
        self._flush: Future[None] | None = None
        self._unflushed = 0

    def wrote(self, size: int) -> None:
        """So many bytes more. Raises OSError."""
        self._unflushed += size
        if self._unflushed >= FLUSH_BYTES and (self._flush is None or self._flush.done()):
            self._settle()
            self._flush, self._unflushed = self._pool.submit(os.fdatasync, self._fd), 0

    def finish(self) -> None:
        """All is on the disk. Raises OSError."""
        self._settle()
        os.fsync(self._fd)

    def close(self) -> None:
        """Once the flush that is under way has ended, `fd` is used no more."""
        self._pool.shutdown()

    def _settle(self) -> None:
        if self._flush is not None:
            self._flush.result()
