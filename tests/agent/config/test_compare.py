"""What the file says otherwise than what runs, in the file's words and without its secrets."""

from __future__ import annotations

import dataclasses
from dataclasses import replace
from decimal import Decimal

import pytest

from agent.config import Config
from agent.config.compare import RELOADED, differences
from agent.config.model import Offer
from agent.config.units import Rate
from agent.secret import SecretUrl

pytestmark = pytest.mark.unit


def test_differences__none__is_none() -> None:
    assert differences(Config(), Config()) == []


def test_differences__a_setting_of_each_kind__is_said_as_the_file_says_it() -> None:
    runs = Config(offers=(Offer("r/a", Rate(Decimal("0.17"), "h")),))
    file = replace(
        runs,
        jobs=replace(runs.jobs, min_escrow_seconds=1200.0),
        gas=replace(runs.gas, per_day_wei=10**18),
        chain=replace(runs.chain, rpc_urls=(SecretUrl("https://node.example/key-of-mine"),)),
        offers=(Offer("r/a", Rate(Decimal("0.2"), "h")), Offer("r/b", Rate(Decimal(1), "d"))),
    )
    lines = [each.line for each in differences(runs, file)]
    assert "jobs.min_escrow: 20m in the file, 10m runs" in lines
    assert "gas.per_day: 1eth in the file, 0.5eth runs (needs a restart)" in lines
    assert "offers r/a: 0.2/h in the file, 0.17/h runs" in lines
    assert "offers r/b: 1/d in the file, not on offer runs" in lines
    assert len(lines) == 5
    assert "key-of-mine" not in "".join(lines)


def test_reloaded__every_name__is_a_section() -> None:
    assert {field.name for field in dataclasses.fields(Config)} >= RELOADED
