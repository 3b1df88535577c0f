"""Small files that are there whole or not at all, and files that are locked."""

from __future__ import annotations

import fcntl
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from enclave.fetch.disk import disk_fault


def write_whole(path: Path, text: str) -> None:
    """Replace a small file so that a crash leaves the old or the new one."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}")
    try:
        with scratch.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        scratch.rename(path)
    except OSError:
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise
    flush(path.parent)


def locked(lock: Path, how: int) -> TextIO:
    """A lock's file, locked until it is closed. Raises BlockingIOError, RetryLater."""
    try:
        file = _opened_alone(lock)
        try:
            fcntl.flock(file, how)
        except OSError:
            file.close()
            raise
    except BlockingIOError:
        raise
    except OSError as fault:
        raise disk_fault(fault) from None
    return file


def _opened_alone(lock: Path) -> TextIO:
    """A lock's file: its owner's alone, whatever umask the one who makes it first has."""
    return open(lock, "w", opener=lambda name, flags: os.open(name, flags, 0o600))  # opener


def flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
