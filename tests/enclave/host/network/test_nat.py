"""Translation and filter by the kernel itself, through each tool that writes them: packets go into
a TUN device and out of a link, in namespaces, with nobody before who would have stopped them."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from devnet.guest.namespaces import GATEWAY, INSTANCE, WORLD, Space, why_not
from enclave.host.network import nat, reach
from enclave.host.network.orders import ENCLAVE_ADDRESS, HOST_ADDRESS
from enclave.host.network.tun import NAME, open_tun
from enclave.host.network.wires import DEVICE
from tests.enclave.host.network.packets import Segment

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]

SYN, SYN_ACK = 0x02, 0x12
_EVERY_PROTOCOL = 3  # ETH_P_ALL, if_ether.h
# What finds each tool's program; iptables is of two makes, over nftables and of its own.
PROGRAMS = {
    "nft": {"nft": "nft"},
    "iptables": {"iptables": "iptables-nft", "iptables-restore": "iptables-nft-restore"},
    "iptables-legacy": {
        "iptables": "iptables-legacy", "iptables-restore": "iptables-legacy-restore",
    },
}  # fmt: skip
HERE, THERE = "02:00:00:00:00:01", "02:00:00:00:00:02"
NEAR = [str(network.network_address + 1) for network, _ in reach.V4]


class Link:
    """An instance with a TUN device and rules, and what leaves it for the world."""

    def __init__(self) -> None:
        tag = secrets.token_hex(3)
        self.world, self.instance = Space(f"oy-w-{tag}"), Space(f"oy-i-{tag}")
        near, far = f"oyi{tag}", f"oyw{tag}"
        one, other = ("address", HERE), ("address", THERE)
        self.instance.ip("link", "add", near, *one, "type", "veth", "peer", "name", far, *other)
        self.instance.ip("link", "set", far, "netns", self.world.name)
        self.instance.ip("addr", "add", f"{INSTANCE}/24", "dev", near)
        self.instance.ip("link", "set", near, "up")
        self.world.ip("link", "set", far, "up")
        self.instance.ip("route", "add", "default", "via", GATEWAY)
        self.instance.ip("neigh", "add", GATEWAY, "lladdr", THERE, "dev", near)
        self.tun = self.instance.call(lambda: open_tun(HOST_ADDRESS, ENCLAVE_ADDRESS, DEVICE))
        self._out = self.world.call(lambda: _sniffing(far))

    def leaves(self, *segments: Segment) -> list[bytes]:
        """What the world sees of them, IPv4 alone."""
        for one in segments:
            os.write(self.tun, one.bytes())
        return list(self._seen())

    def _seen(self) -> Iterator[bytes]:
        with suppress(BlockingIOError, TimeoutError):
            while True:
                frame = self._out.recv(1 << 16)
                if frame[12:14] == b"\x08\0" and frame[6:12] == _bytes(HERE):
                    yield frame[14:]

    def arrives(self, *segments: Segment) -> list[bytes]:
        """What the enclave is given of what the world sends."""
        for one in segments:
            self._out.send(_bytes(HERE) + _bytes(THERE) + b"\x08\0" + one.bytes())
        found = []
        with suppress(BlockingIOError):
            while True:
                found.append(os.read(self.tun, 1 << 16))
        return [one for one in found if one[0] >> 4 == 4]

    def close(self) -> None:
        self._out.close()
        os.close(self.tun)
        for space in (self.world, self.instance):
            space.close()


def _bytes(address: str) -> bytes:
    return bytes.fromhex(address.replace(":", ""))


def _sniffing(device: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_EVERY_PROTOCOL))
    sock.bind((device, _EVERY_PROTOCOL))
    sock.settimeout(0.05)
    return sock


@pytest.fixture(params=PROGRAMS)
def link(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Link]:
    tool: str = request.param
    for name, program in PROGRAMS[tool].items():
        found = shutil.which(program)
        if found is None:
            pytest.skip(f"needs {program}")
        (tmp_path / name).symlink_to(found)
    one = Link()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        assert nat.tools() == (tool.partition("-")[0],)
        one.instance.call(lambda: nat.apply(NAME, mail=False))
        yield one
        one.instance.call(nat.remove)
    one.close()


def test_outward__whatever_it_is__only_what_may_leaves(link: Link) -> None:
    good = Segment(flags=SYN, from_port=5000, to_port=443)
    wrong = [
        *(Segment(flags=SYN, target=target) for target in NEAR),
        Segment(flags=SYN, source="192.0.0.3"),
        Segment(flags=SYN, source=INSTANCE),
        Segment(flags=SYN, to_port=25),
        Segment(flags=SYN, target=INSTANCE),
        Segment(flags=SYN, target=HOST_ADDRESS),
        Segment(protocol=17),
        Segment(protocol=47),
    ]
    (left,) = link.leaves(*wrong, good)
    assert (left[12:16], left[16:20]) == (socket.inet_aton(INSTANCE), socket.inet_aton(WORLD))
    assert int.from_bytes(left[22:24], "big") == 443
    assert 1024 <= int.from_bytes(left[20:22], "big") <= 61439


def test_outward__mail_was_opened__leaves(link: Link) -> None:
    link.instance.call(lambda: nat.apply(NAME, mail=True))
    assert len(link.leaves(Segment(flags=SYN, to_port=25))) == 1


def test_inward__to_the_enclave_s_ports__arrives_and_to_the_host_s_does_not(link: Link) -> None:
    large = struct.pack("!BBH", 2, 4, 8961)  # the option of the largest segment
    asked = [
        Segment(flags=SYN, source=WORLD, target=INSTANCE, from_port=7, to_port=port, options=large)
        for port in (22, 79, 81, 1023, 61440, 65535, 80, 443, 1024, 61439)
    ]
    arrived = link.arrives(*asked)
    assert [int.from_bytes(one[22:24], "big") for one in arrived] == [80, 443, 1024, 61439]
    assert {one[16:20] for one in arrived} == {socket.inet_aton(ENCLAVE_ADDRESS)}
    assert {int.from_bytes(one[42:44], "big") for one in arrived} == {1460}


def test_rules__again_and_none__are_the_same_and_nothing(link: Link) -> None:
    link.instance.call(lambda: nat.apply(NAME, mail=False))
    assert len(link.leaves(Segment(flags=SYN, from_port=5001))) == 1
    link.instance.call(nat.remove)
    (left,) = link.leaves(Segment(flags=SYN, from_port=5002, to_port=25))
    assert left[12:16] == socket.inet_aton(ENCLAVE_ADDRESS), "nothing is done to it any more"


def test_tools__none__says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(nat.NatRefused, match="neither nft nor iptables is installed"):
        nat.apply(NAME, mail=False)


def test_tools__the_first_can_not__the_next_is_tried_and_all_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("nft", "iptables", "iptables-restore"):
        (tmp_path / name).write_text(f"#!/bin/sh\necho {name} is broken >&2\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}")
    with pytest.raises(nat.NatRefused, match=r"nft is broken; .*iptables-restore is broken"):
        nat.apply(NAME, mail=False)
