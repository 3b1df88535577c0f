"""What the host lives through: a metadata service not ready, clocks that are wrong, tools that
answer nonsense, forwarders that do not stay up."""

from __future__ import annotations

import email.utils
import errno
import hashlib
import json
import shutil
import stat
import tempfile
import threading
import time
from collections import namedtuple
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from enclave.host import boot
from enclave.host import decide as machine
from enclave.host import nitro_cli as nitro
from enclave.host.aws import Metadata, Unreachable
from enclave.host.config import Config, Places
from enclave.host.documents import Desired, DocumentRefused, Status
from enclave.host.looking import step_and_look
from enclave.host.mailbox import Mailbox, NotThere, _parsed
from enclave.host.model import Allocation, Run
from enclave.host.program import Host, find_identity
from enclave.host.workers import Lane

pytestmark = [pytest.mark.integration, pytest.mark.allow_hosts(["127.0.0.0/8"])]

IMAGE = b"an image of some bytes"
DESIRED = Desired("run-1", hashlib.sha256(IMAGE).hexdigest(), len(IMAGE), 2, 64)
CONFIG = Config("eu-west-1", "b", "hosts/A:", "programs/x.pyz", hashlib.sha256(b"zip").hexdigest())
SECRET, TOKEN = "wJalrXUt", "IQoJb3Jp"
ROLE = {
    "AccessKeyId": "AKIA",
    "SecretAccessKey": SECRET,
    "Token": TOKEN,
    "Expiration": "2099-01-01T00:00:00Z",
}
SKEW_SECONDS = 900  # S3 refuses what was signed at another time than that (RequestTimeTooSkewed)


