"""Give up what the process that carries a stranger's bytes has no need of (capabilities(7)).

Devices and rules are made by `maker`, a process of its own. What is left is to listen on ports
below 1024. With no_new_privs (prctl(2)) no program that is begun from here gets more either.
"""

from __future__ import annotations

import ctypes
import os

BIND_LOW_PORTS = 1 << 10  # CAP_NET_BIND_SERVICE, capability.h
_VERSION_3, _NO_NEW_PRIVS = 0x20080522, 38


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    """Of 32 capabilities; two of them are all."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def drop(keep: int = BIND_LOW_PORTS) -> None:
    """Of this thread's capabilities keep those of the mask `keep` that it has; before there are
    other threads. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = _Header(_VERSION_3, 0), (_Data * 2)()
    _checked(libc.capget(ctypes.byref(header), sets))
    left = sets[0].permitted & keep
    sets[0], sets[1] = _Data(left, left, 0), _Data(0, 0, 0)
    _checked(libc.capset(ctypes.byref(header), sets))
    _checked(libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))


def _checked(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
