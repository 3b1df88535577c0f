"""What the agent notes for who looks at it while its file is broken."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.config import load
from agent.config.running import FILE, running
from agent.status.upkeep import Upkeep
from agent.wiring.adapters import offered_prices
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


@pytest.mark.parametrize(("stands_by", "differs"), [(True, ["cost"]), (False, ["price", "cost"])])
def test_look__an_order_wrote_a_price__on_a_standby_it_is_the_leaders_to_take(
    tmp_path: Path, stands_by: bool, differs: list[str]
) -> None:
    file = tmp_path / "config.toml"
    file.write_text(BASE)
    runs = load(file, {})
    kind = runs.offers[0].type
    state = SimpleNamespace(
        offering=SimpleNamespace(prices=offered_prices(runs, 6)), pricing=None,
        leadership=SimpleNamespace(stands_by=stands_by),
    )  # fmt: skip
    costs = SimpleNamespace(look=lambda kinds: asyncio.sleep(0), write=lambda kinds: None)
    payment = SimpleNamespace(decimals=6)
    world: Any = SimpleNamespace(
        config=runs, loaded=SimpleNamespace(config=runs), state=state, costs=costs,
        chain=SimpleNamespace(payment=payment),
    )  # fmt: skip
    upkeep = Upkeep(world, file, StandingClock(5.0))
    file.write_text(BASE.replace('price = "0.17/h"', 'price = "0.2/h"\ncost = "0.1/h"'))
    asyncio.run(upkeep.look())
    keys = {"price": f"offers {kind}", "cost": f"offers {kind} cost"}
    assert [each.key for each in upkeep.differences] == [keys[one] for one in differs]
