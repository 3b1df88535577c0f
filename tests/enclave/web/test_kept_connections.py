"""Connections that are kept between requests, and whose server has ended them meanwhile."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from enclave.web.http import HttpSession, Unreachable
from tests.enclave.web.test_http import get, guard

pytestmark = pytest.mark.integration


@contextmanager
def closing_quietly(answers_each: int) -> Iterator[tuple[str, list[int]]]:
    """A server that ends each connection after so many answers and does not say so in them, as one
    does whose idle connections time out; how many connections there were."""
    made: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    made.append(0)
                    with client:
                        for _ in range(answers_each):
                            if not client.recv(65_536):
                                break
                            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", made
        listening.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("answers_each", [1, 3])
def test_get__over_a_kept_connection_that_was_closed__is_asked_over_another(
    answers_each: int,
) -> None:
    with closing_quietly(answers_each) as (url, made):
        session = HttpSession(guard(), trusted=url)
        with closing(session):
            for _ in range(12):
                with session.get(url, {}) as response:
                    assert b"".join(response.iter_stream()) == b"x"
        assert len(made) <= 12 // answers_each + 1


def test_get__a_new_connection_that_is_closed__is_asked_once() -> None:
    with closing_quietly(0) as (url, made):
        with pytest.raises(Unreachable):
            get(HttpSession(guard(), trusted=url), url)
        assert len(made) == 1
