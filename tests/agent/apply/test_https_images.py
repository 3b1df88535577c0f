"""A plain https URL end to end: TLS, the guard, the form, the PCRs, and the pin that outlives it.

The agent's own fetch as it is wired from a configuration. Two things are the test's: where names
lead, and that a connection to one public address comes out at a server of this machine. The
certificate's authority is trusted as an operator's own would be, by the system (SSL_CERT_FILE).
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agent.config import parse
from agent.decide.job_view import ImagePhase
from agent.journal.engines import open_file
from agent.journal.reading import Reader
from agent.journal.writing import Journal
from agent.load.pins import tag_of
from agent.load.proofs import proofs_of, said
from agent.market.model import JobId
from agent.wiring.images import open_images
from enclave.eif.measure import measure_file
from enclave.eif.writer import ImageSpec, build
from enclave.web.connect import connected
from tests.agent.apply.test_pins import Agent
from tests.agent.samples import INSTANCE, JOB, NOW
from tests.authority import DAY, Authority
from tests.clocks import StandingClock

pytestmark = pytest.mark.integration

PUBLIC = "93.184.216.34"
GOOD, BAD, HOME = "files.example", "other.example", "home.example"
URL = f"https://{GOOD}/base.eif?X-Amz-Signature=s3cret"
FIRST, SECOND = (
    build(ImageSpec(kernel=letter * 70_000, cmdline=b"c", ramdisks=[b"r" * 50_000]))
    for letter in (b"k", b"j")
)


@dataclass
class Shelf:
    """What the host has now, and what was asked of it."""

    data: bytes = FIRST
    asked: list[str] = field(default_factory=list)


class Host(BaseHTTPRequestHandler):
    shelf: Shelf

    def do_GET(self) -> None:
        self.shelf.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.shelf.data)))
        self.end_headers()
        self.wfile.write(self.shelf.data)

    def log_message(self, format: str, *args: object) -> None: ...


class Tls(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """A client that does not like the certificate hangs up."""


@dataclass
class Place:
    """The server, and the certificates that it can show."""

    shelf: Shelf
    server: Tls
    folder: Path
    ca: Authority
    context: ssl.SSLContext

    def shows(self, key_and_certificate: bytes) -> None:
        path = self.folder / "server.pem"
        path.write_bytes(key_and_certificate)
        self.context.load_cert_chain(path)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    ca, shelf = Authority(), Shelf()
    (tmp_path / "ca.pem").write_bytes(ca.itself())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with Tls(("127.0.0.1", 0), type("Serving", (Host,), {"shelf": shelf})) as server:
        found = Place(shelf, server, tmp_path, ca, context)
        found.shows(ca.server(GOOD))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        leads(monkeypatch, server.server_address[1])
        yield found
        server.shutdown()
        thread.join()


def leads(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Names to addresses, and the one public address to the server of this machine; nobody waits
    between two attempts."""
    names = {GOOD: [PUBLIC], BAD: [PUBLIC], HOME: ["127.0.0.1"]}

    def led(addresses: Sequence[str], to: int, *more: Any) -> socket.socket:
        here = list(addresses) == [PUBLIC] and to == 443
        return connected(["127.0.0.1"] if here else addresses, port if here else to, *more)

    monkeypatch.setattr("enclave.web.guard.Guard.sleep", lambda guard, seconds: None)
    monkeypatch.setattr("enclave.web.http._resolve", lambda host, port: names[host])
    monkeypatch.setattr("enclave.web.http.connected", led)


CONFIG = """
state_dir = "{folder}"
[chain]
chain_id = 42161
market = "marketv1"
rpc_urls = ["http://node"]
[aws]
regions = ["us-east-1"]
[wallet]
key_file = "key"
[images]
stall = "2s"
"""


