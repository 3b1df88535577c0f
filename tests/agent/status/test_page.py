"""The server on real sockets, and its page in a real browser.

`OYSTER_SCREENSHOTS=docs pytest tests/agent/status/test_page.py` writes the pictures in docs/.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.config.model import Status as Settings
from agent.status import Metrics, StatusServer
from agent.status.health import Grade, Health, Part
from agent.status.source import JobState
from faults import RetryLater
from tests.clocks import MovingClock

from .conftest import NOW, Source, a_view

pytestmark = pytest.mark.integration

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no chromium: apt-get install chromium")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--disable-dev-shm-usage",
)  # fmt: skip
HOSTILE = '"><img src=x onerror="document.title=1"><script>document.title=2</script>'


@pytest.fixture
async def server() -> AsyncIterator[tuple[StatusServer, Source]]:
    now = time.time()
    source, clock = Source(a_view(now)), MovingClock(now)
    metrics = Metrics()
    metrics.watch(source, clock)
    settings = Settings(listen="127.0.0.1:0", public_listen="127.0.0.1:0")
    async with StatusServer(settings, source, metrics, clock) as serving:
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
        async with StatusServer(settings, source, Metrics(), clock) as serving:
            address = serving.addresses["operator"]
            idle = socket.create_connection(tuple(address.split(":")), timeout=5)  # type: ignore[arg-type]  # port as text works
    idle.close()
    settings = Settings(listen=address)
    async with StatusServer(settings, source, Metrics(), clock) as again:
        assert again.addresses["operator"] == address


async def test_server__address_taken__is_said_with_its_section() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = Settings(listen=f"127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(RetryLater, match=r"change it in \[status\]"):
            async with StatusServer(settings, Source(a_view()), Metrics(), MovingClock(NOW)):
                pass


async def test_server__no_address__serves_nothing() -> None:
    async with StatusServer(
        Settings(listen=""), Source(a_view()), Metrics(), MovingClock(NOW)
    ) as serving:
        assert serving.addresses == {}


@needs_browser
async def test_page__in_a_browser__shows_jobs_and_runs_nothing_of_theirs(
    server: tuple[StatusServer, Source], tmp_path: Path
) -> None:
    serving, source = server
    hostile = dataclasses.replace(
        source.shown.jobs[0], id=666, instance_type=f"us-east-1/{HOSTILE}", note=HOSTILE
    )
    source.change(jobs=(*source.shown.jobs, hostile))
    page = await _browse(serving, tmp_path, "--dump-dom", "--window-size=1280,900")
    assert "<title>Oyster provider</title>" in page
    assert "onerror=&quot;" in page or "&lt;img src=x" in page
    assert "<img" not in page
    for shown in ("Job 118", "Job 97", "serving", "USDC/h", "slash point", "Room for"):
        assert shown in page, shown


@needs_browser
async def test_page__less_than_one_token_earned__shows_four_digits(
    server: tuple[StatusServer, Source], tmp_path: Path
) -> None:
    serving, source = server
    young = dataclasses.replace(source.shown.jobs[0], earned=4_013)
    source.change(jobs=(young,))
    page = await _browse(serving, tmp_path, "--dump-dom")
    assert "0.0040 USDC earned" in page


@needs_browser
async def test_page__a_command_in_a_notice__is_set_as_code_and_stays_text(
    server: tuple[StatusServer, Source], tmp_path: Path
) -> None:
    serving, source = server
    source.change(notices=("leaving; `exit --cancel` takes it back", f"odd `{HOSTILE}"))
    page = await _browse(serving, tmp_path, "--dump-dom")
    assert '<code class="mono">exit --cancel</code> takes it back' in page
    assert "<img" not in page


@needs_browser
async def test_page__a_thousand_jobs__draws_what_one_looks_at(
    server: tuple[StatusServer, Source], tmp_path: Path
) -> None:
    serving, source = server
    one = source.shown.jobs[0]
    source.change(jobs=tuple(dataclasses.replace(one, id=number) for number in range(1, 1001)))
    page = await _browse(serving, tmp_path, "--dump-dom")
    assert page.count('class="name">Job ') == 50
    assert "950 more" in page
    assert "1000" in page


@needs_browser
async def test_page__a_region_is_away_and_a_deadline_passed__says_so_and_since_when(
    server: tuple[StatusServer, Source], tmp_path: Path
) -> None:
    serving, source = server
    away = Part("region", "us-east-1", Grade.FAIL, "AWS was not seen for 70 s")
    late = dataclasses.replace(
        source.shown.jobs[1], deadline=time.time() - 300, state=JobState.BOOTSTRAPPING
    )
    source.change(health=Health((away,)), jobs=(late,))
    page = await _browse(serving, tmp_path, "--dump-dom")
    assert ">not ready<" in page
    assert "us-east-1: AWS was not seen for 70 s" in page
    assert "slash point passed " in page
    assert "since slash point" in page
    assert ">passed<" not in page


@needs_browser
@pytest.mark.parametrize(
    ("name", "size", "dark"),
    [
        ("status", "1280,1130", False),
        ("status-dark", "1280,1130", True),
        ("status-phone", "500,1960", True),
    ],
)
async def test_page__on_each_screen__is_drawn(
    server: tuple[StatusServer, Source], tmp_path: Path, name: str, size: str, dark: bool
) -> None:
    folder = os.environ.get("OYSTER_SCREENSHOTS")
    picture = (Path(folder).absolute() if folder else tmp_path) / f"{name}.png"
    flags = [f"--screenshot={picture}", f"--window-size={size}"]
    if dark:
        flags.append("--blink-settings=preferredColorScheme=0")
    await _browse(server[0], tmp_path, *flags)
    assert picture.stat().st_size > 20_000


async def _browse(serving: Any, folder: Path, *flags: str) -> str:
    assert BROWSER is not None
    process = await asyncio.create_subprocess_exec(
        BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", "--virtual-time-budget=1500",
        *flags, f"http://{serving.addresses['operator']}/",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return output.decode()
