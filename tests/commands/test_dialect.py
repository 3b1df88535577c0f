"""`--json` in one dialect: what the schemas say, and that docs/json has them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped] # ships no types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.journal.hosts import Leading, Member, Role, Standing
from agent.market.model import Address, Price
from agent.markets.token import Token
from commands import hosts
from commands.devnet_json import held_job, owned_job
from commands.dialect import moment, price, tokens
from commands.look import to_json
from commands.schema_pages import EVERY, pages
from commands.schemas import MOMENT

from .tree import COMMANDS

pytestmark = pytest.mark.unit

FOLDER = Path(__file__).parents[2] / "docs" / "json"
USD = Token(Address("0x" + "11" * 20), "USD", 6)


def _names(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(_names, schema), set())
    if not isinstance(schema, dict):
        return set()
    own = set(schema.get("properties", {}))
    return own.union(*map(_names, schema.values()), set())


def test_schemas__written_for_people__are_the_programs_own() -> None:
    written = {file.name: file.read_text() for file in FOLDER.glob("*.json")}
    assert written == pages(), "python -m commands.schema_pages docs/json"


def test_schemas__every_command_with_json__has_one() -> None:
    with_json = {
        path for path, command in COMMANDS.items()
        if any("--json" in parameter.opts for parameter in command.params)
    }  # fmt: skip
    assert with_json - set(EVERY) == set()
    assert set(EVERY) - with_json == set()


def test_schemas__every_name__is_snake_case() -> None:
    for name, schema in EVERY.items():
        odd = [each for each in _names(schema) if not re.fullmatch(r"[a-z][a-z0-9_]*", each)]
        assert odd == [], name


@given(st.floats(1, 4e9) | st.integers(1, 4_000_000_000))
def test_moment__any_time__reads_as_the_schema_says(at: float) -> None:
    assert re.fullmatch(MOMENT["pattern"], str(moment(at)))


def test_moment__no_time__is_null() -> None:
    assert (moment(0), moment(None)) == (None, None)


@given(st.integers(0, 2**256))
def test_amounts__any__are_exact_as_text(units: int) -> None:
    assert int(tokens(units, USD)["units"]) == units
    if units < 2**256:
        found = price(Price(units), USD)
        assert found is not None
        assert (int(found["units"]), found["decimals"]) == (units, 18)


def test_status__the_agents_view__has_times_and_amounts_of_the_dialect() -> None:
    view = {
        "now": 100.0, "started_at": 50.5, "jobs": [{"id": 1, "since": 7, "deadline": None,
        "earned": "12"}], "money": {"symbol": "USD", "decimals": 6, "earned_total": "99",
        "stake_total": "5", "stake_symbol": "POND", "stake_decimals": 18, "coin_balance": "3"},
    }  # fmt: skip
    found = to_json(view)
    assert (found["now"], found["started_at"]) == (
        "1970-01-01T00:01:40Z", "1970-01-01T00:00:50.500Z",
    )  # fmt: skip
    assert found["jobs"][0]["since"] == "1970-01-01T00:00:07Z"
    assert found["jobs"][0]["earned"] == {"units": "12", "symbol": "USD", "decimals": 6}
    assert found["money"]["stake_total"] == {"units": "5", "symbol": "POND", "decimals": 18}


@pytest.mark.parametrize("leads", [True, False])
def test_hosts__each_row__is_as_the_schema_says(leads: bool) -> None:
    leading = Leading("a", 3, 61.5, 10.0) if leads else None
    one = Standing(Member("a", "0.1.0", "ab" * 32), Role.LEADS, 0.25)
    row = hosts.in_seconds(hosts.row_of(one, leading, "other"), one, leading)
    jsonschema.validate([row], EVERY["hosts list"])
    assert row["leads_for_seconds"] == (61.5 if leads else None)


ANYBODY = "0x" + "ab" * 20


def test_devnet_jobs__of_both_markets__are_as_their_schemas_say() -> None:
    fields = {
        "user": ANYBODY, "provider": ANYBODY, "instanceType": "us-east-1/c6a.xlarge",
        "maxPrice": 10**12, "price": 10**12, "enclaveUrl": "ipfs://x", "generation": 1,
        "status": 2, "stopReason": 0, "assignedAt": 7, "startedAt": 8, "exitRequestedAt": 0,
        "stoppedAt": 0, "escrow": 5, "settledUntil": 0, "endpoint": "",
    }  # fmt: skip
    held = held_job(1, fields)
    jsonschema.validate(held, EVERY["devnet job show"])
    assert (held["status"], held["escrow"]["units"], held["stopped_at"]) == ("running", "5", None)
    stored = {
        "metadata": "{}", "owner": ANYBODY, "provider": ANYBODY, "rate": 2**200, "balance": 9,
        "lastSettled": 60,
    }  # fmt: skip
    owned = owned_job(0, stored)
    jsonschema.validate(owned, EVERY["devnet job open"])
    assert (owned["rate"]["units"], owned["last_settled"]) == (str(2**200), "1970-01-01T00:01:00Z")
