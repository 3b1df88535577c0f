"""One name, several addresses: some lead nowhere, and nobody may wait for them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from enclave.web.connect import MOST_ADDRESSES, NEXT_SECONDS, Trying, connected, in_turns
from enclave.web.guard import Cancelled, Guard
from enclave.web.http import HttpSession, body
from tests.enclave.web.test_http import server

pytestmark = [pytest.mark.integration, pytest.mark.allow_hosts(["127.0.0.0/8", "::1"])]

HERE, HOLE, OTHER_HOLE, NOBODY = "127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"


@pytest.fixture
def port() -> Iterator[int]:
    """HERE connections are made; at the holes they are not, and nothing is said, as by a network
    that drops them."""
    with socket.create_server((HERE, 0)) as here:
        number = here.getsockname()[1]
        holes = [hole(address, number) for address in (HOLE, OTHER_HOLE)]
        yield number
        for one in (one for each in holes for one in each):
            one.close()


def hole(address: str, port: int) -> list[socket.socket]:
    """Whose backlog is full: the kernel drops what asks for more."""
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind((address, port))
    listening.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for one in waiting:
        one.setblocking(False)
        one.connect_ex((address, port))
    return [listening, *waiting]


def guard(seconds: float = 30.0) -> Guard:
    return Guard(time.monotonic, time.monotonic() + seconds, seconds)


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were waited for nothing to happen, each time."""
    found, look = list[float](), Trying.look

    def looked(trying: Trying, seconds: float) -> socket.socket | None:
        tried = trying.count
        made = look(trying, seconds)
        found.extend([seconds] if made is None and tried and trying.count == tried else [])
        return made

    monkeypatch.setattr(Trying, "look", looked)
    return found


def test_connect__addresses_that_lead_nowhere__cost_a_quarter_of_a_second_each(
    port: int, waits: list[float]
) -> None:
    with connected([HOLE, OTHER_HOLE, HERE], port, 10.0, guard()) as made:
        assert made.getpeername() == (HERE, port)
    assert waits == [NEXT_SECONDS, NEXT_SECONDS]


@pytest.mark.parametrize("dead", [NOBODY, "::1"])
def test_connect__an_address_that_is_refused_at_once__costs_nothing(
    port: int, waits: list[float], dead: str
) -> None:
    with connected([dead, HERE], port, 10.0, guard()) as made:
        assert made.getpeername() == (HERE, port)
    assert not waits


def test_connect__none_answers__ends_after_its_seconds_by_the_last_ones_fault(port: int) -> None:
    with pytest.raises(TimeoutError):
        connected([HOLE, OTHER_HOLE], port, 0.3, guard())
    with pytest.raises(ConnectionRefusedError):
        connected([NOBODY], port, 0.3, guard())
    with pytest.raises(ConnectionRefusedError):
        connected([HOLE, NOBODY], port, 0.3, guard())


def test_connect__cancelled__ends(port: int) -> None:
    stopped = guard()
    stopped.cancel()
    with pytest.raises(Cancelled):
        connected([HOLE], port, 10.0, stopped)


def test_connect__a_name_with_addresses_without_end__is_tried_at_a_few(port: int) -> None:
    many = [f"127.0.1.{number}" for number in range(MOST_ADDRESSES)]
    with pytest.raises(ConnectionRefusedError):
        connected([*many, HERE], port, 1.0, guard())
    with connected([*many[1:], HERE], port, 1.0, guard()) as made:
        assert made.getpeername() == (HERE, port)


def test_in_turns__of_two_families__begins_as_the_resolver_does() -> None:
    six, four = ["::1", "::2", "::3"], ["127.0.0.1", "127.0.0.2"]
    assert in_turns(six + four) == ["::1", "127.0.0.1", "::2", "127.0.0.2", "::3"]
    assert in_turns(four + six) == ["127.0.0.1", "::1", "127.0.0.2", "::2", "::3"]
    assert in_turns(["::1", "::1"]) == ["::1"]
    assert in_turns([]) == []


def test_get__first_address_leads_nowhere__is_answered_soon(waits: list[float]) -> None:
    with server(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") as (place, _):
        number = int(place.rpartition(":")[2])
        swallowed, url = hole(HOLE, number), f"http://files.example:{number}"
        session = HttpSession(guard(), trusted=url, resolve=lambda host, port: [HOLE, HERE])
        with closing(session), session.get(url, {}) as response:
            assert b"".join(body(response)) == b"ok"
        assert waits == [NEXT_SECONDS]
        for one in swallowed:
            one.close()
