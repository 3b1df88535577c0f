"""Which packets pass: the one that may, every single way to differ, and any bytes at all."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.host.drops import DROPS
from enclave.host.network import nat_nft, packet, reach
from enclave.host.network.bucket import BURST_SECONDS, LEAST_BURST_BYTES, Bucket
from enclave.host.network.loop import Loop
from enclave.host.network.orders import ENCLAVE_ADDRESS
from enclave.host.network.packet import Garbage, Outward, inward_why_not
from enclave.host.network.streams import FromEnclave, Tally
from tests.enclave.host.network.packets import Cutting, Packet

pytestmark = pytest.mark.unit

GOOD = Packet()


def why(one: Packet, *, mail: bool = False) -> str | None:
    data = memoryview(one.bytes())
    return Outward(mail).why_not(data, 0, packet.length_at(data, 0))


WRONG: dict[str, list[dict[str, Any]]] = {
    "source": [{"source": "10.0.1.5"}, {"source": "9.9.9.9"}, {"source": "192.0.0.1"}],
    "not-tcp": [{"protocol": number} for number in (0, 1, 2, 17, 41, 47, 50, 255)],
    "fragment": [{"fragment": 0x2000}, {"fragment": 1}, {"fragment": 0x1FFF}, {"fragment": 0x6000}],
    "options": [{"words": 6}, {"words": 15}],
    "source-port": [{"from_port": port} for port in (0, 22, 81, 1023, 61440, 65535)],
    "mail": [{"to_port": 25}],
    "near": [{"target": text} for text in (
        "169.254.169.254", "10.0.1.9", "127.0.0.1", "192.168.0.1", "172.16.0.1", "100.64.0.1",
        "192.0.0.1", "192.0.0.2", "224.0.0.1", "255.255.255.255", "0.0.0.0")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "changed"), [(reason, one) for reason, many in WRONG.items() for one in many]
)
def test_outward__one_thing_is_wrong__is_its_reason(reason: str, changed: dict[str, Any]) -> None:
    assert why(replace(GOOD, **changed)) == reason


@pytest.mark.parametrize("port", [80, 443, 1024, 1300, 61439])
def test_outward__from_each_end_of_its_ports__passes(port: int) -> None:
    assert why(replace(GOOD, from_port=port)) is None


def test_outward__mail_is_opened__passes() -> None:
    assert why(replace(GOOD, to_port=25), mail=True) is None


@given(address=st.ip_addresses(v=4))
def test_outward__any_target__is_near_just_when_reach_says_so(
    address: ipaddress.IPv4Address,
) -> None:
    expected = None if reach.why_not(str(address)) is None else "near"
    assert why(replace(GOOD, target=str(address))) == expected


def test_outward__more_targets_than_are_kept__is_bounded_and_right() -> None:
    outward = Outward(mail=False)
    for number in range(10_000):
        target = str(ipaddress.IPv4Address(0x0B000000 + number))
        data = memoryview(replace(GOOD, target=target).bytes())
        assert outward.why_not(data, 0, len(data)) is None
    assert len(outward._known) <= 4096


@given(data=st.binary(min_size=24, max_size=100))
def test_outward__any_bytes__is_garbage_or_has_a_verdict(data: bytes) -> None:
    view = memoryview(data)
    try:
        length = packet.length_at(view, 0)
    except Garbage:
        return
    assert packet.LEAST_BYTES <= length <= packet.MOST_BYTES
    verdict = Outward(mail=False).why_not(view, 0, length)
    assert verdict is None or verdict in {*WRONG, "short"}


@given(data=st.binary(max_size=80))
def test_inward__any_bytes__has_a_verdict(data: bytes) -> None:
    assert packet.inward_why_not(memoryview(data), 0, len(data)) in {
        None, "not-ipv4", "target", "length", "not-tcp",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [({}, None), ({"protocol": 1}, None), ({"protocol": 17}, "not-tcp"), ({"length": 41}, "length"),
     ({"target": "192.0.0.3"}, "target"), ({"version": 6}, "not-ipv4")],
)  # fmt: skip
def test_inward__of_the_kernel__is_for_the_enclave_or_not(
    changed: dict[str, Any], verdict: str | None
) -> None:
    one = replace(replace(GOOD, target=ENCLAVE_ADDRESS), **changed)
    data = one.bytes()
    assert packet.inward_why_not(memoryview(data), 0, len(data)) == verdict


SAME: dict[str, Any] = {}
KINDS = st.sampled_from([SAME, *(one for many in WRONG.values() for one in many)])
PACKETS = st.builds(
    lambda changed, body: replace(GOOD, **changed, body=body), KINDS, st.binary(max_size=300)
)


@given(packets=st.lists(PACKETS, max_size=20), cuts=st.lists(st.integers(1, 700), max_size=30))
def test_stream__any_packets_cut_anywhere__the_good_ones_arrive_whole_and_in_order(
    packets: list[Packet], cuts: list[int]
) -> None:
    device = Cutting()
    enclave, stream = socket.socketpair()
    loop, tally = Loop(), Tally()
    with enclave:
        one = FromEnclave(loop, tally, device, Outward(mail=False), Bucket(0, 0.0))
        one.attach(stream)
        data = b"".join(each.bytes() for each in packets)
        while data:
            cut = cuts.pop() if cuts else len(data)
            enclave.sendall(data[:cut])
            data = data[cut:]
            one._ready(1)
        one.detach()
        loop.close()
    good = [each.bytes() for each in packets if why(each) is None]
    assert device.sent == good
    assert (tally.passed, sum(tally.drops.values())) == (len(good), len(packets) - len(good))


@pytest.mark.parametrize(
    "data", [b"\x60" + bytes(30), b"\x44" + bytes(30), b"\x45\0\0\x13" + bytes(30), bytes(30)]
)  # fmt: skip
def test_stream__no_packets__is_ended_and_counted(data: bytes) -> None:
    enclave, stream = socket.socketpair()
    loop, tally = Loop(), Tally()
    with enclave:
        one = FromEnclave(loop, tally, Cutting(), Outward(mail=False), Bucket(0, 0.0))
        one.attach(stream)
        enclave.sendall(data)
        one._ready(1)
        assert one.sock is None
        loop.close()
    assert (tally.drops, tally.lost) == ({"garbage": 1}, 1)
    assert "garbage" in DROPS


@given(data=st.binary(min_size=40, max_size=60), at=st.sampled_from([0, 6, 9, 12, 16, 20]))
def test_drops__whatever_comes__are_of_the_reasons_that_are_told(data: bytes, at: int) -> None:
    whole = bytearray(GOOD.bytes())
    whole[at : at + 4] = data[:4]
    for one in (data, bytes(whole)):
        view = memoryview(bytearray(one))
        assert Outward(mail=False).why_not(view, 0, len(one)) in {None, *DROPS}
        assert inward_why_not(view, 0, len(one)) in {None, *DROPS}


@given(
    kbit=st.integers(1, 10**7),
    steps=st.lists(st.tuples(st.floats(0, 2), st.integers(20, 65535)), max_size=60),
)
def test_bucket__any_talk__never_more_than_rate_and_burst(
    kbit: int, steps: list[tuple[float, int]]
) -> None:
    now, went = 0.0, 0
    bucket = Bucket(kbit, now)
    for later, count in steps:
        now += later
        if bucket.wait(now) == 0:
            bucket.take(count)
            went += count
        burst = max(kbit * 125 * BURST_SECONDS, LEAST_BURST_BYTES)
        assert went <= kbit * 125 * now + burst + 65535 + 1
    wait = bucket.wait(now)
    assert bucket.wait(now + wait + 1e-6) == pytest.approx(0, abs=1e-5)


def test_bucket__no_rate__never_waits() -> None:
    bucket = Bucket(0, 0.0)
    bucket.take(1 << 40)
    assert bucket.wait(0.0) == 0


def test_rules__every_refused_network_and_port__is_in_them() -> None:
    text = nat_nft.rules("oyster0", mail=False)
    assert all(str(network) in text for network, _ in reach.V4)
    assert "tcp dport 25 drop" in text
    assert "tcp dport 25 drop" not in nat_nft.rules("oyster0", mail=True)
    assert "tcp dport { 80, 443, 1024-61439 } dnat to 192.0.0.2" in text
