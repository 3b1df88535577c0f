"""What the agent's process shows of what strangers write, and keeps of what nobody may read."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

import cli
from agent import daemon
from agent.clock import SystemClock
from agent.config import Config, load
from agent.loop.state import Progress
from agent.process.log import _on_one_line
from agent.process.reloading import Reloading
from agent.sd_notify import Notifier
from faults import Refused, printable

pytestmark = pytest.mark.unit

LEAST = """\
[chain]
chain_id = 31337
registry = "0x52908400098527886E0F7030069857D2E4169EE7"
rpc_urls = ["http://n.example"]
[wallet]
key_file = "key"
[aws]
regions = ["us-east-1"]
[[offers]]
type = "us-east-1/c6a.xlarge"
price = "0.17/h"
"""
HOSTILE = "\x1b[2J\rlevel=error event=job.slashed\n\u2028\u202e\x9b31m"


@given(st.text())
def test_printable__any_text__moves_nothing(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert not shown or shown.isprintable()
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize("field", ["event", "error"])
def test_log__words_of_a_stranger__stay_on_one_line_and_move_no_cursor(field: str) -> None:
    out = io.StringIO()
    log = structlog.wrap_logger(
        structlog.PrintLogger(out),
        processors=[_on_one_line, structlog.processors.LogfmtRenderer(key_order=["event"])],
    )
    log.warning(**{"event": "host.ill", field: HOSTILE, "count": 3, "ok": True})
    (line,) = out.getvalue().splitlines()
    assert line.isprintable()
    assert "count=3" in line


def test_fault__words_of_a_stranger__reach_the_terminal_without_their_escapes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*, standalone_mode: bool, **_: str) -> None:
        assert not standalone_mode
        raise Refused(f"the node says {HOSTILE}")

    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit):
        cli.main()
    said = capsys.readouterr().err
    assert said.startswith("error: the node says")
    assert said.replace("\n", "").isprintable()


def test_process__runs__writes_for_itself_alone_and_dumps_no_memory() -> None:
    script = """
import os, resource
from agent.daemon import keep_to_itself
os.umask(0)
keep_to_itself()
print(oct(os.umask(0)), resource.getrlimit(resource.RLIMIT_CORE))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[0] == "0o77 (0, 0)"


@pytest.mark.parametrize(("hangs", "code"), [(True, 75), (False, 0)])
def test_end__something_hangs_as_it_is_closed__is_left_behind(hangs: bool, code: int) -> None:
    """On a thread, as a statement that a server never answers: an interpreter waits for those."""
    script = f"""
import threading
from concurrent.futures import ThreadPoolExecutor
from agent.process.closing import closing_in_time
pool = ThreadPoolExecutor(1)
pool.submit(threading.Event().wait, None if {hangs} else 0.0)
with closing_in_time(75, 0.1):
    pool.shutdown()
"""
    ran = subprocess.run([sys.executable, "-c", script], check=False)
    assert ran.returncode == code


@pytest.mark.parametrize(
    ("stands_by", "finished_at", "resynced_at", "up"),
    [
        (False, 5.0, None, False),  # leads, and reads all jobs yet
        (False, 5.0, 6.0, True),
        (True, 0.0, None, False),  # nothing was looked at yet
        (True, 5.0, None, True),  # systemctl start of a standby returns
    ],
)
def test_ready__of_a_host_that_stands_by__does_not_wait_for_jobs_it_never_reads(
    stands_by: bool, finished_at: float, resynced_at: float | None, up: bool
) -> None:
    state: Any = SimpleNamespace(
        leadership=SimpleNamespace(stands_by=stands_by),
        progress=Progress(finished_at=finished_at, resynced_at=resynced_at),
    )
    assert daemon._is_up(state) == up


async def test_start__the_file_changes_while_it_waits__is_tried_by_what_the_file_says(
    tmp_path: Path,
) -> None:
    path, tried = tmp_path / "config.toml", list[str]()
    path.write_text(LEAST)
    starting = daemon._Starting(load(path, {}), Reloading(path, Notifier({}), {}))

    @asynccontextmanager
    async def opening(config: Config, _clock: Any) -> AsyncIterator[Any]:
        tried.append(str(config.offers[0].price))
        yield None

    for text in (LEAST, LEAST + "half a li", LEAST.replace("0.17/h", "0.18/h")):
        path.write_text(text)
        async with daemon._opening(opening, starting, SystemClock()):
            pass
    assert tried == ["0.17/h", "0.17/h", "0.18/h"]