class Running:
    """The agent's effects over its own fetch; `restart` is another process of the same state."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self._folder, self._stack = folder, stack
        self.journal = Journal(open_file(folder / "journal.sqlite"))
        self.agent = Agent(self.journal)
        self.begin(folder)

    def begin(self, folder: Path) -> None:
        config = parse(CONFIG.format(folder=folder))
        self.agent.web = open_images(config, StandingClock(NOW), self._stack)  # type: ignore[assignment]  # the real ones
        self.agent.restart()

    def shown(self) -> str:
        self.journal.flush()
        job = replace(JOB, enclave_url=URL)
        return str(said(proofs_of(job, Reader(self.journal.engine).timeline(JobId(0)))))


@pytest_asyncio.fixture
async def running(tmp_path: Path, place: Place) -> AsyncIterator[Running]:
    async with AsyncExitStack() as stack:
        found = Running(tmp_path, stack)
        yield found
        found.journal.close()


async def test_https__an_image_by_its_url_alone__is_measured_pinned_and_run_on_when_it_changes(
    running: Running, place: Place, tmp_path: Path
) -> None:
    sha256, agent = hashlib.sha256(FIRST).hexdigest(), running.agent
    identity = replace(INSTANCE.identity, job=0)
    agent.instances = (replace(INSTANCE, identity=identity),)
    running.begin(tmp_path)
    image = (await agent.fetch(URL)).image
    assert (image.sha256, image.by_url) == (sha256, True)
    local = tmp_path / "first.eif"
    local.write_bytes(FIRST)
    assert image.pcrs == measure_file(local).pcrs
    await agent.order(sha256)
    assert agent.ec2.noted == [tag_of(URL, sha256)]
    text = running.shown()
    assert "image by URL alone" in text
    assert sha256 in text
    place.shelf.data = SECOND
    running.begin(tmp_path)  # a replacement, by another process
    again = (await agent.fetch(URL)).image
    assert (again.sha256, again.path.read_bytes()) == (sha256, FIRST)
    assert len(place.shelf.asked) == 1
    running.begin(tmp_path / "lost")  # the store is gone; the journal's word is not
    lost = await agent.fetch(URL)
    assert lost.phase is ImagePhase.REFUSED
    assert "when this job was taken" in lost.reason
    other = (await agent.fetch(URL, job=1)).image
    assert other.sha256 == hashlib.sha256(SECOND).hexdigest()
    assert "s3cret" not in lost.reason + running.shown()


@pytest.mark.parametrize("data", [b"", b"no image", FIRST[:-1], b"X" + FIRST[1:]])
async def test_https__what_is_no_image__is_refused_and_nothing_of_it_stays(
    running: Running, place: Place, data: bytes
) -> None:
    place.shelf.data = data
    found = await running.agent.fetch(URL)
    assert found.phase in (ImagePhase.REFUSED, ImagePhase.FAILED)
    assert found.image is None
    assert not list(place.folder.rglob("*.eif"))
    assert "image by URL alone; runs" not in running.shown()


@pytest.mark.parametrize(
    ("shown", "url", "said"),
    [
        ("another's", URL, "no TLS with files.example"),
        ("expired", URL, "no TLS with files.example"),
        ("for another name", f"https://{BAD}/x.eif", "no TLS with other.example"),
        ("good", f"https://{HOME}/x.eif", "not a public address"),
        ("good", f"http://{GOOD}/x.eif", "https"),
        ("good", f"https://{GOOD}:8443/x.eif", "port"),
    ],
)
async def test_https__whose_certificate_or_place_is_not_right__is_asked_for_nothing(
    running: Running, place: Place, shown: str, url: str, said: str
) -> None:
    if shown == "another's":
        place.shows(Authority().server(GOOD))
    if shown == "expired":
        place.shows(place.ca.server(GOOD, ends=-DAY))
    found = await running.agent.fetch(url)
    assert found.phase in (ImagePhase.REFUSED, ImagePhase.FAILED)
    assert said in found.reason
    assert place.shelf.asked == []
