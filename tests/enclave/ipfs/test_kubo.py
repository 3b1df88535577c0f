"""A Kubo node that answers well, wrongly, without end, or in no way that HTTP knows."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

import pytest

from devnet.ipfs.blocks import Blocks
from enclave.cid import Cid, cid_of
from enclave.ipfs.answers import BadAnswer
from enclave.ipfs.assembly import Intake
from enclave.ipfs.car import BadCar, Lie
from enclave.ipfs.kubo import KuboNode
from enclave.ipfs.retrieval import IpfsFetch
from enclave.ipfs.source_standing import Standings
from enclave.ipfs.unixfs import Piece
from enclave.web.guard import Guard, Stalled
from faults import UsageFault
from tests.enclave.ipfs.test_gateway import http_server

pytestmark = pytest.mark.integration


@contextmanager
def kubo(blocks: dict[str, bytes]) -> Iterator[KuboNode]:
    """As much of Kubo's RPC as is used: POST /api/v0/block/get?arg=CID."""

    class Rpc(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            parts = urlsplit(self.path)
            block = blocks.get(parse_qs(parts.query)["arg"][0])
            body = b'{"Message":"not found","Code":0}' if block is None else block
            self.send_response(500 if block is None else 200)
            kind = "application/json" if block is None else "application/octet-stream"
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http_server(Rpc) as server:
        yield KuboNode(f"/ip4/127.0.0.1/tcp/{server.server_address[1]}")


def guard(stall_seconds: float = 20) -> Guard:
    return Guard(time.monotonic, time.monotonic() + 30, stall_seconds)


def test_kubo__a_file__is_read_block_by_block() -> None:
    blocks, out = Blocks(chunk_bytes=100, width=3), bytearray()
    data = bytes(range(256)) * 10
    root = blocks.add_file(data).cid

    def emit(piece: Piece) -> None:
        assert isinstance(piece, bytes)
        out.extend(piece)

    with kubo({str(cid): block for cid, block in blocks.by_cid.items()}) as node:
        fetch = IpfsFetch([node], Standings(), guard(), rounds=1)
        intake: Intake = fetch.start(root, 1000, emit)
        fetch.finish(intake)
    assert bytes(out) == data
    assert list(fetch.used) == [node.name]


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_kubo__a_proxy_in_the_environment__is_not_asked(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    block = b"a block"
    cid = cid_of(block)
    with kubo({str(cid): block}) as node, closing(node.open(guard())) as session:
        assert session.block(cid) == block


@pytest.mark.parametrize(
    "written",
    ["http://127.0.0.1:5001", "http://127.0.0.1:5001/api/v0/", "127.0.0.1:5001",
     "http://localhost:5001", "/ip4/127.0.0.1/tcp/5001/http", "/dns/localhost/tcp/5001"],
)  # fmt: skip
def test_kubo__its_rpc_as_it_is_written__is_asked(written: str) -> None:
    """The first is the example of docs/configuration.md."""
    cid = cid_of(b"block")
    with kubo({str(cid): b"block"}) as node:
        port = node.name.rpartition("/")[2]
        assert ask(KuboNode(written.replace("5001", port)), cid) == b"block"


def test_kubo__wrong_missing_or_huge__is_said_in_our_words() -> None:
    wrong, huge, missing = cid_of(b"right"), cid_of(b"huge"), cid_of(b"missing")
    answers = {str(wrong): b"wrong", str(huge): bytes(5 << 20)}
    with kubo(answers) as node, closing(node.open(guard())) as session:
        with pytest.raises(Lie):
            session.block(wrong)
        with pytest.raises(BadAnswer, match="not found"):
            session.block(missing)
        with pytest.raises(BadCar, match="longer than"):
            session.block(huge)


def test_kubo__nobody_listens__is_a_bad_answer() -> None:
    with kubo({}) as node:
        pass
    with closing(node.open(guard())) as session, pytest.raises(BadAnswer, match="refused"):
        session.block(cid_of(b"x"))


def test_kubo__tls_with_who_speaks_none__is_told_without_the_url_around_it() -> None:
    with kubo({}) as node:
        place = node.name.removeprefix("kubo:").removesuffix("/http")
        secure = KuboNode(f"{place}/https")
        with closing(secure.open(guard())) as session, pytest.raises(BadAnswer) as bad:
            session.block(cid_of(b"x"))
    assert "SSL" in str(bad.value)
    assert "Max retries" not in str(bad.value)


def test_kubo__an_address_that_is_none__is_a_usage_fault() -> None:
    with pytest.raises(UsageFault, match="no address of a Kubo node"):
        KuboNode("nonsense")


@contextmanager
def raw(answer: bytes, then: bytes = b"", pause: float = 0) -> Iterator[KuboNode]:
    """Sends `answer` whatever it is asked, and then `then` again and again."""
    over = threading.Event()

    def serve() -> None:
        with suppress(OSError):
            client, _ = listening.accept()
            with client, suppress(OSError):
                client.recv(65_536)
                client.sendall(answer)
                while then and not over.wait(pause):
                    client.sendall(then)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield KuboNode(f"/ip4/127.0.0.1/tcp/{listening.getsockname()[1]}")
        finally:
            over.set()
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def head(*headers: str, status: str = "200 OK") -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode()


def ask(node: KuboNode, cid: Cid, stall_seconds: float = 20) -> bytes:
    with closing(node.open(guard(stall_seconds))) as session:
        return session.block(cid)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0" * 70_000,
        head("Content-Length: 9") + b"short",
        head("Transfer-Encoding: chunked") + b"5\r\nab",
        head("Transfer-Encoding: chunked") + b"zz\r\nab",
        head("Transfer-Encoding: chunked") + b"f" * 20 + b"\r\nab",
        head("Transfer-Encoding: chunked") + b"-5\r\nab",
        head("Location: http://127.0.0.1:1/x", "Content-Length: 0", status="302 Found"),
        head("Location: gopher://x", "Content-Length: 0", status="307 Moved"),
        head("Content-Length: 50", status="500 Error") + b'{"Message":1}',
        head("Content-Length: 3", status="500 Error") + b"\xff{[",
        head(*["X: y"] * 500),
        head(status="99999 OK"),
    ],
)
def test_kubo__no_whole_answer__is_a_bad_answer(answer: bytes) -> None:
    with raw(answer) as node, pytest.raises(BadAnswer):
        ask(node, cid_of(b"x"))


