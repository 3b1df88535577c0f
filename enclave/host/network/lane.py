"""One lane a forwarded port: listeners, what they accept, and the connection that is made for each.

Where it leads is in `ways`; how many there may be and who gives way is in `shares`.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from enclave.host.network import joint as joining
from enclave.host.network.joint import Buffer, Joint
from enclave.host.network.loop import READ, WRITE, Loop
from enclave.host.network.names import Names
from enclave.host.network.shares import Shares
from enclave.host.network.wires import Wires

ACCEPTS_A_TURN = 64  # so that a flood of one lane leaves the others their turns
CONNECT_SECONDS = 10.0
# Nothing went either way for so long; AWS's own load balancers and NAT give 350 s.
IDLE_SECONDS = 3600.0
HALF_IDLE_SECONDS = 600.0
# The kernel's ways to say that this machine has no more to give (accept(2)).
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass
class World:
    """What all lanes of a process have in common; `clock` counts seconds."""

    loop: Loop
    wires: Wires
    names: Names
    shares: Shares[Joint]
    clock: Callable[[], float]
    buffer: Buffer = field(default_factory=Buffer)


@dataclass
class Attempt:
    """A connection that is being made for a joint."""

    until: float
    make: Callable[[], socket.socket] | None = None
    sock: socket.socket | None = None
    address: Any = None
    watched: int = 0
    left: tuple[str, ...] = ()  # addresses that are tried when this one does not answer


class Lane:
    """Listeners and connections of one forwarded port."""

    def __init__(self, world: World, name: str, cid: int) -> None:
        self.name, self._world, self._cid = name, world, cid
        self._share = world.shares.lane(name)
        self._listeners: dict[str, socket.socket] = {}
        self._watching = False
        self._attempts: dict[Joint, Attempt] = {}
        self._joints: dict[Joint, str] = {}
        self._closed = False
        self.problems: dict[str, str] = {}
        self._accepted = self._refused = self._unreached = 0
        self._from_near = self._from_far = 0

    # Listening

    def _places(self) -> dict[str, Callable[[], socket.socket]]:
        """By name, how each listener that there should be is made."""
        raise NotImplementedError

    def tick(self, now: float) -> None:
        """Open what is not open yet, end what waited for too long."""
        places = self._places()
        for gone in set(self._listeners) - set(places):
            self._stop_listening(gone)
        for name in set(places) - set(self._listeners):
            self._listen(name, places[name])
        self._pause(watching=True)
        for joint, attempt in list(self._attempts.items()):
            self._retry(joint, attempt, now)

    def sweep(self, now: float) -> None:
        """End what lay still for too long."""
        for joint, last in self._share.still(now - HALF_IDLE_SECONDS):
            if joint.half_closed or last < now - IDLE_SECONDS:
                joint.reset()

    def _listen(self, name: str, make: Callable[[], socket.socket]) -> None:
        try:
            self._listeners[name] = make()
        except OSError as error:
            self.problems["listen"] = f"cannot listen on {name}: {error.strerror or error}"
            return
        self.problems.pop("listen", None)
        if self._watching:
            self._world.loop.watch(self._listeners[name], 0, READ, self._accept)

    def _stop_listening(self, name: str) -> None:
        listener = self._listeners.pop(name)
        if self._watching:
            self._world.loop.watch(listener, READ, 0, self._accept)
        listener.close()

    def _pause(self, *, watching: bool) -> None:
        """Stop accepting until the next tick, or go on: a machine without descriptors does not
        become better by being asked a thousand times a second."""
        if watching != self._watching:
            self._watching = watching
            for listener in self._listeners.values():
                before = 0 if watching else READ
                self._world.loop.watch(listener, before, READ - before, self._accept)

    def _accept(self, _: int) -> None:
        for listener in list(self._listeners.values()):
            for _turn in range(ACCEPTS_A_TURN):
                if not self._accept_one(listener):
                    break

    def _accept_one(self, listener: socket.socket) -> bool:
        """Whether there may be more."""
        try:
            near, address = listener.accept()
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in EXHAUSTED:
                self.problems["accept"] = f"cannot accept: {error.strerror}"
                self._pause(watching=False)
                return False
            return not self._closed  # that connection was gone before it was taken: accept(2)
        self.problems.pop("accept", None)
        self._admit(near, self._source(address))
        return True

    def _source(self, address: Any) -> str | None:
        """Whose connection it is, for the shares; None: nobody's that may connect."""
        raise NotImplementedError

    def _admit(self, near: socket.socket, address: str | None) -> None:
        shares, now = self._world.shares, self._world.clock()
        if address is not None and not shares.room(self.name):
            found = shares.victim(self.name, address, now)
            if found is None:
                address = None
            else:
                found[1].reset()
        if address is None:
            self._refused += 1
            near.close()
            return
        self._accepted += 1
        joint = Joint(self._world.loop, self._world.buffer, near, self._moved, self._ended)
        self._joints[joint] = address
        self._share.join(joint, address, now)
        self._attempts[joint] = Attempt(now + CONNECT_SECONDS)
        self._reach(joint)

    def _moved(self, joint: Joint) -> None:
        self._share.moved(joint, self._joints[joint], self._world.clock())

    def _ended(self, joint: Joint) -> None:
        attempt = self._attempts.pop(joint, None)
        if attempt is not None:
            self._drop(attempt)
        self._share.leave(joint, self._joints.pop(joint))
        self._from_near += joint.near.count
        self._from_far += joint.far.count if joint.far else 0

    # Connecting

    def _reach(self, joint: Joint) -> None:
        """Begin to connect the other side; or to find out where it is."""
        raise NotImplementedError

    def _connect(self, joint: Joint, make: Callable[[], socket.socket], address: Any) -> None:
        attempt = self._attempts[joint]
        attempt.make, attempt.address = make, address
        self._begin(joint, attempt)

    def _begin(self, joint: Joint, attempt: Attempt) -> None:
        """Once more at the next tick where this machine lacks a descriptor or memory for it."""
        assert attempt.make is not None
        try:
            attempt.sock = attempt.sock or attempt.make()
            code = joining.connecting(attempt.sock, attempt.address)
        except OSError as error:
            self.problems["connect"] = f"cannot connect: {error.strerror}"
            if error.errno not in EXHAUSTED:
                self._failed(joint, str(error.strerror))
            return
        self.problems.pop("connect", None)
        if code == 0:
            self._connected(joint, attempt)
        elif code == errno.EINPROGRESS:
            self._world.loop.watch(
                attempt.sock, 0, WRITE, lambda _: self._connection_made(joint, attempt)
            )
            attempt.watched = WRITE
        elif code != errno.EAGAIN:  # a Unix socket's full backlog, which a tick tries again
            self._failed(joint, os.strerror(code))

    def _connection_made(self, joint: Joint, attempt: Attempt) -> None:
        if joint.closed or attempt.sock is None or self._attempts.get(joint) is not attempt:
            return
        error = joining.outcome(attempt.sock)
        if error is not None:
            self._failed(joint, error)
            return
        self._connected(joint, attempt)

    def _connected(self, joint: Joint, attempt: Attempt) -> None:
        sock = attempt.sock
        assert sock is not None
        self._world.loop.watch(sock, attempt.watched, 0, _ignored)
        del self._attempts[joint]
        try:
            joint.connected(sock)
        except OSError:  # one of them is gone already
            joint.reset()

    def _failed(self, joint: Joint, error: str) -> None:
        """The other side is not there: the client is told by a reset."""
        self._unreached += 1
        joint.reset()

    def _retry(self, joint: Joint, attempt: Attempt, now: float) -> None:
        if now >= attempt.until:
            self._failed(joint, "no answer")
        elif attempt.make is not None and not attempt.watched:
            self._begin(joint, attempt)

    def _drop(self, attempt: Attempt) -> None:
        if attempt.sock is not None:
            self._world.loop.watch(attempt.sock, attempt.watched, 0, _ignored)
            attempt.sock.close()
        attempt.make, attempt.sock, attempt.watched = None, None, 0

    def close(self) -> None:
        """Not ordered any more: its connections are reset."""
        self._closed = True
        for name in list(self._listeners):
            self._stop_listening(name)
        for joint in list(self._joints):
            joint.reset()
        self._world.shares.close(self.name)

    @property
    def counts(self) -> dict[str, int]:
        """By the names of `documents.COUNTS`."""
        into, out = self._bytes_in_and_out()
        tried = {"accepted": self._accepted, "refused": self._refused, "failed": self._unreached}
        return {**tried, "bytes_in": into, "bytes_out": out}

    def _bytes_in_and_out(self) -> tuple[int, int]:
        """Into the enclave and out of it; of open connections too."""
        raise NotImplementedError

    def _bytes(self) -> tuple[int, int]:
        """What came from the side that connected, and from the one that was reached."""
        far = (joint.far for joint in self._joints)
        return (
            self._from_near + sum(joint.near.count for joint in self._joints),
            self._from_far + sum(end.count for end in far if end is not None),
        )


def _ignored(_: int) -> None:
    """Nothing is watched by it."""
