"""A Kubo node's RPC, TLS, and what a gateway that a URL hints at may be."""

from __future__ import annotations

import datetime
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from devnet.ipfs.blocks import Blocks
from enclave.cid import RAW, Cid, cid_of
from enclave.ipfs.answers import BadAnswer
from enclave.ipfs.car import BadCar, Lie, car_frame, car_header
from enclave.ipfs.gateway import Gateway, Session, gateway_for
from enclave.web.guard import Guard
from enclave.web.http import HttpSession, Unreachable
from faults import UsageFault
from tests.enclave import gateway as lying

pytestmark = pytest.mark.integration

T = TypeVar("T")


@contextmanager
def http_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[ThreadingHTTPServer]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def guard() -> Guard:
    return Guard(time.monotonic, time.monotonic() + 10, 2)


def test_gateway__no_block_but_a_car__gives_the_block() -> None:
    class CarOnly(lying.Counting):
        def raw(self, cid: Cid) -> bytes | None:
            return None

    blocks = Blocks()
    cid = blocks.put(b"block", RAW)
    with CarOnly(blocks) as one, closing(Gateway(one.url).open(guard())) as session:
        assert session.block(cid) == b"block"


def test_gateway__a_type_with_control_characters__is_shown_without() -> None:
    class Odd(lying.Counting):
        car_type = "\x9b2J" + "a" * 5000

    with Odd(Blocks()) as one, closing(Gateway(one.url).open(guard())) as session:
        with pytest.raises(BadAnswer) as bad:
            list(session.car(one.blocks.put(b"block", RAW), 0))
        assert str(bad.value).isprintable()
        assert len(str(bad.value)) < 200


RAW_TYPE, CAR_TYPE, STORED = (
    "application/vnd.ipld.raw", "application/vnd.ipld.car; version=1", "application/octet-stream"
)  # fmt: skip
BLOCK, OTHER = b"block" * 99, b"other" * 99
# Of one answer for a block: its type (None: not said), whether its end is said, its bytes; and
# whether they are the block, a lie, or neither: a liar is dropped for the whole fetch.
ANSWERS = [
    (RAW_TYPE, True, BLOCK, "block"), (RAW_TYPE.upper(), False, BLOCK, "block"),
    (STORED, True, BLOCK, "block"), ("binary/octet-stream", False, BLOCK, "block"),
    (None, True, BLOCK, "block"), (RAW_TYPE, True, OTHER, "lie"), (RAW_TYPE, True, b"", "neither"),
    (RAW_TYPE, False, BLOCK[:-1], "neither"), (STORED, True, OTHER, "neither"),
    (None, False, b"", "neither"), (STORED, True, b"{}", "neither"),
    ("text/html", True, BLOCK, "neither"), ("text/plain", True, b"no providers", "neither"),
]  # fmt: skip


