"""Bytes through the forwarder: whole, both ways, however the ends behave, and within bounds."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devnet.processes import free_port
from enclave.host.documents import Egress, Port
from enclave.host.network import joint, lane
from enclave.host.network.joint import Joint
from enclave.host.network.names import FRESH_SECONDS, USABLE_SECONDS, Resolve
from enclave.host.network.ways import Outward
from tests.enclave.host.network.carrier import (
    CID,
    SERVICE,
    WAY,
    Carrier,
    accepted,
    carrier,
    client,
    everything,
)

pytestmark = [pytest.mark.integration, pytest.mark.allow_hosts(["127.0.0.0/8"])]

RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def up() -> Iterator[Carrier]:
    with carrier() as one:
        yield one


@pytest.fixture
def port(up: Carrier) -> int:
    number = free_port()
    up.order(Port(number, SERVICE))
    return number


@pytest.mark.parametrize("seconds", [0, 0.3, 0.8, 2, lane.HALF_IDLE_SECONDS - 1])
def test_half_close__answer_comes_later__is_whole(up: Carrier, port: int, seconds: float) -> None:
    with up.service() as service, client(port) as near:
        near.sendall(b"GET\n")
        near.shutdown(socket.SHUT_WR)
        with accepted(service) as far:
            assert everything(far) == b"GET\n"
            up.pass_time(seconds)
            far.sendall(b"x" * 100_010)
            far.shutdown(socket.SHUT_WR)
            assert everything(near) == b"x" * 100_010
    counts = up.until(lambda report: report.open == 0).counts[f"in-{port}"]
    assert (counts["bytes_in"], counts["bytes_out"], counts["failed"]) == (4, 100_010, 0)


def test_half_close__no_answer_for_long__is_reset(up: Carrier, port: int) -> None:
    with up.service() as service, client(port) as near, accepted(service):
        near.shutdown(socket.SHUT_WR)
        up.until(lambda _: up.call(lambda: _half_closed(up)) == 1)
        up.pass_time(lane.HALF_IDLE_SECONDS + 10)
        with pytest.raises(ConnectionResetError):
            near.recv(1)


def _half_closed(up: Carrier) -> int:
    joints: list[Joint] = [
        one for each in up._network._lanes.values() for one in each._joints if one.half_closed
    ]
    return len(joints)


def test_idle__an_hour__is_ended_and_less_is_not(up: Carrier, port: int) -> None:
    with up.service() as service, client(port) as near, accepted(service) as far:
        up.pass_time(lane.IDLE_SECONDS - 1)
        far.sendall(b"alive")
        assert near.recv(5) == b"alive"
        up.pass_time(lane.IDLE_SECONDS - 1)
        far.sendall(b"still")
        assert near.recv(5) == b"still"
        up.pass_time(lane.IDLE_SECONDS + 10)
        with pytest.raises(ConnectionResetError):
            near.recv(1)


def test_connects__200_at_once__each_has_its_answer(up: Carrier, port: int) -> None:
    with up.service() as service, ExitStack() as stack:
        nears = [stack.enter_context(client(port)) for _ in range(200)]
        for number, near in enumerate(nears):
            near.sendall(b"%d" % number)
            near.shutdown(socket.SHUT_WR)
        for _ in nears:
            with accepted(service) as far:
                far.sendall(everything(far) * 2)
        assert [everything(near) for near in nears] == [b"%d" % n * 2 for n in range(200)]


def test_reset__by_the_enclave_in_the_middle__is_no_end_of_file(up: Carrier, port: int) -> None:
    with up.service() as service, client(port) as near:
        near.sendall(b"unread")
        far = accepted(service)
        far.sendall(b"half of it")
        assert near.recv(10) == b"half of it"
        far.close()  # with bytes unread, which resets
        with pytest.raises(ConnectionResetError):
            everything(near)


def test_reset__by_the_client_in_the_middle__ends_the_enclave_s_side(
    up: Carrier, port: int
) -> None:
    with up.service() as service:
        near = client(port)
        with accepted(service) as far:
            near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            near.close()
            assert everything(far) == b""
            up.until(lambda report: report.open == 0)
            with pytest.raises(BrokenPipeError):
                far.sendall(b"x")


def test_answer__before_the_request_was_read__arrives(up: Carrier, port: int) -> None:
    with up.service() as service, client(port) as near:
        near.sendall(b"x" * 10)
        with accepted(service) as far:
            assert far.recv(10) == b"x" * 10
            far.sendall(b"413 too long")
            far.shutdown(socket.SHUT_RDWR)
            near.sendall(b"x" * 300_000)
            assert near.recv(100) == b"413 too long"


def test_enclave__does_not_listen__client_is_reset_and_it_is_counted(
    up: Carrier, port: int
) -> None:
    with pytest.raises(ConnectionResetError), client(port) as near:
        near.recv(1)
    report = up.until(lambda report: report.counts[f"in-{port}"]["failed"] == 1)
    assert report.errors == {}


def test_slow_reader__megabytes_wait__memory_is_bounded(up: Carrier, port: int) -> None:
    with up.service() as service, client(port) as near, accepted(service) as far:
        data = b"0123456789abcdef" * (1 << 20)
        sender = threading.Thread(target=far.sendall, args=(data,))
        sender.start()
        up.until(lambda _: up.world.buffer.waiting > 0)
        assert up.world.buffer.waiting <= joint.CHUNK_BYTES
        assert _take(near, len(data)) == data
        sender.join()
        assert up.call(lambda: up.world.buffer.waiting) == 0


def _take(sock: socket.socket, count: int) -> bytes:
    got = bytearray()
    while len(got) < count:
        got += sock.recv(1 << 20)
    return bytes(got)


Step = tuple[str, int, int]
SCRIPTS = st.lists(
    st.tuples(st.sampled_from(["near", "far"]), st.integers(0, 300_000), st.integers(0, 255)),
    max_size=8,
)


@given(script=SCRIPTS, last=st.sampled_from(["near", "far"]))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes__any_talk__arrive_whole_and_in_order(
    up: Carrier, port: int, script: list[Step], last: str
) -> None:
    with up.service() as service, client(port) as near, accepted(service) as far:
        ends = {"near": near, "far": far}
        said = {"near": b"", "far": b""}
        for who, count, byte in script:
            said[who] += bytes([byte]) * count
        talkers = [threading.Thread(target=_say, args=(ends[one], said[one])) for one in ends]
        readers: dict[str, bytes] = {}
        listeners = [
            threading.Thread(target=lambda one=one: readers.update({one: everything(ends[one])}))
            for one in ends
        ]
        for thread in (*talkers, *listeners):
            thread.start()
        for thread in (*talkers, *listeners):
            thread.join()
        assert readers == {"near": said["far"], "far": said["near"]}


def _say(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def test_orders__the_same_port_again__connections_go_on(up: Carrier, port: int) -> None:
    with up.service() as service, client(port) as near, accepted(service) as far:
        up.order(Port(port, SERVICE), Port(free_port(), SERVICE))
        near.sendall(b"on")
        assert far.recv(2) == b"on"


def test_orders__port_withdrawn__listener_and_connections_end(up: Carrier, port: int) -> None:
    with up.service() as service, client(port) as near, accepted(service) as far:
        up.order()
        with pytest.raises(ConnectionResetError):
            near.recv(1)
        assert far.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            client(port)
    assert up.report().open == 0


def test_listen__port_is_taken__said_and_opened_when_it_is_free(up: Carrier) -> None:
    with socket.socket() as squatter:
        squatter.bind(("0.0.0.0", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        up.order(Port(port, SERVICE))
        words = up.report().words
    assert words == f"in-{port}: cannot listen on TCP 0.0.0.0:{port}: Address already in use"
    up.pass_time(1)
    assert up.report().words is None
    with up.service() as service, client(port), accepted(service):
        pass


# Places


def test_hog__fills_its_lane__another_address_is_served(up: Carrier) -> None:
    with carrier(places=20) as small, small.service() as service, ExitStack() as stack:
        port = free_port()
        small.order(Port(port, SERVICE))
        hog = [stack.enter_context(client(port, "127.0.0.9")) for _ in range(40)]
        small.until(lambda report: report.counts[f"in-{port}"]["refused"] == 20)
        for _ in range(20):
            stack.enter_context(accepted(service))
        guests = [stack.enter_context(client(port, f"127.0.1.{n}")) for n in range(1, 9)]
        for guest in guests:
            guest.sendall(b"guest")
            assert stack.enter_context(accepted(service)).recv(5) == b"guest"
        assert small.report().open == 20
        assert hog


def test_slowloris__every_place_trickles__a_newcomer_is_served() -> None:
    with carrier(places=10) as small, small.service() as service, ExitStack() as stack:
        port = free_port()
        small.order(Port(port, SERVICE))
        slow = [stack.enter_context(client(port, f"127.0.2.{n}")) for n in range(1, 11)]
        fars = [stack.enter_context(accepted(service)) for _ in slow]
        for near, far in zip(slow, fars, strict=True):
            near.sendall(b"G")
            assert far.recv(1) == b"G"
            small.pass_time(1)
        guest = stack.enter_context(client(port))
        guest.sendall(b"guest")
        assert stack.enter_context(accepted(service)).recv(5) == b"guest"
        with pytest.raises(ConnectionResetError):
            slow[0].recv(1)


def test_lanes__application_is_flooded__attestation_has_its_own_places() -> None:
    with carrier(places=20) as small, ExitStack() as stack:
        attestation, application = free_port(), free_port()
        small.order(Port(attestation, 1300), Port(application, SERVICE))
        service = stack.enter_context(small.service(1300))
        stack.enter_context(small.service(SERVICE))
        for number in range(40):
            stack.enter_context(client(application, f"127.0.3.{number + 1}"))
        near = stack.enter_context(client(attestation))
        near.sendall(b"GET /attestation/raw")
        with accepted(service) as far:
            assert far.recv(100) == b"GET /attestation/raw"


# The way out


def _leads_to(*answers: list[str]) -> tuple[list[str], Resolve]:
    asked: list[str] = []

    def resolve(host: str) -> list[str]:
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        if not found:
            raise socket.gaierror(-2, "Name or service not known")
        return found

    return asked, resolve


@pytest.mark.parametrize(
    "address",
    ["169.254.169.254", "10.0.0.5", "127.0.0.1", "::1", "::ffff:127.0.0.1", "fe80::1%lo",
     "fd00:ec2::254", "192.168.0.1", "0.0.0.0"],
)  # fmt: skip
def test_egress__name_leads_near__is_refused_and_said(address: str) -> None:
    with carrier(resolve=lambda _: [address]) as up, socket.create_server(("127.0.0.1", 0)) as far:
        far.setblocking(False)
        up.order(Egress(WAY, "kms.example", far.getsockname()[1]))
        words = up.until(lambda report: bool(report.errors)).words or ""
        assert words.startswith(f"out-{WAY}: kms.example leads to {address} (")
        with up.out() as near:
            assert near.recv(1) == b""
        with pytest.raises(BlockingIOError):
            far.accept()


def test_egress__one_of_two_addresses_is_near__the_other_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as far:
        far.settimeout(20)
        near_ones = {"127.0.0.2": "made near by the test"}
        with carrier(resolve=lambda _: ["127.0.0.2", "127.0.0.1"], why_not=near_ones.get) as up:
            up.order(Egress(WAY, "kms.example", far.getsockname()[1]))
            with up.out() as near, accepted(far) as reached:
                near.sendall(b"hello")
                assert reached.recv(5) == b"hello"
                assert reached.getsockname()[0] == "127.0.0.1"


def test_egress__does_not_resolve__said_until_it_does() -> None:
    answers: list[list[str]] = [[]]

    def resolve(_: str) -> list[str]:
        if not answers[0]:
            raise socket.gaierror(-2, "Name or service not known")
        return answers[0]

    with carrier(resolve=resolve, why_not=lambda _: None) as up:
        up.order(Egress(WAY, "kms.example", 443))
        report = up.until(lambda report: bool(report.errors))
        assert report.words == f"out-{WAY}: kms.example does not resolve: Name or service not known"
        with up.out() as near:
            assert near.recv(1) == b""
        answers[0] = ["127.0.0.1"]
        up.pass_time(11)
        up.until(lambda report: not report.errors)


def test_egress__dns_changes_after_the_start__is_followed_and_survives_its_loss() -> None:
    with socket.create_server(("127.0.0.4", 0)) as old, ExitStack() as stack:
        number = old.getsockname()[1]
        new = stack.enter_context(socket.create_server(("127.0.0.5", number)))
        for listener in (old, new):
            listener.settimeout(20)
        asked, resolve = _leads_to(["127.0.0.4"], ["127.0.0.5"], [])
        with carrier(resolve=resolve, why_not=lambda _: None) as up:
            up.order(Egress(WAY, "kms.example", number))
            for listener, questions in ((old, 1), (new, 2), (new, 3)):
                with up.out() as near, accepted(listener):
                    assert near
                assert len(asked) == questions
                up.pass_time(FRESH_SECONDS)
            assert "does not resolve" in (up.report().words or "")
            up.pass_time(USABLE_SECONDS)
            with up.out() as near:
                assert near.recv(1) == b""


def test_egress__first_address_is_dead__the_next_is_tried_and_it_is_not_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as far:
        far.settimeout(20)
        with carrier(resolve=lambda _: ["127.0.0.7", "127.0.0.1"], why_not=lambda _: None) as up:
            up.order(Egress(WAY, "kms.example", far.getsockname()[1]))
            with up.out() as near, accepted(far) as reached:
                reached.sendall(b"hello")
                assert near.recv(5) == b"hello"
            assert up.report().errors == {}


def test_egress__nothing_answers__is_said_with_the_address() -> None:
    with carrier(resolve=lambda _: ["127.0.0.1"], why_not=lambda _: None) as up:
        number = free_port()
        up.order(Egress(WAY, "kms.example", number))
        with up.out() as near:
            assert near.recv(1) == b""
        assert up.until(lambda report: bool(report.errors)).words == (
            f"out-{WAY}: kms.example:{number} at 127.0.0.1: Connection refused"
        )


def test_egress__another_enclave_asks__has_no_place(up: Carrier) -> None:
    way = Outward(up.world, "out-1", CID, Egress(1, "kms.example", 443))
    assert way._source((CID, 1025)) == "enclave"
    assert [way._source((cid, 1025)) for cid in (1, 2, 3, CID + 1)] == [None] * 4
