"""The page in a real browser: what it shows, that it runs nothing of what users wrote, and that it
can be read by everybody (axe-core), on a phone and on a desktop.

`OYSTER_SCREENSHOTS=docs/images pytest tests/agent/status/test_page.py` writes the manual's.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from agent.config.model import Status as Settings
from agent.status import Metrics, StatusServer
from agent.status.cockpit import Figures
from bench.browser import PROGRAM, Screen, Tab, browser, colours_of, size_of
from tests.agent.samples import US
from tests.clocks import MovingClock

from .conftest import Past, Source
from .sights import (
    HOSTILE,
    TX,
    a_view,
    cards_figures,
    cards_view,
    crowded_view,
    figures,
    job_json,
    past_rows,
    quiet_view,
    troubled_view,
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.xdist_group("page"),
    pytest.mark.skipif(PROGRAM is None, reason="no chromium: apt-get install chromium"),
]

ROOT = Path(__file__).parents[3]
AXE = ROOT / ".ci" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
needs_axe = pytest.mark.skipif(
    not AXE.exists(), reason="no axe-core: npm install --prefix .ci/axe axe-core (as .ci/run does)"
)
DESKTOP = Screen(1280, 900)
PHONE = Screen(390, 844, mobile=True)
SCREENS = {
    "desktop": DESKTOP, "desktop-dark": Screen(1280, 900, dark=True), "phone": PHONE,
    "phone-dark": Screen(390, 844, dark=True, mobile=True),
}  # fmt: skip


@dataclass
class Stage:
    """The server, what it serves, and a browser that looks at it."""

    url: str
    source: Source
    past: Past
    tab: Tab
    now: float

    async def look(self, sight: str, screen: Screen = DESKTOP) -> None:
        """Open one of SIGHTS and wait until it is drawn."""
        await self.tab.on(screen)
        path, ready, show = SIGHTS[sight]
        show(self)
        await self.tab.open(f"{self.url}{path}", ready)

    async def text(self) -> str:
        return str(await self.tab.ask("document.body.innerText"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    now = time.time()
    source, past, clock = Source(a_view(now)), Past(), MovingClock(now)
    settings = Settings(listen="127.0.0.1:0")
    async with (
        StatusServer(settings, source, past, Metrics(), clock) as server,
        browser(tmp_path_factory.mktemp("profile")) as tab,
    ):
        yield Stage(f"http://{server.addresses['operator']}", source, past, tab, now)


def _nothing(stage: Stage) -> None:
    stage.source.shown, stage.past.known = quiet_view(stage.now), Figures()


def _few(stage: Stage) -> None:
    stage.source.shown, stage.past.known = a_view(stage.now), figures(stage.now)


def _many(stage: Stage) -> None:
    stage.source.shown, stage.past.known = crowded_view(stage.now), figures(stage.now)


def _trouble(stage: Stage) -> None:
    stage.source.shown, stage.past.known = troubled_view(stage.now), figures(stage.now)


def _cards(stage: Stage) -> None:
    stage.source.shown, stage.past.known = cards_view(stage.now), cards_figures(stage.now)


def _job(stage: Stage) -> None:
    stage.past.jobs = {97: job_json(stage.now)}


def _past(stage: Stage) -> None:
    stage.past.rows = past_rows(stage.now)


def _no_past(stage: Stage) -> None:
    stage.past.rows = ()


Sight = tuple[str, str, Callable[[Stage], None]]
_DRAWN = "document.querySelector('svg.days')"
SIGHTS: dict[str, Sight] = {
    "nothing": ("/", "!document.getElementById('jobs-none').hidden", _nothing),
    "few": ("/", _DRAWN, _few),
    "many": ("/", _DRAWN, _many),
    "trouble": ("/", _DRAWN, _trouble),
    "cards": ("/", _DRAWN, _cards),
    "job": ("/job/97", "document.querySelector('#timeline tr')", _job),
    "unknown job": ("/job/5", "!document.getElementById('unknown').hidden", _job),
    "past": ("/past", "document.querySelector('#jobs-rows tr')", _past),
    "no past": ("/past", "!document.getElementById('jobs-none').hidden", _no_past),
    "runbook": ("/runbook", "document.querySelector('section')", lambda s: None),
}


@pytest.mark.parametrize("sight", SIGHTS)
async def test_page__each_sight__breaks_no_policy_and_throws_nothing(
    stage: Stage, sight: str
) -> None:
    await stage.look(sight)
    told = [text for text in stage.tab.errors() if "404" not in text]  # which is what it answered
    assert told == []


@needs_axe
@pytest.mark.parametrize("screen", ["desktop", "desktop-dark", "phone"])
async def test_page__read_by_axe__has_no_violation_on_any_screen(stage: Stage, screen: str) -> None:
    script = AXE.read_text(encoding="utf-8")
    for sight in SIGHTS:
        await stage.look(sight, SCREENS[screen])
        await stage.tab.ask(
            "document.querySelectorAll('details').forEach((d) => { d.open = true })"
        )
        await stage.tab.ask(f"{script}; 0")
        found = await stage.tab.ask(
            "axe.run().then(({ violations, passes }) => [passes.length, violations.map((one) =>"
            " `${one.id}: ${one.nodes.map((node) => node.html).join(' | ')}`)])"
        )
        assert found[0] > 10, f"{sight}: axe-core looked at nothing"
        assert found[1] == [], sight


@pytest.mark.parametrize("screen", ["desktop", "phone"])
async def test_page__on_each_screen__is_drawn_and_as_wide_as_it(stage: Stage, screen: str) -> None:
    width = SCREENS[screen].width
    for sight in SIGHTS:
        await stage.look(sight, SCREENS[screen])
        wide = await stage.tab.ask("document.documentElement.scrollWidth")
        assert wide == width, f"{sight} overflows by {wide - width} px"
        small = await stage.tab.picture(scale=0.1)
        assert size_of(small)[0] == width // 10
        assert len(colours_of(small)) > 20, f"{sight}: nothing is drawn"


@pytest.mark.parametrize(
    ("name", "screen"), [("status", "desktop"), ("status-dark", "desktop-dark"),
                         ("status-phone", "phone-dark")],
)  # fmt: skip
async def test_page__pictured_for_the_manual__has_its_size(
    stage: Stage, tmp_path: Path, name: str, screen: str
) -> None:
    await stage.look("few", SCREENS[screen])
    picture = await stage.tab.picture()
    folder = os.environ.get("OYSTER_SCREENSHOTS")
    (Path(folder) if folder else tmp_path).joinpath(f"{name}.png").write_bytes(picture)
    width, height = size_of(picture)
    assert width == SCREENS[screen].width
    assert height > SCREENS[screen].height


async def test_overview__a_few_jobs__shows_what_a_provider_looks_for(stage: Stage) -> None:
    await stage.look("few")
    text = await stage.text()
    for shown in (
        "Job 118", "USDC/h", "until slash point", "2 of 5", "of 3", "2 missed", "1 slashed",
        "39 s", "33 % of the window", "99 of 100 within", "240 of 242", "612 jobs, 41 days",
        "room for 10 more jobs", "cost not known on 1 of 30 days", "The slowest ten of 30 days",
        "us-east-1", "is seen", "not started by 2026-11-24",
    ):  # fmt: skip
        assert shown in text, shown
    links = await stage.tab.ask("[...document.links].map((link) => link.href)")
    assert f"{stage.url}/job/77" in links
    assert f"https://arbiscan.io/address/{stage.source.shown.provider}" in links


async def test_overview__a_market_of_rate_cards__speaks_of_no_stake_slash_or_rank(
    stage: Stage,
) -> None:
    await stage.look("cards")
    text = await stage.text()
    for shown in (
        "Rate cards", "until goal", "goal in", "Starts against the goal", "22 % of the goal",
        "not shown, room for 0: vCPU quota L-1216C47A", "Not served, 30 days",
    ):  # fmt: skip
        assert shown in text, shown
    for absent in ("stake", "Stake", "lash", "Rank", "Best other", "window", "not listed"):
        assert absent not in text, absent


async def test_overview__the_days_as_a_table__say_what_the_picture_says(stage: Stage) -> None:
    await stage.look("few")
    rows = await stage.tab.ask("document.querySelectorAll('#days-rows tr').length")
    bars = await stage.tab.ask("document.querySelectorAll('svg.days g').length")
    assert (rows, bars) == (30, 30)
    titles = await stage.tab.ask(
        "[...document.querySelectorAll('svg.days g title')].map((title) => title.textContent)"
    )
    assert titles[-1].endswith("earned 163.00 USDC, cost 92.00 USDC, margin 71.00 USDC")
    assert titles[11].endswith("cost not known")
    assert await stage.tab.ask("document.querySelectorAll('svg.days polyline').length") == 2
    loss = await stage.tab.ask("document.querySelectorAll('#days-rows tr')[9].textContent")
    assert "\u221234.00" in loss


async def test_overview__less_than_one_token__has_four_digits(stage: Stage) -> None:
    young = replace(stage.source.shown.jobs[0], earned=4_013)
    await stage.look("few")
    stage.source.change(jobs=(young,))
    await stage.tab.until("document.body.innerText.includes('0.0040 USDC')")


async def test_overview__trouble__is_said_and_hostile_words_stay_words(stage: Stage) -> None:
    await stage.look("trouble")
    text = await stage.text()
    for shown in (
        "not ready", "us-east-1: AWS was not seen for 70 s", "401 Unauthorized",
        "since slash point", "slash point passed", "the market answered: execution reverted",
    ):  # fmt: skip
        assert shown in text, shown
    assert text.count(HOSTILE) >= 2
    assert await stage.tab.ask("document.images.length") == 0
    health = stage.source.shown.health
    said = await stage.tab.ask(
        "[...document.querySelectorAll('#notices li')].map((item) => item.textContent)"
    )
    lines = [part.line.replace("`", "") for part in (*health.fails, *health.warns)]
    assert said[: len(lines)] == lines, "what /readyz and `status` say"
    assert await stage.tab.ask("document.title") == "Oyster provider"
    assert "passed since" not in text


async def test_overview__a_thousand_jobs__are_searched_sorted_and_paged(stage: Stage) -> None:
    await stage.look("many")
    tab, rows = stage.tab, "document.querySelectorAll('#jobs-rows tr').length"
    assert await tab.ask(rows) == 20
    assert "1\u201320 of 1\u202f000" in await stage.text()
    await tab.ask("document.getElementById('jobs-after').click()")
    await tab.until("document.getElementById('jobs-place').textContent.startsWith('21\u201340')")
    await tab.ask("[...document.querySelectorAll('#jobs-head button')][0].click()")
    await tab.until("document.querySelector('#jobs-rows a').textContent === 'Job 1'")
    assert await tab.ask("document.querySelector('#jobs-head th').ariaSort") == "ascending"
    await tab.ask("[...document.querySelectorAll('#jobs-head button')][0].click()")
    await tab.until("document.querySelector('#jobs-rows a').textContent === 'Job 1000'")
    await tab.ask(
        "{ const box = document.getElementById('jobs-filter'); box.value = '198.51.1.44';"
        " box.dispatchEvent(new Event('input')) }"
    )
    await tab.until(f"{rows} === 1 && document.body.innerText.includes('Job 301')")
    assert await tab.ask("location.search") == "?q=198.51.1.44&sort=id&down=1"
    await tab.ask("location.reload()")
    await tab.until(f"{rows} === 1 && document.body.innerText.includes('Job 301')")


async def test_job__its_own_page__has_money_proof_timeline_and_links_of_checked_hex(
    stage: Stage,
) -> None:
    await stage.look("job")
    text = await stage.text()
    for shown in (
        "Job 97", "0.0079 USDC", "1.93 USDC", "\u22121.92 USDC", "50 s", "PCR2", "g1a1r0 on i-1",
        "enclave.attested", "tx.report_started", "not started in time", "198.51.100.7:1300",
    ):  # fmt: skip
        assert shown in text, shown
    links = await stage.tab.ask("[...document.querySelectorAll('main a')].map((link) => link.href)")
    user = "https://arbiscan.io/address/0x" + "ab" * 20
    assert set(links) == {user, f"https://arbiscan.io/address/{US}", f"https://arbiscan.io/tx/{TX}"}
    assert HOSTILE in text
    assert await stage.tab.ask("document.images.length") == 0
    assert await stage.tab.ask("document.title") == "Job 97, Oyster provider"


async def test_job__the_journal_is_held__says_so_and_comes_back(stage: Stage) -> None:
    stage.past.away = "the journal is held by another program"
    await stage.tab.on(DESKTOP)
    held = "document.getElementById('health').textContent.includes('held by another program')"
    await stage.tab.open(f"{stage.url}/job/97", held)
    stage.past.away = ""
    await stage.tab.until(f"!{held}")  # what it says then is by the view that stands just now


async def test_past__a_thousand_jobs__newest_first_and_found_by_words(stage: Stage) -> None:
    await stage.look("past")
    assert await stage.tab.ask("document.querySelector('#jobs-rows a').textContent") == "Job 1000"
    await stage.tab.open(
        f"{stage.url}/past?q=slashed&from=9999", "document.querySelector('#jobs-rows tr')"
    )
    text = await stage.text()
    assert "20 of 1\u202f000" in text
    assert text.count("slashed") == 20