@contextmanager
def gateway_that_says(kind: str | None, ends: bool, *, raw: bytes, car: bytes) -> Iterator[Gateway]:
    class Says(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = raw if "format=raw" in self.path else car
            self.send_response(200)
            if kind is not None:
                self.send_header("Content-Type", kind)
            if ends:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    with http_server(Says) as server:
        yield Gateway(f"http://127.0.0.1:{server.server_address[1]}")


def ask(one: Gateway, what: Callable[[Session], T]) -> T:
    with closing(one.open(guard())) as session:
        return what(session)


@pytest.mark.parametrize(("kind", "ends", "said", "is_it"), ANSWERS)
def test_block__whatever_its_answer_is_called__the_bytes_tell(
    kind: str | None, ends: bool, said: bytes, is_it: str
) -> None:
    with gateway_that_says(kind, ends, raw=said, car=b"") as one:
        if is_it == "block":
            assert ask(one, lambda session: session.block(cid_of(BLOCK))) == BLOCK
            return
        with pytest.raises((BadAnswer, BadCar)) as found:
            ask(one, lambda session: session.block(cid_of(BLOCK)))
    assert isinstance(found.value, Lie) == (is_it == "lie")


@pytest.mark.parametrize("kind", [CAR_TYPE, STORED, None])
def test_car__whatever_it_is_called__its_blocks_tell(kind: str | None) -> None:
    cid = cid_of(BLOCK)
    sound = car_header(cid) + car_frame(cid, BLOCK)
    with gateway_that_says(kind, True, raw=b"", car=sound) as one:
        assert ask(one, lambda session: list(session.car(cid, 0))) == [(cid, BLOCK)]
    for other in (b".eif" + bytes(900), BLOCK):
        with gateway_that_says(kind, True, raw=b"", car=other) as one, pytest.raises(BadCar):
            ask(one, lambda session: list(session.car(cid, 0)))


def test_gateway__a_hint_that_leads_home__is_not_asked() -> None:
    source = gateway_for("gateway.example", resolve=lambda host, port: ["127.0.0.1"])
    session = source.open(guard())
    with closing(session), pytest.raises(Unreachable, match="not a public address"):
        session.block(cid_of(b"x"))


@pytest.mark.parametrize("url", ["127.0.0.1:8080", "ftp://gateway.example", "https://"])
def test_gateway__no_http_url__is_refused(url: str) -> None:
    with pytest.raises(UsageFault):
        Gateway(url)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate and its key for localhost, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName(one) for one in ("localhost", "*.ipfs.localhost")]
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


class _Hello(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "300000")
        self.end_headers()
        self.wfile.write(b"x" * 300_000)

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Tls(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not like the certificate hangs up."""


@contextmanager
def tls_server(certificate: Path, handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    with _Tls(("127.0.0.1", 0), handler) as server:
        server.socket = served.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"https://localhost:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_tls__a_known_certificate__is_read_and_an_unknown_refused(certificate: Path) -> None:
    known = ssl.create_default_context(cafile=str(certificate))
    with tls_server(certificate, _Hello) as url:
        assert _get(HttpSession(guard(), trusted=url, tls=known), url) == b"x" * 300_000
        with pytest.raises(Unreachable, match="no TLS with localhost"):
            _get(HttpSession(guard(), trusted=url), url)
        other = url.replace("localhost", "127.0.0.1")
        with pytest.raises(Unreachable, match="no TLS"):
            _get(HttpSession(guard(), trusted=other, tls=known), other)


class _BehindTls(BaseHTTPRequestHandler):
    """A server that does not know of the proxy before it: it sends people on to http."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        host, port = self.headers["Host"].split(":")
        home = f"http://{host}:{port}"
        sends = {"/ipfs/bafy?format=raw": f"http://bafy.ipfs.{host}:{port}/?format=raw",
                 "/old": f"{home}/", "/round": f"{home}/round", "/out": "http://10.0.0.1:80/",
                 "/home": "http://127.0.0.1/"}  # fmt: skip
        to = sends.get(self.path)
        self.send_response(301 if to else 200)
        if to:
            self.send_header("Location", to)
        said = f"{host}{self.path}".encode()
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, format: str, *args: object) -> None: ...


def test_tls__sent_on_to_http__is_asked_over_https_or_not_at_all(certificate: Path) -> None:
    """Below the gateway's name too, by its wildcard certificate."""
    known = ssl.create_default_context(cafile=str(certificate))
    with tls_server(certificate, _BehindTls) as url:

        def get(path: str) -> bytes:
            session = HttpSession(
                guard(), trusted=url, tls=known, resolve=lambda host, port: ["127.0.0.1"]
            )
            return _get(session, url + path)

        assert get("/old") == b"localhost/"
        assert get("/ipfs/bafy?format=raw") == b"bafy.ipfs.localhost/?format=raw"
        with pytest.raises(Unreachable, match="/round': only https:// is asked"):
            get("/round")
        for path in ("/out", "/home"):
            with pytest.raises(Unreachable, match="the host is an IP address"):
                get(path)


def _get(session: HttpSession, url: str) -> bytes:
    with closing(session), session.get(url, {}) as response:
        return b"".join(response.iter_stream())
