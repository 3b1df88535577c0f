"""Packets for real: three namespaces of the kernel, TUN devices, nft, and a guest as images are."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import threading
import time
import zlib
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from devnet.guest.namespaces import (
    GATEWAY,
    INSTANCE,
    METADATA,
    NEIGHBOUR,
    WORLD,
    Scene,
    scene,
    why_not,
)
from devnet.guest.nsm import SimulatedNsm
from devnet.guest.standard import BLOCK
from enclave.attest.certificates import load_root
from enclave.attest.document import Expected, verify
from enclave.attest.init_params import pcr16_of
from enclave.host.network.orders import ENCLAVE_ADDRESS, HOST_ADDRESS, Orders, Packets, Serving
from enclave.host.network.wires import DEVICE
from tests.enclave.host.network.packets import Packet
from tests.enclave.host.rig import until

pytestmark = [
    pytest.mark.integration,
    pytest.mark.allow_hosts([f"{INSTANCE}/32", f"{METADATA}/32"]),  # of the namespaces
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]

DOWNLOAD_BYTES = 256 << 20
CROWD = 1000
DIGEST = hashlib.sha256(b"").digest()
PARAMS = json.dumps({"digest": b64encode(DIGEST).decode(), "params": []}).encode()


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("spaces")
    patch = pytest.MonkeyPatch()
    with scene(directory) as one, patch.context():
        patch.setenv("OYSTER_HOST_VSOCK", one.prefix)
        patch.setenv("OYSTER_HOST_TUN", DEVICE)
        assert one.order(_orders(one)).ready
        one.start_guest()
        until(lambda: one.order(_orders(one)).words is None, lambda: "no streams")
        yield one
        patch.undo()


def _orders(one: Scene) -> Orders:
    params = one.directory / "params"
    params.write_bytes(PARAMS)
    digest = hashlib.sha256(PARAMS).hexdigest()
    serving = Serving(ENCLAVE_ADDRESS, "0x7", str(params), digest)
    return Orders(88, serving=serving, packets=Packets())


def _get(path: str, port: int = 80, source: str = WORLD) -> bytes:
    """As a client in the world; the body."""
    with socket.create_connection((INSTANCE, port), 30, (source, 0)) as sock:
        sock.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        return b"".join(iter(lambda: sock.recv(1 << 20), b"")).partition(b"\r\n\r\n")[2]


def _rest(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(4096), b""))


def _reaches(up: Scene, to: str, port: int = 80) -> str:
    """What an application in the enclave sees that connects there."""
    path = f"/connect?to={to}&port={port}"
    return up.world.call(lambda: _get(path)).decode()


def _drops(up: Scene) -> dict[str, int]:
    return dict(up.order(_orders(up)).drops)


@pytest.mark.parametrize("port", [80, 443])
def test_world__asks_the_enclave__is_answered(up: Scene, port: int) -> None:
    assert up.world.call(lambda: _get("/hello", port)) == b"/hello"


def test_world__asks_for_the_attestation__params_are_proven(up: Scene) -> None:
    document = up.world.call(lambda: _get("/attestation/raw", 1300))
    root = load_root(SimulatedNsm.open(up.directory / "nsm").root_pem)
    verify(document, at=time.time(), expected=Expected(pcrs={16: pcr16_of(DIGEST)}), root=root)


def test_world__downloads_256_mib__comes_whole(up: Scene) -> None:
    def download() -> tuple[int, int]:
        """Bytes and their CRC-32."""
        count = crc = 0
        with socket.create_connection((INSTANCE, 80), 60, (WORLD, 0)) as sock:
            sock.sendall(f"GET /bytes?count={DOWNLOAD_BYTES} HTTP/1.0\r\n\r\n".encode())
            data = sock.recv(1 << 20, socket.MSG_PEEK)
            sock.recv(data.index(b"\r\n\r\n") + 4)
            while data := sock.recv(1 << 20):
                count, crc = count + len(data), zlib.crc32(data, crc)
        return count, crc

    expected = 0
    for _ in range(DOWNLOAD_BYTES // len(BLOCK)):
        expected = zlib.crc32(BLOCK, expected)
    assert up.world.call(download) == (DOWNLOAD_BYTES, expected)


def test_world__uploads_16_mib__comes_whole(up: Scene) -> None:
    body = BLOCK * 64

    def upload() -> bytes:
        with socket.create_connection((INSTANCE, 80), 60, (WORLD, 0)) as sock:
            sock.sendall(f"POST / HTTP/1.0\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            return _rest(sock)

    assert up.world.call(upload).endswith(f"\n{zlib.crc32(body)}".encode())


def test_world__1000_connections_at_once__each_is_answered(up: Scene) -> None:
    def crowd() -> int:
        with ExitStack() as stack:
            socks = [
                stack.enter_context(socket.create_connection((INSTANCE, 80), 30, (WORLD, 0)))
                for _ in range(CROWD)
            ]
            for sock in socks:
                sock.sendall(b"GET /one HTTP/1.0\r\n\r\n")
            answers = [_rest(sock) for sock in socks]
        return sum(answer.endswith(b"/one") for answer in answers)

    assert up.world.call(crowd) == CROWD


def test_enclave__connects_to_the_world__comes_from_the_instance_s_address(up: Scene) -> None:
    assert _reaches(up, WORLD) == f"{WORLD} to {INSTANCE}"
    assert _reaches(up, WORLD, 443) == f"{WORLD} to {INSTANCE}"


def test_enclave__connects_near__nothing_comes_back_and_it_is_counted(up: Scene) -> None:
    """All at once: each takes its whole time."""
    targets, before = (METADATA, NEIGHBOUR, INSTANCE, GATEWAY, HOST_ADDRESS), _drops(up)

    def ask() -> list[bytes]:
        with ExitStack() as stack:
            socks = []
            for to in targets:
                sock = socket.create_connection((INSTANCE, 80), 30, (WORLD, 0))
                sock.sendall(f"GET /connect?to={to}&port=80 HTTP/1.0\r\n\r\n".encode())
                socks.append(stack.enter_context(sock))
            return [_rest(sock).rpartition(b"\n")[2] for sock in socks]

    assert up.world.call(ask) == [b"TimeoutError"] * len(targets)
    assert _drops(up)["near"] >= before.get("near", 0) + len(targets)


def test_enclave__sends_mail__is_closed_unless_it_was_opened(up: Scene) -> None:
    assert _reaches(up, WORLD, 25) == "TimeoutError"
    assert _drops(up)["mail"] > 0
    opened = replace(_orders(up), packets=Packets(mail=True))
    up.order(opened)
    until(lambda: up.order(opened).words is None, lambda: "no streams")
    assert until(lambda: _mailed(up), lambda: "no mail") == f"{WORLD} to {INSTANCE}"
    up.order(_orders(up))
    until(lambda: _streams(up), lambda: "no streams")


def _mailed(up: Scene) -> str | None:
    said = _reaches(up, WORLD, 25)
    return said if "Error" not in said else None


def _streams(up: Scene) -> bool:
    try:
        return up.world.call(lambda: _get("/again")) == b"/again"
    except OSError:
        return False


def test_host__its_own_traffic__is_untouched(up: Scene) -> None:
    def ask() -> tuple[bytes, int]:
        with socket.create_connection((METADATA, 80), 10) as sock:
            return sock.recv(100), sock.getsockname()[1]

    greeting, port = up.instance.call(ask)
    assert greeting == f"{METADATA} to {INSTANCE}".encode()
    assert port >= 61440


SPOOFED = {
    "source": Packet(source="9.9.9.8"),
    "fragment": Packet(fragment=0x2000),
    "not-tcp": Packet(protocol=17),
    "options": Packet(words=8),
    "source-port": Packet(from_port=22),
}


def test_enclave__sends_what_it_must_not__each_is_counted_by_its_reason(up: Scene) -> None:
    before, data = _drops(up), b"".join(one.bytes() for one in SPOOFED.values())

    def counted() -> bool:
        up.send_raw(data)
        after = _drops(up)
        return all(after.get(reason, 0) > before.get(reason, 0) for reason in SPOOFED)

    until(counted, lambda: f"{_drops(up)}")
    assert until(lambda: _streams(up), lambda: "the guest did not come back")


def test_enclave__sends_garbage__its_stream_ends_and_the_next_is_served(up: Scene) -> None:
    before = _drops(up).get("garbage", 0)

    def counted() -> bool:
        up.send_raw(b" / HTTP/1.1\r\n" + bytes(64))
        return _drops(up).get("garbage", 0) > before

    until(counted, lambda: f"{_drops(up)}")
    assert until(lambda: _streams(up), lambda: "the guest did not come back")


def test_lane__lost_in_the_middle_of_a_download__goes_on(up: Scene) -> None:
    got: list[int] = []

    def download() -> None:
        with socket.create_connection((INSTANCE, 80), 60, (WORLD, 0)) as sock:
            sock.sendall(b"GET /bytes?count=67108864 HTTP/1.0\r\n\r\n")
            while data := sock.recv(1 << 16):
                got.append(len(data))

    lost = up.order(_orders(up)).counts["packets"]["failed"]
    thread = threading.Thread(target=lambda: up.world.call(download))
    thread.start()
    until(lambda: bool(got), lambda: "nothing came")
    up.send_raw(Packet(source="9.9.9.8").bytes())
    thread.join()
    assert sum(got) > 67108864
    assert up.order(_orders(up)).counts["packets"]["failed"] > lost


def _status_of(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: word.strip() for name, _, word in (line.partition(":") for line in lines)}


def _maker_of(pid: int) -> int:
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


def test_process__serves__has_no_right_but_to_listen_on_low_ports(up: Scene) -> None:
    pid = up.instance.call(up.keeper.pid)
    status = _status_of(pid)
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm")} == {1 << 10}
    assert (int(status["CapInh"], 16), status["NoNewPrivs"]) == (0, "1")
    command = Path(f"/proc/{_maker_of(pid)}/fd").iterdir()
    assert "/dev/net/tun" not in {str(one.readlink()) for one in command}, "it keeps no device"


def test_process__whose_maker_ended__is_begun_anew_and_has_its_device_again(up: Scene) -> None:
    os.kill(_maker_of(up.instance.call(up.keeper.pid)), signal.SIGKILL)
    opened = replace(_orders(up), packets=Packets(mail=True))
    until(lambda: up.order(opened).ready and up.order(opened), lambda: "not begun anew")
    until(lambda: _streams(up), lambda: "no streams")
    up.order(_orders(up))
    until(lambda: _streams(up), lambda: "no streams")


def test_process__is_killed__connections_of_the_enclave_survive_it(up: Scene) -> None:
    def ask(sock: socket.socket) -> bytes:
        sock.sendall(b"GET /kept HTTP/1.0\r\n\r\n")
        return _rest(sock)

    kept = up.world.call(lambda: socket.create_connection((INSTANCE, 80), 30, (WORLD, 0)))
    with kept:
        up.instance.call(up.keeper.end)
        until(lambda: up.order(_orders(up)).ready, lambda: "not begun anew")
        assert up.world.call(lambda: ask(kept)).endswith(b"/kept")


def test_orders__none__no_table_and_no_device_are_left(tmp_path: Path) -> None:
    with scene(tmp_path) as one, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OYSTER_HOST_VSOCK", one.prefix)
        patch.setenv("OYSTER_HOST_TUN", DEVICE)
        assert one.order(_orders(one)).ready
        assert one.instance.shows("oyster0")
        one.order(Orders())
        assert not one.instance.shows("oyster0")
