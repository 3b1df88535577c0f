"""`doctor` compares this machine's clock with AWS's, by what AWS says in an answer or a refusal."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from agent.config import Config
from cloud.clients import Clients
from cloud.model import Region
from commands.checkup import aws
from commands.checkup.patient import Patient
from faults import Fault
from tests.enclave.ipfs.test_gateway import http_server

pytestmark = pytest.mark.unit


SKEWED = (
    b"<ErrorResponse><Error><Type>Sender</Type><Code>SignatureDoesNotMatch</Code>"
    b"<Message>Signature expired</Message></Error></ErrorResponse>"
)


@dataclass
class SomeAws:
    """As much of AWS as the check asks."""

    ahead: float | None

    def clock_ahead(self) -> float | None:
        return self.ahead


@pytest.mark.parametrize(
    ("ahead", "verdict", "said"),
    [
        (None, "skip", "AWS did not answer"),
        (-2.0, "ok", "within 5 s"),
        (12.0, "warn", "this machine is 12 s behind AWS"),
        (90.0, "fail", "behind AWS"),
        (-400.0, "fail", "ahead of AWS"),
    ],
)
async def test_clock__by_aws__a_minute_would_refuse_attestations(
    ahead: float | None, verdict: str, said: str
) -> None:
    patient = Patient(Config(), Path("config.toml"), aws=SomeAws(ahead))
    (finding,) = await aws.clock(patient)
    assert finding.verdict == verdict
    assert said in finding.found
    assert bool(finding.todo) == (verdict in ("warn", "fail"))


@pytest.mark.parametrize(
    ("date", "ahead"),
    [
        (None, 90.0),
        ("yesterday", None),
        ("Sat, 99 Nov 2026 12:00:00 GMT", None),
    ],
)
async def test_clients__the_date_of_a_refusal__is_heard(
    date: str | None, ahead: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that is far off has its requests refused: that is when it is needed."""

    class Refuses(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(403)
            self.send_header("Content-Length", str(len(SKEWED)))
            self.end_headers()
            self.wfile.write(SKEWED)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return date or formatdate(time.time() + 90, usegmt=True)

        def log_message(self, format: str, *args: object) -> None:
            pass

    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "x")
    with http_server(Refuses) as server:
        clients = Clients(f"http://127.0.0.1:{server.server_address[1]}", threads=1)
        asking = clients.sts(Region("us-east-1")).get_caller_identity
        with closing(clients), pytest.raises(Fault):
            await clients.run("asking who this is", asking)
    assert clients.clock.ahead == (ahead if ahead is None else pytest.approx(ahead, abs=3))
