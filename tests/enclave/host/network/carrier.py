"""The network's process as a thread of the test, with a clock of its own, and an enclave's side."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import TypeVar

from enclave.host.documents import Egress, Port
from enclave.host.network.device import Device
from enclave.host.network.lane import World
from enclave.host.network.loop import Loop
from enclave.host.network.names import Names, Resolve, WhyNot, resolve
from enclave.host.network.nat import NatRefused
from enclave.host.network.orders import NOTHING, Orders, Report
from enclave.host.network.process import Network, control_socket
from enclave.host.network.reach import why_not
from enclave.host.network.shares import Shares
from enclave.host.network.wires import PARENT_CID, Wires

T = TypeVar("T")

CID = 16
SERVICE = 80
WAY = 9000
PATIENCE_SECONDS = 20.0


def _no_device(_wires: Wires, _mail: bool) -> Device:
    raise NatRefused("nobody here has packets")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class Carrier:
    """One running network and what is around it."""

    def __init__(self, places: int, names: Callable[[Loop, Clock], Names]) -> None:
        self.prefix = f"oyster-test/{secrets.token_hex(8)}"
        self.clock = Clock()
        self._loop = Loop()
        self._control = control_socket(f"\0{self.prefix}/control")
        wires = Wires(self.prefix)
        self.world = World(
            self._loop, wires, names(self._loop, self.clock), Shares(places), self.clock
        )
        self._network = Network(self.world, self._control, _no_device)
        self._ends = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends:
            self._network.turn()

    def call(self, thunk: Callable[[], T]) -> T:
        """In the network's own thread."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(thunk())
            except BaseException as error:
                done.set_exception(error)
                raise

        self._loop.soon(run)
        return done.result(PATIENCE_SECONDS)

    def order(self, *specs: Port | Egress) -> None:
        ports = tuple(one for one in specs if isinstance(one, Port))
        egress = tuple(one for one in specs if isinstance(one, Egress))
        self.call(lambda: self._network.order(Orders(CID, ports, egress)))

    def report(self) -> Report:
        return self.call(self._network.report)

    def pass_time(self, seconds: float) -> None:
        """The clock goes on, and what is due then is done."""
        self.call(lambda: None)  # what it handles now is of before
        self.clock.at += seconds
        self.call(lambda: self._network._tick(self.clock.at))

    def until(self, reached: Callable[[Report], bool]) -> Report:
        """The first report for which it holds; the network's own turns drive it."""
        for _ in range(2000):
            report = self.report()
            if reached(report):
                return report
            threading.Event().wait(0.005)
        raise AssertionError(report)

    def service(self, port: int = SERVICE, backlog: int = 4096) -> socket.socket:
        """A listener inside the enclave."""
        return self._listen(f"\0{self.prefix}/{CID}/{port}", backlog)

    def out(self, port: int = WAY) -> socket.socket:
        """A connection of the enclave to what its parent offers."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE_SECONDS)
        sock.connect(f"\0{self.prefix}/{PARENT_CID}/{port}")
        return sock

    def _listen(self, address: str, backlog: int) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        listener.settimeout(PATIENCE_SECONDS)
        listener.bind(address)
        listener.listen(backlog)
        return listener

    def close(self) -> None:
        if self._thread.is_alive():
            self.call(lambda: self._network.order(NOTHING))
        self._ends = True
        self._loop.soon(lambda: None)
        self._thread.join()
        self._control.close()
        self._loop.close()


@contextlib.contextmanager
def carrier(
    places: int = 4096, *, resolve: Resolve = resolve, why_not: WhyNot = why_not
) -> Iterator[Carrier]:
    """Up inside."""
    one = Carrier(places, lambda loop, clock: Names(loop.soon, clock, resolve, why_not))
    try:
        yield one
    finally:
        one.close()


def client(port: int, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS, (source, 0))


def accepted(listener: socket.socket) -> socket.socket:
    sock, _ = listener.accept()
    sock.settimeout(PATIENCE_SECONDS)
    return sock


def everything(sock: socket.socket) -> bytes:
    """Until its end. Raises ConnectionResetError when it is none."""
    return b"".join(iter(lambda: sock.recv(1 << 16), b""))