class FakeAws(ThreadingHTTPServer):
    """The metadata service and one bucket; its clock is this machine's and `ahead` seconds."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.role: object = ROLE
        self.objects: dict[str, bytes] = {}
        self.written: list[dict[str, Any]] = []
        self.ahead = 0.0
        self.denied = b""  # what is said to whoever writes; empty: it may

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeAws

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/latest/api/token":
            return self._say(200, b"token")
        if self._skewed() or self.server.denied:
            return self._say(403, self.server.denied)
        self.server.written.append(json.loads(body))
        return self._say(200)

    def do_GET(self) -> None:
        if self.path.endswith("/security-credentials/"):
            return self._say(200, b"role")
        if self.path.endswith("/security-credentials/role"):
            return self._say(200, json.dumps(self.server.role).encode())
        found = self.server.objects.get(self.path.removeprefix("/b/"))
        if self._skewed() or found is None:
            return self._say(403)
        start = int(self.headers.get("range", "bytes=0-")[6:-1])
        return self._say(206 if start else 200, found[start:])

    def _skewed(self) -> bool:
        signed = time.strptime(self.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
        at = email.utils.mktime_tz((*signed[:6], 0, 1, 0, 0))
        return abs(at - time.time() - self.server.ahead) > SKEW_SECONDS

    def _say(self, status: int, body: bytes = b"") -> None:
        self.send_response_only(status)
        self.send_header("Date", email.utils.formatdate(time.time() + self.server.ahead))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAws]:
    with FakeAws() as server:
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", server.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.url)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


NOT_READY: list[object] = [
    {"Code": "AssumeRoleUnauthorizedAccess", "Message": "EC2 cannot assume the role"},
    [], "Failed", None, {**ROLE, "Expiration": "soon"}, [SECRET, TOKEN],
    {name: text for name, text in ROLE.items() if name != "AccessKeyId"},
    {name: text for name, text in ROLE.items() if name != "Expiration"},
]  # fmt: skip


@pytest.mark.parametrize("role", NOT_READY)
def test_metadata__role_not_ready__is_asked_again_later(aws: FakeAws, role: object) -> None:
    metadata = Metadata()
    aws.role = role
    with pytest.raises(Unreachable) as refused:
        metadata.credentials(0.0)
    assert not [text for text in (SECRET, TOKEN) if text in str(refused.value)]
    aws.role = ROLE
    assert metadata.credentials(0.0).key_id == "AKIA"


@pytest.mark.parametrize("role", NOT_READY)
def test_metadata__no_newer_role_to_be_had__serves_by_the_known_one_until_it_expires(
    aws: FakeAws, role: object
) -> None:
    metadata = Metadata()
    expires = metadata.credentials(0.0).expires_at
    aws.role = role
    assert metadata.credentials(expires - 299.0).key_id == "AKIA"
    assert metadata.credentials(expires - 1.0).key_id == "AKIA"
    with pytest.raises(Unreachable):
        metadata.credentials(expires)
    aws.role = {**ROLE, "AccessKeyId": "NEXT"}
    assert metadata.credentials(expires).key_id == "NEXT"


@pytest.mark.parametrize("ahead", [-20_000.0, 20_000.0])
def test_mailbox__clock_off_by_hours__takes_the_bucket_s(aws: FakeAws, ahead: float) -> None:
    aws.ahead = ahead
    aws.objects["hosts/A%3Ai-1/desired.json"] = json.dumps(DESIRED.to_json()).encode()
    box = Mailbox(CONFIG, "i-1")
    with pytest.raises(NotThere):
        box.read_desired()
    assert Desired.from_json(box.read_desired()) == DESIRED
    box.write_status({"phase": "booted"}, 1.5)
    assert aws.written == [{"phase": "booted"}]


def test_desired__nested_without_end__is_refused() -> None:
    with pytest.raises(DocumentRefused):
        _parsed(b"[" * 60_000)


class Clock:
    def __init__(self) -> None:
        self.at = time.time()

    def __call__(self) -> float:
        return self.at


class Instance:
    """A host whose turns are taken by the test, without enclave tools."""

    def __init__(self, path: Path) -> None:
        self.clock, self.places = Clock(), Places(path)
        self.host = Host(CONFIG, self.places, "i-1", self.clock)

    def settle(self) -> None:
        """Turns until no lane works; the tools' and the image's lane are at rest, too."""
        lanes = self._lanes()
        while True:
            self.host._wake.clear()
            self.host.turn()
            if all(lane.idle for lane in lanes):
                return
            assert self.host._wake.wait(10)

    def close(self) -> None:
        for lane in self._lanes():
            lane.close()
        self.host._keeper.end()

    def _lanes(self) -> tuple[Lane[Any], ...]:
        host = self.host
        return (host._mail, host._image, host._machine.lane, host._network)


@pytest.fixture
def instance(aws: FakeAws, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Instance]:
    """Its desired is written; its tools are there and list no enclave."""
    aws.objects["hosts/A%3Ai-1/desired.json"] = json.dumps(DESIRED.to_json()).encode()
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in nitro.TOOLS:
        (tools / name).write_text("#!/bin/sh\necho '[]'\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    one = Instance(tmp_path / "root")
    yield one
    one.close()


def test_host__clock_set_back_by_hours__polls_and_speaks_on(
    aws: FakeAws, instance: Instance
) -> None:
    instance.settle()
    told = len(aws.written)
    instance.clock.at -= 3 * 3600
    instance.settle()
    assert len(aws.written) > told
    assert instance.host._wrote is not None
    assert instance.host._wrote.heartbeat == pytest.approx(instance.clock.at, abs=1)
    assert instance.host._until_next(instance.clock.at) < 60


def test_host__nothing_new__writes_the_same_bytes_as_its_heartbeat(
    aws: FakeAws, instance: Instance
) -> None:
    status = Status("running", "r", 1000.0, "p", "i-1", {"booted": 900.0})
    for later in (0.0, 30.0, 60.0):
        instance.host._wrote = instance.host._mail_job(
            replace(status, heartbeat=1000 + later)
        ).wrote
    assert aws.written[0] == aws.written[1] == aws.written[2]
    assert aws.written[0]["heartbeat"] == 1000.0
    instance.host._mail_job(replace(status, heartbeat=1090.0, restarts=1))
    assert (aws.written[3]["heartbeat"], aws.written[3]["restarts"]) == (1090.0, 1)


def test_host__may_not_write_its_status__says_so_where_it_can_once_and_when_it_may_again(
    aws: FakeAws, instance: Instance, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody reads it in the bucket then; the unit's errors go to the instance's console."""
    aws.denied = (
        b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    )
    for _ in range(3):
        instance.settle()
        instance.clock.at += 60
    said = "oyster-host: the mailbox cannot be reached: status.json: HTTP 403 AccessDenied\n"
    assert capfd.readouterr().err == said
    aws.denied = b""
    instance.settle()
    assert capfd.readouterr().err == "oyster-host: the mailbox is reached again\n"
    assert "StandardError=journal+console" in boot.UNIT_TEXT


