"""Who is connected to a status address: bounded, fair, and nobody for nothing."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import closing

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config.model import Status as Settings
from agent.status import Metrics, StatusServer, doors
from agent.status.doors import LOG_SECONDS, Doors, OncePer
from tests.clocks import MovingClock

from .conftest import Past, Source, a_view

pytestmark = pytest.mark.integration


class Somebody:
    """A connection that does nothing."""

    def __init__(self, host: str, since: float, *, idle: bool = True) -> None:
        self.host, self.since, self.idle = host, since, idle
        self.open = True

    def shut(self) -> None:
        self.open = False


def test_doors__full_of_idle_ones__the_stillest_of_who_has_most_makes_way() -> None:
    full = Doors(most=3)
    first, greedy, again = Somebody("1.1.1.1", 1), Somebody("2.2.2.2", 2), Somebody("2.2.2.2", 3)
    assert all(map(full.enter, (first, greedy, again)))
    assert full.enter(Somebody("3.3.3.3", 4))
    assert (first.open, greedy.open, again.open) == (True, False, True)
    assert len(full) == 3


def test_doors__all_of_them_are_being_answered__a_stranger_has_to_wait() -> None:
    full = Doors(most=2, most_from_loopback=2)
    busy = [Somebody(host, at, idle=False) for at, host in enumerate(["1.1.1.1", "2.2.2.2"])]
    assert all(map(full.enter, busy))
    assert not full.enter(Somebody("3.3.3.3", 9))
    near = [Somebody("127.0.0.1", at, idle=False) for at in range(2)]
    assert all(map(full.enter, near))
    assert full.enter(Somebody("::1", 9))
    assert [one.open for one in (*busy, *near)] == [True, True, False, True]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["1.1.1.1", "2.2.2.2", "127.0.0.1", "::ffff:127.0.0.2", "odd", ""]),
            st.booleans(),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_doors__whoever_comes_and_goes__never_more_than_there_is_room_for(
    visits: list[tuple[str, bool, bool]],
) -> None:
    full, known = Doors(most=4, most_from_loopback=2), list[Somebody]()
    for at, (host, idle, leaves) in enumerate(visits):
        one = Somebody(host, at, idle=idle)
        if full.enter(one):
            known.append(one)
        elif "127" in host:
            pytest.fail("loopback was turned away")
        if leaves and known:
            full.leave(known.pop(0))
        assert len(full) <= 6


@pytest.fixture
async def address(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setattr(doors, "HEAD_SECONDS", 0.5)
    now = time.time()
    source, clock = Source(a_view(now)), MovingClock(now)
    settings = Settings(listen="127.0.0.1:0")
    async with StatusServer(settings, source, Past(), Metrics(), clock) as serving:
        yield serving.addresses["operator"]


async def test_server__hundreds_connected_and_silent__healthz_is_answered_and_they_are_closed(
    address: str,
) -> None:
    host, port = address.rsplit(":", 1)
    idle = [await asyncio.open_connection(host, int(port)) for _ in range(300)]
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://{address}/healthz")).status_code == 200
    ends = await asyncio.gather(*(reader.read() for reader, _ in idle), return_exceptions=True)
    assert len(ends) == 300  # nobody waits for ever
    for _, writer in idle:
        writer.close()


async def test_server__a_request_a_byte_at_a_time__is_closed_in_its_time(address: str) -> None:
    host, port = address.rsplit(":", 1)
    reader, writer = await asyncio.open_connection(host, int(port))
    with closing(writer):
        sent = 0
        while not reader.at_eof() and sent < 200:
            writer.write(b"GET /healthz HTTP/1.1"[sent % 20 : sent % 20 + 1])
            sent += 1
            try:
                await asyncio.wait_for(reader.read(1), 0.05)
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert 5 < sent < 60


async def test_server__rubbish_a_hundred_times__is_one_line_in_the_log(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = address.rsplit(":", 1)
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            reader, writer = await asyncio.open_connection(host, int(port))
            with closing(writer):
                writer.write(b"\0\r\n\r\n")
                await reader.read()
    assert len([one for one in caplog.records if one.name == "uvicorn.error"]) == 1


def test_once_per__a_kind__says_how_many_it_kept_back() -> None:
    one = OncePer(lambda record: str(record.msg))
    texts = []
    for second in (0, 1, 2, LOG_SECONDS, LOG_SECONDS + 1):
        record = logging.LogRecord("x", logging.WARNING, "", 0, "bad %s", ("request",), None)
        record.created = 1000.0 + second
        if one.filter(record):
            texts.append(record.getMessage())
    assert texts == ["bad request", "bad request (and 2 times more)"]
