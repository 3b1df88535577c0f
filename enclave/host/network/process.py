"""The process that carries the enclave's bytes. It outlives the host program, which orders it, and
has no rights but to listen (`rights`): what needs more is made by another (`maker`).

Orders come over an abstract Unix socket, each answered by a report. The socket is also what makes
it the only one of its kind: a second process can't bind it and ends.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Union

from enclave.host.documents import Egress, Port
from enclave.host.network import maker, rights
from enclave.host.network.console import Console
from enclave.host.network.device import Device
from enclave.host.network.init_server import InitServer
from enclave.host.network.lane import Lane, World
from enclave.host.network.loop import READ, Loop
from enclave.host.network.names import Names
from enclave.host.network.orders import NOTHING, Orders, Report
from enclave.host.network.shares import Shares
from enclave.host.network.tunnel import Tunnel
from enclave.host.network.ways import Inward, Outward
from enclave.host.network.wires import Wires

Spec = Union[Port, Egress]
Specs = dict[str, tuple[int, Spec]]
Make = Callable[[Wires, bool], Device]

TICK_SECONDS = 0.5
SWEEP_SECONDS = 5.0
# Connections at once, two descriptors each. 4,096 idle ones are some 10 MiB here and as much in
# the kernel; the parent of the smallest type has 0.5 GiB.
MOST_PLACES = 4096
# Listeners, the selector, the resolver's, the control socket's.
KEPT_DESCRIPTORS = 256
MESSAGE_BYTES = 128 << 10
_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))


class Network:
    """The lanes that are ordered, and one thread that serves them."""

    def __init__(self, world: World, control: socket.socket, make: Make) -> None:
        self._world, self._control, self._make = world, control, make
        self._orders = NOTHING
        self._lanes: dict[str, Lane] = {}
        self._init: InitServer | None = None
        self._tunnel: Tunnel | None = None
        self._console: Console | None = None
        self._tick_at = self._sweep_at = 0.0
        control.setblocking(False)
        self._listening = 0
        self._listen(READ)

    def run(self) -> None:
        """For ever."""
        while True:
            self.turn()

    def turn(self) -> None:
        """Serve what came, until the next tick at the latest."""
        now = self._world.clock()
        if now >= self._tick_at:
            self._tick_at = now + TICK_SECONDS
            self._tick(now)
        wait = self._tunnel.wait(now) if self._tunnel is not None else None
        until = self._tick_at - self._world.clock()
        self._world.loop.turn(max(until if wait is None else min(until, wait), 0.0))

    def order(self, orders: Orders) -> None:
        """From the lanes that are to those that are ordered; one that stays is not touched."""
        if orders == self._orders:
            return
        before, self._orders = self._orders, orders
        self._order_lanes(_specs(before), _specs(orders))
        if (before.cid, before.serving) != (orders.cid, orders.serving):
            self._order_init(orders)
        if (before.cid, before.packets) != (orders.cid, orders.packets):
            self._order_packets(orders)
        if before.console != orders.console:
            self._order_console(orders)
        self._tick(self._world.clock())

    def _order_init(self, orders: Orders) -> None:
        if self._init is not None:
            self._init.close()
            self._init = None
        if orders.serving is not None:
            world = self._world
            self._init = InitServer(
                world.loop, world.wires, world.clock, orders.cid, orders.serving
            )

    def _order_packets(self, orders: Orders) -> None:
        if self._tunnel is not None:
            self._tunnel.close()
            self._tunnel = None
        if orders.packets is not None:
            world = self._world
            self._tunnel = Tunnel(
                world.loop, world.wires, world.clock, orders.cid, orders.packets, self._make
            )

    def _order_console(self, orders: Orders) -> None:
        watched, world = orders.console, self._world
        if self._console is not None and watched is None:
            self._console.close()
            self._console = None
        if watched is None:
            return
        if self._console is None:
            self._console = Console(world.loop, world.wires, world.clock, watched)
        self._console.follow(watched.enclave)

    def _order_lanes(self, known: Specs, wanted: Specs) -> None:
        for name in [name for name in self._lanes if wanted.get(name) != known[name]]:
            self._lanes.pop(name).close()
        for name, (cid, spec) in wanted.items():
            if name not in self._lanes:
                self._lanes[name] = _lane(self._world, name, cid, spec)

    def report(self) -> Report:
        """How it goes."""
        errors = {name: "; ".join(lane.problems.values()) for name, lane in self._lanes.items()}
        if self._init is not None:
            errors["init"] = self._init.problem or ""
        if self._console is not None:
            errors["console"] = self._console.problem or ""
        counts = {name: lane.counts for name, lane in self._lanes.items()}
        if self._tunnel is not None:
            errors["packets"] = self._tunnel.problem or ""
            counts["packets"] = self._tunnel.counts
        return Report(
            errors={name: text for name, text in errors.items() if text},
            counts=counts,
            drops=dict(self._tunnel.tally.drops) if self._tunnel else {},
            open=self._world.shares.open,
            ready=all(one.ready for one in (self._init, self._tunnel) if one is not None),
        )

    def _listen(self, events: int) -> None:
        self._world.loop.watch(self._control, self._listening, events, self._talk)
        self._listening = events

    def _tick(self, now: float) -> None:
        self._listen(READ)
        sweep = now >= self._sweep_at
        self._sweep_at = now + SWEEP_SECONDS if sweep else self._sweep_at
        if self._init is not None:
            self._init.tick(now)
        if self._tunnel is not None:
            self._tunnel.tick(now)
        if self._console is not None:
            self._console.tick(now)
        for lane in self._lanes.values():
            lane.tick(now)
            if sweep:
                lane.sweep(now)

    def _talk(self, _: int) -> None:
        """One who orders; whoever is not of this user is not heard."""
        try:
            wire, _address = self._control.accept()
        except BlockingIOError:  # gone again
            return
        except OSError:  # no descriptor for it: heard at the next tick
            self._listen(0)
            return
        if credentials(wire)[1] != os.getuid():
            wire.close()
            return
        wire.setblocking(False)
        self._world.loop.watch(wire, 0, READ, lambda _: self._answer(wire))

    def _answer(self, wire: socket.socket) -> None:
        """The report that follows from the order; what is not understood changes nothing."""
        self._world.loop.watch(wire, READ, 0, lambda _: None)
        with wire, suppress(OSError):  # who does not wait for the answer asks once more
            asked = wire.recv(MESSAGE_BYTES)
            if not asked:
                return
            try:
                self.order(Orders.from_json(json.loads(asked)))
                report = self.report()
            except (ValueError, RecursionError) as error:
                report = Report(errors={"the order": f"{error}"})
            wire.send(json.dumps(report.to_json()).encode())


def _specs(orders: Orders) -> Specs:
    """By the lane's name: everything that makes it another lane when it changes."""
    specs: Specs = {}
    specs.update((f"in-{port.listen}", (orders.cid, port)) for port in orders.ports)
    specs.update((f"out-{way.enclave}", (orders.cid, way)) for way in orders.egress)
    return specs


def _lane(world: World, name: str, cid: int, spec: Spec) -> Lane:
    if isinstance(spec, Port):
        return Inward(world, name, cid, spec)
    return Outward(world, name, cid, spec)


def credentials(wire: socket.socket) -> tuple[int, int]:
    """Process and user at the other end."""
    raw = wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return pid, uid


def control_socket(address: str) -> socket.socket:
    """Raises OSError when another process has it."""
    control = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    control.bind(address)
    control.listen(128)
    return control


def places() -> int:
    """How many connections this process may have, by the descriptors that it can get."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MOST_PLACES + KEPT_DESCRIPTORS
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max((limit - KEPT_DESCRIPTORS) // 2, 1)


def main() -> None:
    """`argv`: the control socket's name. Says one line when it listens."""
    wires = Wires.here()
    making = maker.begin(wires)
    try:
        control = control_socket("\0" + sys.argv[1])
    except OSError as error:
        sys.exit(f"the network's process: {error.strerror}: another one serves already")
    most = places()
    rights.drop()
    loop = Loop()
    names = Names(loop.soon, time.monotonic)
    world = World(loop, wires, names, Shares(most), time.monotonic)
    network = Network(world, control, making.device)
    os.write(1, b"ready\n")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    network.run()
