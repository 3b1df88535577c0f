"""Packets by raw sockets, where no TUN device can be had: a guest as images are, and the filter."""

from __future__ import annotations

import socket
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devnet.guest.namespaces import INSTANCE, METADATA, WORLD, Scene, scene
from devnet.guest.standard import BLOCK
from enclave.host.network import nat, raw
from enclave.host.network.orders import ENCLAVE_ADDRESS
from enclave.host.network.raw import RawDevice, clamp
from tests.enclave.host.network.packets import Segment, checksum
from tests.enclave.host.network.test_namespaces import _drops, _get, _orders, _reaches, _rest
from tests.enclave.host.network.test_namespaces import pytestmark as _marks
from tests.enclave.host.network.test_nat import NEAR, SYN, Link, link
from tests.enclave.host.rig import until

__all__ = ["link"]

pytestmark = _marks

# ethtool.h: a peer in these namespaces leaves checksums and cutting to a card that is none.
_CHECKSUMS, _CUTTING, _MERGED = 0x17, 0x1F, 0x24


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("raw")
    with scene(directory) as one, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OYSTER_HOST_VSOCK", one.prefix)
        patch.setenv("OYSTER_HOST_TUN", "/dev/net/none")
        far = "oyw" + one.prefix.rpartition("/")[2]
        for command in (_CHECKSUMS, _CUTTING, _MERGED):
            one.world.call(lambda command=command: raw.set_offload(far, command, 0))  # type: ignore[misc]  # a lambda's default
        assert one.order(_orders(one)).words is None
        one.start_guest()
        until(lambda: one.order(_orders(one)).words is None, lambda: "no streams")
        yield one


def test_world__asks_and_uploads__is_answered_by_an_enclave_without_tun(up: Scene) -> None:
    assert not up.instance.shows("oyster0")
    assert up.world.call(lambda: _get("/hello")) == b"/hello"
    body, count = BLOCK * 8, 4 << 20

    def upload() -> bytes:
        with socket.create_connection((INSTANCE, 443), 60, (WORLD, 0)) as sock:
            sock.sendall(f"POST / HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            return _rest(sock)

    assert up.world.call(upload).endswith(f"\n{zlib.crc32(body)}".encode())
    assert up.world.call(lambda: _get(f"/bytes?count={count}")) == BLOCK * (count // len(BLOCK))


def test_enclave__connects__to_the_world_as_the_instance_and_not_to_what_is_near(up: Scene) -> None:
    assert _reaches(up, WORLD) == f"{WORLD} to {INSTANCE}"
    assert _reaches(up, METADATA) == "TimeoutError"
    assert _drops(up)["near"] > 0


def test_host__its_own_traffic__is_untouched(up: Scene) -> None:
    def ask() -> tuple[bytes, int]:
        with socket.create_connection((METADATA, 80), 10) as sock:
            return sock.recv(100), sock.getsockname()[1]

    greeting, port = up.instance.call(ask)
    assert greeting == f"{METADATA} to {INSTANCE}".encode()
    assert port >= 61440


def test_filter__by_each_tool__keeps_what_must_not_leave_and_the_kernel_from_answering(
    link: Link,
) -> None:
    address, (reading, sending) = link.instance.call(raw.open_sockets)
    link.instance.call(lambda: nat.apply_raw(mail=False))
    device = RawDevice(address, reading, sending, lambda: None)

    def send(one: Segment) -> None:
        view = memoryview(bytearray(one.bytes()))
        with suppress(OSError):  # the filter says so where it is asked by who sends
            device.write(view, 0, len(view), len(view))

    wrong = [
        *(Segment(flags=SYN, target=target) for target in NEAR),
        Segment(flags=SYN, to_port=25),
    ]
    large = struct.pack("!BBH", 2, 4, 8961)
    for one in [*wrong, Segment(flags=SYN, from_port=5000, to_port=443, options=large)]:
        link.instance.call(lambda one=one: send(one))  # type: ignore[misc]  # a lambda's default
    (left,) = link.leaves()
    assert (left[12:16], left[16:20]) == (socket.inet_aton(INSTANCE), socket.inet_aton(WORLD))
    assert struct.unpack("!HH", left[20:24]) == (5000, 443)
    assert int.from_bytes(left[42:44], "big") == 1460
    assert right(left)
    asked = [
        Segment(flags=SYN, source=WORLD, target=INSTANCE, from_port=7, to_port=port, options=large)
        for port in (22, 81, 1023, 61440, 80, 443, 1024, 61439)
    ]
    link.arrives(*asked)
    found = list(_read(device))
    assert [int.from_bytes(one[22:24], "big") for one in found] == [80, 443, 1024, 61439]
    assert {one[16:20] for one in found} == {socket.inet_aton(ENCLAVE_ADDRESS)}
    assert {int.from_bytes(one[42:44], "big") for one in found} == {1460}
    assert all(map(right, found))
    answered = {int.from_bytes(one[20:22], "big") for one in link.leaves()}
    assert answered <= {22, 81, 1023, 61440}, "nothing but the host's own ports answers"
    device.close()


def _read(device: RawDevice) -> Iterator[bytes]:
    view = memoryview(bytearray(1 << 16))
    while True:
        try:
            length = device.read(view)
        except BlockingIOError:
            return
        yield bytes(view[:length])


def right(packet: bytes) -> bool:
    """Whether both checksums are."""
    pseudo = packet[12:20] + struct.pack("!HH", 6, len(packet) - 20)
    return checksum(packet[:20]) == 0 == checksum(pseudo + packet[20:])


@given(
    options=st.lists(
        st.one_of(
            st.just(b"\1"),
            st.integers(0, 65535).map(lambda size: struct.pack("!BBH", 2, 4, size)),
            st.binary(max_size=8).map(lambda body: bytes([3, len(body) + 2]) + body),
            st.binary(max_size=6),
        ),
        max_size=6,
    ),
    flags=st.sampled_from([0x02, 0x12, 0x10]),
)
def test_clamp__any_options__checksum_stays_right_and_none_is_larger(
    options: list[bytes], flags: int
) -> None:
    whole = b"".join(options)[:40]
    whole += bytes(-len(whole) % 4)
    packet = bytearray(Segment(flags=flags, options=whole).bytes())
    clamp(memoryview(packet)[20:])
    assert right(bytes(packet))
    if flags == 0x10:
        assert packet == Segment(flags=flags, options=whole).bytes()


def test_sockets__of_a_machine_without_a_way_out__say_so(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    routes.write_text("Iface\tDestination\n")
    with pytest.raises(raw.Unreachable, match="no default route"):
        raw._way_out(routes)
