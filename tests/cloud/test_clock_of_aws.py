"""AWS's clock by what it answers, and what is judged by it where this machine's is wrong."""

from __future__ import annotations

import time
from contextlib import closing
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from agent.apply.clock_by_aws import ClockByAws
from cloud.clients import Clients
from cloud.clock_of_aws import FAR_SECONDS, ClockOfAws, ahead_of
from cloud.model import Region
from tests.clocks import StandingClock
from tests.enclave.ipfs.test_gateway import http_server

pytestmark = pytest.mark.unit

NOW = 1_800_000_000.0
EMPTY = (
    b'<DescribeRegionsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">'
    b"<requestId>1</requestId><regionInfo/></DescribeRegionsResponse>"
)


@given(st.floats(-7200, 7200), st.floats(0, 60), st.floats(0, 60))
def test_ahead__however_slow_the_answer__is_never_more_than_it_is(
    ahead: float, there: float, back: float
) -> None:
    said = float(int(NOW + there + ahead))  # in whole seconds, cut
    found = ahead_of(said, NOW, NOW + there + back)
    assert abs(found) <= abs(ahead) + 0.001
    assert found * ahead >= 0
    assert abs(found) >= abs(ahead) - there - back - 1.001


def test_ahead__this_clock_jumps_while_aws_is_silent__is_seen_at_once_and_taken_back() -> None:
    """Else, set right during an outage of AWS, it would be set wrong by what was heard before."""
    wall, steady = StandingClock(NOW), StandingClock(50.0)
    clock = ClockOfAws(wall.now, steady.now)
    context: dict[str, Any] = {}
    said = {"ResponseMetadata": {"HTTPHeaders": {"date": formatdate(NOW, usegmt=True)}}}
    assert ClockOfAws(wall.now, steady.now).ahead is None
    clock._sent(context=context)
    clock._hear(parsed=said, context=context)
    assert clock.ahead == 0.0
    for jump in (600.0, -600.0):
        wall.at += jump + 100.0
        steady.at += 100.0
        off = wall.at - NOW - (steady.at - 50.0)
        assert clock.ahead == pytest.approx(-off, abs=1.0)
    assert clock.ahead == 0.0


@pytest.mark.parametrize(
    ("ahead", "moved"),
    [(None, 0.0), (FAR_SECONDS, 0.0), (-FAR_SECONDS, 0.0), (600.0, 600.0), (-3600.0, -3600.0)],
)
def test_clock__far_from_aws__is_set_right_and_else_left_alone(
    ahead: float | None, moved: float
) -> None:
    assert ClockByAws(StandingClock(NOW), lambda: ahead).now() == NOW + moved


def test_clock__by_answers_of_other_speed__does_not_go_to_and_fro() -> None:
    told = iter([31.0, 28.0, 33.0, 25.0, 20.5, 120.0, 112.0, 5.0])
    clock = ClockByAws(StandingClock(NOW), lambda: next(told))
    moved = [clock.now() - NOW for _ in range(8)]
    assert moved == [31.0, 31.0, 31.0, 31.0, 0.0, 120.0, 120.0, 0.0]


@pytest.mark.parametrize("off", [-3600.0, -400.0, 0.0, 400.0, 3600.0])
async def test_clients__every_answer_of_ec2__tells_the_time(
    off: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Said in the log once, however often it is heard."""

    class Answers(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(EMPTY)))
            self.end_headers()
            self.wfile.write(EMPTY)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(time.time() + off, usegmt=True)

        def log_message(self, format: str, *args: object) -> None:
            pass

    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.setenv(f"AWS_{name}", "x")
    with http_server(Answers) as server, capture_logs() as lines:
        clients = Clients(f"http://127.0.0.1:{server.server_address[1]}", threads=1)
        asking = clients.ec2(Region("us-east-1")).describe_regions
        with closing(clients):
            for _ in range(2):
                await clients.run("asking for regions", asking)
    assert clients.clock.ahead == pytest.approx(off, abs=3)
    assert [line["event"] for line in lines] == (["clock.wrong"] if off else [])
