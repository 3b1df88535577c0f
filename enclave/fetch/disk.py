"""What a disk refuses, as a fault that says what to do about it.

All of it is RetryLater: no room, no inodes, read-only, no locks are mended by somebody, and the
next try finds it so.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from faults import RetryLater

# What flock says where there are none (NFS without lockd, some FUSE and 9p).
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})


def disk_fault(fault: OSError) -> RetryLater:
    """What the disk refuses, in words that say what to do."""
    if fault.errno in (errno.ENOSPC, errno.EDQUOT):
        return RetryLater(
            "the disk is full, or has no inodes left (`df -h`, `df -i`); make room, or lower the"
            f" image quota{_where(fault)}"
        )
    if fault.errno == errno.EROFS:
        return RetryLater(
            "the disk is read-only: mounted so, or after an error (see `dmesg`)" + _where(fault)
        )
    if fault.errno in _NO_LOCKS:
        return RetryLater(
            "the file system takes no locks, as some network ones do; have the state directory on a"
            f" local disk: {fault.strerror}{_where(fault)}"
        )
    return RetryLater(f"the image cannot be written: {fault}")


def _where(fault: OSError) -> str:
    return f" ({fault.filename})" if fault.filename else ""


@contextmanager
def of_the_disk() -> Iterator[None]:
    """What is in it asks nothing but the disk. Raises RetryLater."""
    try:
        yield
    except OSError as fault:
        raise disk_fault(fault) from None
