"""The server on real sockets: its addresses, and how it ends."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import httpx
import pytest

from agent.config.model import Status as Settings
from agent.status import Metrics, StatusServer
from faults import RetryLater
from tests.clocks import MovingClock

from .conftest import NOW, Past, Source, a_view

pytestmark = pytest.mark.integration


@pytest.fixture
async def server() -> AsyncIterator[tuple[StatusServer, Source]]:
    now = time.time()
    source, clock = Source(a_view(now)), MovingClock(now)
    metrics = Metrics()
    metrics.watch(source, clock)
    settings = Settings(listen="127.0.0.1:0", public_listen="127.0.0.1:0")
    async with StatusServer(settings, source, Past(), metrics, clock) as serving:
        yield serving, source


async def test_server__two_addresses__answer_apart(server: tuple[StatusServer, Source]) -> None:
    addresses = server[0].addresses
    assert len(set(addresses.values())) == 2
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.get(f"http://{addresses['operator']}/jobs")).status_code == 200
        assert (await client.get(f"http://{addresses['public']}/jobs")).status_code == 404
        assert (await client.get(f"http://{addresses['public']}/spec")).status_code == 200


async def test_server__stopped__lets_its_address_go_at_once() -> None:
    source, clock = Source(a_view()), MovingClock(NOW)
    settings = Settings(listen="127.0.0.1:0")
    async with asyncio.timeout(60):  # it does not wait for the idle connection's end
        async with StatusServer(settings, source, Past(), Metrics(), clock) as serving:
            address = serving.addresses["operator"]
            idle = socket.create_connection(tuple(address.split(":")), timeout=5)  # type: ignore[arg-type]  # port as text works
    idle.close()
    settings = Settings(listen=address)
    async with StatusServer(settings, source, Past(), Metrics(), clock) as again:
        assert again.addresses["operator"] == address


async def test_server__address_taken__is_said_with_its_section() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(listen=f"127.0.0.1:{taken.getsockname()[1]}")
        clock = MovingClock(NOW)
        with pytest.raises(RetryLater, match=r"change it in \[status\]"):
            async with StatusServer(settings, Source(a_view()), Past(), Metrics(), clock):
                pass


async def test_server__no_address__serves_nothing() -> None:
    async with StatusServer(
        Settings(listen=""), Source(a_view()), Past(), Metrics(), MovingClock(NOW)
    ) as serving:
        assert serving.addresses == {}