DENIED = b"Kubo RPC Access Denied: Please provide a valid authorization token"


@pytest.mark.parametrize(
    ("status", "kind", "body", "said"),
    [
        ("403 Forbidden", "text/plain", DENIED, "wants a key.*: Kubo RPC Access Denied"),
        ("401 Unauthorized", "text/html", b"<title>Log in</title>", "wants a key.*: Log in"),
        ("404 Not Found", "text/plain", b"404 page not found", "the node's gateway"),
        ("405 Method Not Allowed", "text/plain", b"", "no Kubo RPC"),
        ("200 OK", "text/html; charset=utf-8", b"<title>IPFS</title>", "no Kubo RPC.*: IPFS"),
        ("200 OK", "application/json", b'{"error":{"message":"parse error"}}', "no.*: parse error"),
        ("502 Bad Gateway", "text/html", b"<title>nginx: 502</title>", "status 502: nginx: 502"),
        ("500 Error", "application/json; charset=utf-8", b'{"Message":"offline"}', ": offline"),
    ],
)
def test_kubo__no_rpc_or_one_that_refuses__is_told_by_status_and_its_own_words(
    status: str, kind: str, body: bytes, said: str
) -> None:
    answer = head(f"Content-Type: {kind}", f"Content-Length: {len(body)}", status=status) + body
    with raw(answer) as node, pytest.raises(BadAnswer, match=said) as bad:
        ask(node, cid_of(b"x"))
    assert len(str(bad.value)) < 300


def test_kubo__an_error_with_control_characters__is_shown_without() -> None:
    said = json.dumps({"Message": "\x1b[2J\nfine" + "a" * 5000}).encode()
    answer = head(f"Content-Length: {len(said)}", status="500 Error") + said
    with raw(answer) as node, pytest.raises(BadAnswer) as bad:
        ask(node, cid_of(b"x"))
    assert str(bad.value).isprintable()
    assert len(str(bad.value)) < 300


@pytest.mark.parametrize(
    "answer",
    [
        head("Content-Length: 100000000000"),
        head("Transfer-Encoding: chunked") + b"10000000\r\n",
        head("Content-Length: 100000000000", status="500 Error"),
    ],
)
def test_kubo__a_body_without_end__is_refused_in_little_memory(answer: bytes) -> None:
    tracemalloc.start()
    with raw(answer, then=bytes(1 << 20)) as node, pytest.raises((BadCar, BadAnswer)):
        ask(node, cid_of(b"x"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def test_kubo__a_byte_a_chunk__is_left() -> None:
    answer = head("Transfer-Encoding: chunked")
    crumbs = b"1\r\nx\r\n" * 5000
    with raw(answer, then=crumbs) as node, pytest.raises(BadAnswer, match="in crumbs"):
        ask(node, cid_of(b"x"))


def test_kubo__a_packed_body__is_never_unpacked() -> None:
    packed = gzip.compress(b"right")
    answer = head("Content-Encoding: gzip", f"Content-Length: {len(packed)}") + packed
    with raw(answer) as node, pytest.raises(Lie):
        ask(node, cid_of(b"right"))
    with raw(answer) as node:
        assert ask(node, cid_of(packed)) == packed


@pytest.mark.parametrize(
    ("answer", "then", "pause"),
    [
        (b"", b"", 0),
        (head("Content-Length: 1000"), b"x", 0.05),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 10, 0.01),
    ],
)
def test_kubo__crumbs_or_a_flood_of_nothing__stalls_when_the_guard_says_so(
    answer: bytes, then: bytes, pause: float
) -> None:
    with raw(answer or then, then or b" ", pause or 5) as node, pytest.raises((Stalled, BadAnswer)):
        ask(node, cid_of(b"x"), stall_seconds=0.3)
