"""What the agent notes for who looks at it while its file is broken."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.config import load
from agent.config.running import FILE, running
from agent.status.upkeep import Upkeep
from tests.agent.config.test_load import BASE
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit


def test_note__an_order_changed_the_file__is_what_runs_from_then_on(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(BASE)
    started: Any = SimpleNamespace(config=load(file, {}))
    upkeep = Upkeep(started, file, StandingClock(5.0))
    upkeep.note(started.config)
    file.write_text(BASE.replace("0.17", "0.2"))
    upkeep.note(load(file, {}))
    file.write_text(BASE + "[log")
    runs = running(file, {})
    assert runs is not None
    assert str(runs.offers[0].price) == "0.2/h"


def test_note__the_state_directory_can_t_be_written__ends_nothing(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(BASE)
    (tmp_path / "state").touch()
    started: Any = SimpleNamespace(config=load(file, {}))
    Upkeep(started, file, StandingClock(5.0)).note(started.config)
    assert not (tmp_path / "state" / FILE).exists()
