"""`doctor` says which refusals of a configuration can cost the stake."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agent.config import Config
from agent.market.model import Address, BlockNumber, BlockRef, Wei
from agent.markets.registry.reads import Stake
from agent.markets.registry.terms import RegistryTerms
from agent.markets.token import Token
from commands.checkup.patient import Finding, Patient
from commands.checkup.refusals import refusals
from commands.context import Terms

pytestmark = pytest.mark.unit

POND = Token(Address("0x" + "55" * 20), "POND", 18)


def looked(cool_down: int, **jobs: object) -> Finding:
    config = Config()
    config = replace(config, jobs=replace(config.jobs, **jobs))  # type: ignore[arg-type] # few
    params = RegistryTerms(Wei(100 * 10**18), 300, 600, cool_down, 2)
    stake = Stake(Wei(0), Wei(0))
    at = BlockRef(BlockNumber(1), "0x" + "11" * 32, 1)
    terms = Terms(at, params, stake, POND, POND)
    (found,) = asyncio.run(refusals(Patient(config, Path("c.toml"), terms=terms)))
    return found


def test_refusals__the_exit_is_in_time__cost_nothing() -> None:
    assert looked(299, allow_owners=("0x" + "11" * 20,)).verdict == "ok"


def test_refusals__the_exit_is_too_late_and_nothing_refuses_at_will__cost_nothing() -> None:
    assert looked(600).verdict == "ok"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("allow_owners", ("0x" + "11" * 20,)),
        ("deny_owners", ("0x" + "11" * 20,)),
        ("allow_images", ("bafy",)),
        ("deny_images", ("bafy",)),
        ("per_owner", 3),
        ("wasted_per_owner", 3),
    ],
)
def test_refusals__a_setting_refuses_and_the_exit_is_too_late__say_what_it_costs(
    name: str, value: object
) -> None:
    found = looked(300, **{name: value})
    assert found.verdict == "warn"
    assert f"jobs.{name} can cost 100.00 POND" in found.found