def test_identity__metadata_that_does_not_answer__is_said_once_and_asked_until_it_does(
    aws: FakeAws, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answers = iter(["", "<html>", '{"instanceId": "i-1", "region": "eu-west-1"}'])
    monkeypatch.setattr(Metadata, "get", lambda _, path: next(answers))
    assert find_identity() == "i-1"
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("oyster-host: the metadata service does not say which instance")


def test_tries__noted_before_the_clock_was_set_back__do_not_wait_for_hours() -> None:
    tries = machine.failed(machine.Tries("x"), "no", 50_000.0, 1.0)
    assert tries.waits(50_000.5)
    assert not tries.waits(50_001.0)
    assert not tries.waits(10_000.0)


def test_image__cut_off_with_little_room_left__goes_on(
    aws: FakeAws, instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(30, 20, 10))
    instance.places.images.mkdir(parents=True)
    (instance.places.images / f"{DESIRED.image_sha256}.part").write_bytes(IMAGE[:15])
    aws.objects[f"images/{DESIRED.image_sha256}"] = IMAGE
    instance.settle()
    assert (instance.places.images / DESIRED.image_sha256).read_bytes() == IMAGE


GARBAGE = ["null", "7", '"x"', '["x"]', "{}", '{"a": 1}', '[{"EnclaveCID": 1e999}]', "[[]]", "no",
           '[{"Measurements": [1]}]', '[{"EnclaveID": "e", "EnclaveCID": Infinity}]']  # fmt: skip


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Places]:
    """A nitro-cli that says this, and ends well."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def tool(said: str) -> Places:
        path = tmp_path / "nitro-cli"
        path.write_text(f"#!/bin/sh\ncat <<'END'\n{said}\nEND\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return Places(tmp_path)

    return tool


@pytest.mark.parametrize("said", GARBAGE)
def test_describe__nonsense__is_an_error_of_the_tool(
    said: str, says: Callable[[str], Places]
) -> None:
    with pytest.raises(nitro.NitroError, match="nitro-cli"):
        nitro.describe_enclaves(says(said))


ONE = {"EnclaveID": "i-1-enc2", "EnclaveName": "n", "EnclaveCID": 16, "State": "RUNNING",
       "NumberOfCPUs": 2, "MemoryMiB": 64}  # fmt: skip
STARTED = "Start allocating memory...\nStarted enclave with enclave-cid: 16, cpu-ids: [1, 3]\n"
LOGGED = "[2026-11-29T06:00:00Z][WARN] a library's word\n"
FIELD_OF_LATER = {"AssignedMemoryRegions": [{"node": 0}], "FlagsBits": None, "Measurements": None}


@pytest.mark.parametrize("before", ["", STARTED, LOGGED, "[ warning ]\n{\n", "\n \n"])
@pytest.mark.parametrize("after", ["", "\nnote: a newer version is there", "\n]"])
@pytest.mark.parametrize("indent", [None, 2])
def test_nitro_cli__words_beside_its_json__are_let_be(
    before: str, after: str, indent: int | None, says: Callable[[str], Places]
) -> None:
    """On the same stream, by a version or a library; what counts is that the tool ended well."""
    one = {**ONE, **FIELD_OF_LATER}
    places = says(before + json.dumps([one], indent=indent) + after)
    (listed,) = nitro.describe_enclaves(places)
    assert (listed.id, listed.cid, listed.running) == ("i-1-enc2", 16, True)
    places = says(before + json.dumps(one, indent=indent) + after)
    order = Run("n", DESIRED)
    assert nitro.run_enclave(places, order, Path("x")) == replace(listed, pcrs={})


def test_describe__registers_in_another_form__cost_no_status(says: Callable[[str], Places]) -> None:
    """The agent refuses a document with them: a host that runs well would be one that is silent."""
    said = {"PCR0": "AB" * 48, "PCR1": None, "PCR2": "0x" + "1" * 94, "PCR16": "00" * 48, "PCR": "",
            "HashAlgorithm": "Sha384 { ... }", "PCR3": ["1"]}  # fmt: skip
    (listed,) = nitro.describe_enclaves(says(json.dumps([{**ONE, "Measurements": said}])))
    assert listed.pcrs == {"PCR0": "ab" * 48, "PCR16": "00" * 48}
    status = Status("running", "r", 1.0, "p", "i-1", pcrs=listed.pcrs)
    assert Status.from_json(status.to_json()) == status


def test_run__ends_well_and_says_nothing_that_is_understood__is_no_failure(
    says: Callable[[str], Places],
) -> None:
    """It booted; to take it for failed would be a restart, and the sixth the end of the job."""
    assert nitro.run_enclave(says("Started enclave"), Run("n", DESIRED), Path("x")) is None


@pytest.mark.parametrize(
    ("pool", "cpus"),
    [("1,3-5\n", 4), ("2", 1), ("", 0), ("\n", 0), ("(null)\n", 0), ("none", 0), ("1,,3", 0),
     ("0-7:2/4", 0), ("-1", 0), ("1-", 0), ("9" * 5000, 0)],
)  # fmt: skip
def test_allocated__whatever_the_driver_writes__is_a_number(
    pool: str, cpus: int, tmp_path: Path
) -> None:
    places = Places(tmp_path)
    pages = places.nodes / "node0/hugepages/hugepages-2048kB"
    for path, text in ((places.cpu_pool, pool), (pages / "nr_hugepages", "3\n")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert nitro.allocated(places) == Allocation(cpus, 6)
    (pages / "nr_hugepages").write_text(pool)
    assert nitro.allocated(places).memory_mib in (0, 4)


def test_describe__no_room_for_a_file__is_an_error_of_the_tool(
    says: Callable[[str], Places], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full ends no program: the enclave is taken to run on."""
    places = says("[]")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(nitro.NitroError, match="No space left"):
        nitro.describe_enclaves(places)
    looked = step_and_look(places, None, None, lambda: 1.0)
    assert looked.seen.enclaves is None


def test_host__a_disk_that_takes_no_file__goes_on_and_speaks(
    aws: FakeAws, instance: Instance
) -> None:
    for name in ("desired", "run"):  # where its files are written first
        (instance.places.state / f"{name}.new").mkdir(parents=True)
    instance.settle()
    instance.clock.at += 60
    instance.settle()
    assert aws.written[-1]["run_id"] == DESIRED.run_id
    assert not list(instance.places.state.glob("*.json"))
