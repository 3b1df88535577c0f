"""The init server: what it answers, to whom, and never with bytes that are not the ordered ones."""

from __future__ import annotations

import hashlib
import http.client
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.host.network import http as serving_http
from enclave.host.network import init_server as init
from enclave.host.network.http import answered
from enclave.host.network.orders import ENCLAVE_ADDRESS, Orders, Serving
from enclave.host.network.wires import PARENT_CID
from tests.enclave.host.network.carrier import CID, Carrier, carrier

pytestmark = pytest.mark.integration

PARAMS = bytes(range(256)) * 4096
SERVED = {"/instance/ip": b"192.0.0.2", "/oyster/init-params": b"", "/oyster/job": b"0x7"}


@pytest.fixture
def up() -> Iterator[Carrier]:
    with carrier() as one:
        yield one


@pytest.fixture
def serving(tmp_path: Path) -> Serving:
    path = tmp_path / "params"
    path.write_bytes(PARAMS)
    return Serving(ENCLAVE_ADDRESS, "0x7", str(path), hashlib.sha256(PARAMS).hexdigest())


class Asks(http.client.HTTPConnection):
    """A client inside the enclave."""

    def __init__(self, up: Carrier) -> None:
        super().__init__("vsock")
        self._address = f"\0{up.prefix}/{PARENT_CID}/{init.PORT}"

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        try:
            self.sock.connect(self._address)
        except OSError:
            self.close()
            raise

    def get(self, path: str) -> tuple[int, bytes]:
        try:
            self.request("GET", path)
            response = self.getresponse()
            return response.status, response.read()
        finally:
            self.close()


def order(up: Carrier, serving: Serving | None) -> None:
    up.call(lambda: up._network.order(Orders(CID, serving=serving)))


def test_serves__what_was_ordered__by_path_and_status(up: Carrier, serving: Serving) -> None:
    order(up, serving)
    assert up.report().ready
    assert Asks(up).get("/instance/ip") == (200, b"192.0.0.2")
    assert Asks(up).get("/oyster/init-params") == (200, PARAMS)
    assert Asks(up).get("/oyster/job") == (200, b"0x7")
    assert Asks(up).get("/oyster/extra-init-params")[0] == 500
    assert Asks(up).get("/")[0] == 404
    assert Asks(up).get("/../etc/passwd")[0] == 404


def test_serves__no_params__an_empty_200(up: Carrier, serving: Serving) -> None:
    order(up, replace(serving, params="", sha256=hashlib.sha256(b"").hexdigest()))
    assert Asks(up).get("/oyster/init-params") == (200, b"")


def test_serves__bytes_have_another_digest__nothing_is_served_and_it_is_said(
    up: Carrier, serving: Serving
) -> None:
    Path(serving.params).write_bytes(PARAMS[:-1] + b"!")
    order(up, serving)
    report = up.report()
    assert not report.ready
    assert "another digest" in report.errors["init"]
    with pytest.raises(ConnectionRefusedError):
        Asks(up).get("/oyster/job")
    Path(serving.params).write_bytes(PARAMS)
    up.pass_time(1)
    assert up.report().ready
    assert up.report().errors == {}


def test_serves__another_job__the_old_one_is_gone(up: Carrier, serving: Serving) -> None:
    order(up, serving)
    order(up, replace(serving, job="0x8"))
    assert Asks(up).get("/oyster/job") == (200, b"0x8")
    order(up, None)
    assert up.report().ready
    with pytest.raises(ConnectionRefusedError):
        Asks(up).get("/oyster/job")


def test_serves__slow_ones_take_every_place__they_are_ended(up: Carrier, serving: Serving) -> None:
    order(up, serving)
    slow = [Asks(up) for _ in range(init.MOST_ASKING)]
    for one in slow:
        one.connect()
        one.sock.sendall(b"GET /oyster/job HT")
    up.report()
    with pytest.raises((http.client.HTTPException, OSError)):
        Asks(up).get("/oyster/job")
    up.pass_time(serving_http.ASK_SECONDS)
    assert Asks(up).get("/oyster/job") == (200, b"0x7")
    for one in slow:
        assert one.sock.recv(1) == b""
        one.close()


@given(head=st.binary(max_size=200))
def test_answer__any_bytes__is_one_whole_response(head: bytes) -> None:
    said, _ = answered(head + b"\r\n\r\n", lambda path: init.respond(path, SERVED))
    assert said.startswith(b"HTTP/1.1 ")
    top, _, body = said.partition(b"\r\n\r\n")
    length = int(top.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    assert length == len(body) or head.startswith(b"HEAD ")


@pytest.mark.parametrize(
    ("line", "status"),
    [("GET /oyster/job HTTP/1.1", 200), ("GET /oyster/job HTTP/1.0", 200),
     ("GET /oyster/job?x HTTP/1.1", 200), ("HEAD /oyster/job HTTP/1.1", 200),
     ("POST /oyster/job HTTP/1.1", 405), ("GET /oyster/job", 400), ("GET /oyster/job SPDY/3", 400),
     ("GET /oyster/init-params/ HTTP/1.1", 404), ("", 400)],
)  # fmt: skip
def test_answer__a_request_line__has_its_status(line: str, status: int) -> None:
    head = f"{line}\r\nHost: vsock\r\n\r\n".encode()
    said, follows = answered(head, lambda path: init.respond(path, SERVED))
    assert said.startswith(b"HTTP/1.1 %d " % status)
    assert not follows
