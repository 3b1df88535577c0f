"""The packets' way as a whole, over a device that is a pair of sockets: losses, rates, words."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator

import pytest

from enclave.host.network import maker
from enclave.host.network import tunnel as tunnelling
from enclave.host.network.loop import Loop
from enclave.host.network.nat import NatRefused
from enclave.host.network.orders import ENCLAVE_ADDRESS, Packets
from enclave.host.network.tunnel import LOST_SECONDS, PORT, Tunnel
from enclave.host.network.wires import PARENT_CID, Wires
from tests.enclave.host.network.carrier import CID, Clock
from tests.enclave.host.network.packets import Packet

pytestmark = pytest.mark.integration

OUT = Packet(body=b"out").bytes()
IN = Packet(source="9.9.9.9", target=ENCLAVE_ADDRESS, body=b"in").bytes()


class Pair:
    """A device whose other end the test holds."""

    def __init__(self) -> None:
        self.here, self.kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        for end in (self.here, self.kernel):
            end.setblocking(False)
        self.descriptor = self.here.fileno()
        self.refuses: str | None = None
        self.closed = 0

    def make(self, _wires: Wires, _mail: bool) -> Pair:
        if self.refuses:
            raise NatRefused(self.refuses)
        return self

    def read(self, view: memoryview) -> int:
        return self.here.recv_into(view)

    def write(self, view: memoryview, start: int, length: int, end: int) -> tuple[int, int]:
        self.here.send(view[start : start + length])
        return 1, start + length

    def close(self) -> None:
        self.closed += 1


class Lane:
    """A tunnel and the enclave's two ends of it."""

    def __init__(self, wanted: Packets) -> None:
        self.clock, self.loop, self.pair = Clock(), Loop(), Pair()
        self.wires = Wires(f"oyster-test/{secrets.token_hex(8)}")
        self.tunnel = Tunnel(self.loop, self.wires, self.clock, CID, wanted, self.pair.make)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.setblocking(False)

    def listen(self) -> None:
        self.listener.bind(self.wires.vsock_address(CID, PORT))
        self.listener.listen(8)

    def connect(self) -> socket.socket:
        stream = socket.socket(socket.AF_UNIX)
        stream.setblocking(False)
        try:
            stream.connect(self.wires.vsock_address(PARENT_CID, PORT))
        except OSError:
            stream.close()
            raise
        self.turn()
        return stream

    def accept(self) -> socket.socket:
        stream, _ = self.listener.accept()
        stream.setblocking(False)
        return stream

    def tick(self, seconds: float = 0.0) -> None:
        self.clock.at += seconds
        self.tunnel.tick(self.clock.at)
        self.turn()

    def turn(self) -> None:
        for _ in range(5):
            self.loop.turn(0)

    def close(self) -> None:
        self.tunnel.close()
        for sock in (self.listener, self.pair.here, self.pair.kernel):
            sock.close()
        self.loop.close()


@pytest.fixture
def lane() -> Iterator[Lane]:
    one = Lane(Packets())
    yield one
    one.close()


def test_tunnel__both_streams__packets_go_both_ways(lane: Lane) -> None:
    lane.listen()
    lane.tick()
    assert lane.tunnel.ready
    with lane.connect() as out, lane.accept() as into:
        out.sendall(OUT)
        lane.pair.kernel.send(IN)
        lane.turn()
        assert lane.pair.kernel.recv(1 << 16) == OUT
        assert into.recv(1 << 16) == IN
        assert lane.tunnel.problem is None
    assert lane.tunnel.counts == {
        "accepted": 2, "refused": 0, "failed": 0, "bytes_in": len(IN), "bytes_out": len(OUT),
    }  # fmt: skip


def test_tunnel__device_cannot_be_had__is_said_and_tried_again(lane: Lane) -> None:
    lane.pair.refuses = "nft: no such file"
    lane.tick()
    said = (lane.tunnel.ready, lane.tunnel.problem)
    assert said == (False, "cannot be had: nft: no such file")
    lane.pair.refuses = None
    lane.tick(tunnelling.AGAIN_SECONDS)
    assert (lane.tunnel.ready, lane.tunnel.problem) == (True, None)


def test_tunnel__streams_are_lost__said_after_a_while_and_made_anew(lane: Lane) -> None:
    lane.listen()
    lane.tick()
    out, into = lane.connect(), lane.accept()
    out.sendall(OUT[:30])
    lane.turn()
    out.close()
    into.close()
    lane.turn()
    lane.tick(LOST_SECONDS - 1)
    assert lane.tunnel.problem is None
    assert lane.tunnel.tally.lost == 2
    lane.tick()
    with lane.accept() as into, lane.connect() as out:
        out.sendall(OUT)
        lane.pair.kernel.send(IN)
        lane.turn()
        assert lane.pair.kernel.recv(1 << 16) == OUT, "no half of an old packet is before it"
        assert into.recv(1 << 16) == IN


def test_tunnel__nobody_connects__both_streams_are_named(lane: Lane) -> None:
    lane.tick()
    lane.tick(LOST_SECONDS)
    assert "the stream from the enclave and the stream to the enclave" in (
        lane.tunnel.problem or ""
    )


def test_tunnel__the_enclave_connects_again__the_newer_stream_counts(lane: Lane) -> None:
    lane.tick()
    with lane.connect() as old, lane.connect() as new:
        assert old.recv(1) == b""
        new.sendall(OUT)
        lane.turn()
        assert lane.pair.kernel.recv(1 << 16) == OUT


def test_tunnel__enclave_reads_nothing__the_device_is_not_read_on(lane: Lane) -> None:
    lane.listen()
    lane.tick()
    big = Packet(source="9.9.9.9", target=ENCLAVE_ADDRESS, body=bytes(8000)).bytes()
    with lane.accept() as into:
        sent = 0
        for _ in range(1000):
            try:
                lane.pair.kernel.send(big)
            except BlockingIOError:
                break
            sent += 1
            lane.turn()
        assert sent < 1000
        got = bytearray()
        while len(got) < sent * len(big):
            got += into.recv(1 << 20)
            lane.turn()
        assert bytes(got) == big * sent


def test_tunnel__rate_is_used_up__waits_and_loses_nothing() -> None:
    lane = Lane(Packets(kbit=80))
    lane.tick()
    big = Packet(body=bytes(60_000)).bytes()
    with lane.connect() as out:
        out.setblocking(False)
        out.sendall(big * 3)
        lane.turn()
        assert lane.pair.kernel.recv(1 << 17) == big
        wait = lane.tunnel.wait(lane.clock.at)
        while wait is None:
            lane.turn()
            wait = lane.tunnel.wait(lane.clock.at)
        lane.turn()
        lane.clock.at += wait
        assert lane.tunnel.wait(lane.clock.at) is None
    lane.close()


def test_close__device_is_closed_once_and_nothing_listens(lane: Lane) -> None:
    lane.tick()
    lane.tunnel.close()
    assert lane.pair.closed == 1
    with pytest.raises(ConnectionRefusedError):
        lane.connect()


def test_device__a_stand_in_for_vsock_without_a_tun__is_refused() -> None:
    wires = Wires.here({"OYSTER_HOST_VSOCK": f"oyster-test/{os.getpid()}"})
    with pytest.raises(NatRefused, match="no TUN device"):
        maker.made(wires, mail=False)
