"""A standard image that boots, with raw packets: the kernel's TUN device on both ends of vsock.

The instance and the world are network namespaces; the host program's packet lane is the real one.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from base64 import b64encode
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cbor2
import pytest

from devnet.guest import namespaces
from devnet.guest.init_params import INIT_PORT, STANDARD_CID
from devnet.guest.namespaces import INSTANCE, WORLD, Scene
from devnet.image import build_image
from devnet.nitro.build import build
from devnet.nitro.machine import Machine, Order
from devnet.nitro.relay import connected, relay
from enclave.attest.init_params import pcr16_of
from enclave.host.network.orders import ENCLAVE_ADDRESS, Orders, Packets, Serving
from enclave.host.network.wires import DEVICE, PARENT_CID
from tests.enclave.host.rig import until
from tests.real.nitro import BOOT_SECONDS, MODULE, why_not

WHY = why_not() or namespaces.why_not()
STREAM_PORT = 1200
DIGEST = hashlib.sha256(b"").digest()
PARAMS = json.dumps({"digest": b64encode(DIGEST).decode(), "params": []}).encode()
MODULE_INSTANCE = MODULE.partition("-enc")[0]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.allow_hosts([f"{INSTANCE}/32"]),  # of the namespaces
    pytest.mark.xdist_group("real-nitro"),
    pytest.mark.skipif(bool(WHY), reason=WHY or "all is there"),
]


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("packets")
    app = folder / "app"
    app.mkdir()
    image = folder / "standard.eif"
    image.write_bytes(build_image(app, boots=build()))
    with namespaces.scene(folder / "scene") as one, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OYSTER_HOST_VSOCK", one.prefix)
        patch.setenv("OYSTER_HOST_TUN", DEVICE)
        assert one.order(_orders(one)).ready
        machine = one.instance.call(lambda: _booted(one, image))
        try:

            def lacks() -> str | None:
                return one.order(_orders(one)).words

            until(lambda: lacks() is None, lambda: str(lacks()), BOOT_SECONDS)
            yield one
        finally:
            machine.end()


def _booted(one: Scene, image: Path) -> Machine:
    """In the instance's namespace: what stands for vsock is of one namespace."""
    run = image.with_suffix(".run")
    run.mkdir()
    console = image.with_suffix(".console")
    order = Order(image, MODULE_INSTANCE, MODULE, STANDARD_CID, 2, 512, console, signed=False)
    machine = Machine(build(), run, order)
    for port in (INIT_PORT, STREAM_PORT):
        address = f"\0{one.prefix}/{PARENT_CID}/{port}"
        relay(machine.listen(port), partial(connected, address))
    inside = socket.socket(socket.AF_UNIX)
    inside.bind(f"\0{one.prefix}/{STANDARD_CID}/{STREAM_PORT}")
    inside.listen(8)
    relay(inside, partial(machine.connect, STREAM_PORT))
    machine.start()
    machine.wait_until_up(BOOT_SECONDS)
    return machine


def _orders(one: Scene) -> Orders:
    params = one.directory / "params"
    params.parent.mkdir(exist_ok=True)
    params.write_bytes(PARAMS)
    digest = hashlib.sha256(PARAMS).hexdigest()
    serving = Serving(ENCLAVE_ADDRESS, "0x7", str(params), digest)
    return Orders(STANDARD_CID, serving=serving, packets=Packets())


def _ask(request: bytes, port: int) -> bytes:
    """As a client in the world; the body."""
    with socket.create_connection((INSTANCE, port), 60, (WORLD, 0)) as sock:
        sock.sendall(request)
        return b"".join(iter(lambda: sock.recv(1 << 20), b"")).partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("port", [80, 443])
def test_world__asks_the_enclave__its_kernel_answers(up: Scene, port: int) -> None:
    said = json.loads(up.world.call(lambda: _ask(b"GET /hello HTTP/1.1\r\n\r\n", port)))
    assert said["path"] == "/hello"
    assert "cloud-amd64" in said["kernel"]


def test_world__asks_for_the_document__the_params_are_in_the_register(up: Scene) -> None:
    raw = up.world.call(lambda: _ask(b"GET /attestation/raw HTTP/1.1\r\n\r\n", 1300))
    payload = cbor2.loads(cbor2.loads(raw)[2])
    assert payload["pcrs"][16].hex() == pcr16_of(DIGEST)


def test_traffic__in_packets__comes_back_whole(up: Scene) -> None:
    body = os.urandom(1 << 20)
    head = f"POST / HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    assert up.world.call(lambda: _ask(head + body, 80)) == body
