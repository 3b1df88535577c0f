"""Stake, offers and register through the real program, on a real EVM."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3

from agent.config import load
from agent.markets.token import token_abi
from contracts.deploy import Params, deploy
from tests.before_1559 import before_1559

from .conftest import KEYS, POND, TYPE, World
from .program import oyster_here

pytestmark = pytest.mark.integration

PROVIDER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


def test_register__from_nothing__stakes_and_lists(world: World) -> None:
    shown = world.run("register", TYPE, "0.17/h", "--stake", "300", "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "stake 300.00 tPOND" in shown.stdout
    assert f"offer {TYPE} at 0.17 tUSD/h" in shown.stdout
    assert world.read("stakeOf", PROVIDER) == 0
    assert "EIP-1559" not in shown.stdout

    done = world.run("register", TYPE, "0.17/h", "--stake", "300", "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done in block") == 3
    assert world.read("stakeOf", PROVIDER) == 300 * POND
    assert world.read("offer", PROVIDER, TYPE) == 47_222_222_222_222

    assert world.run("register", "us-east-1/m5.large", "0.1/h", "--yes").returncode == 0
    assert [offer.type for offer in load(world.config, {}).offers] == [TYPE, "us-east-1/m5.large"]


def test_register__chain_without_base_fees__is_sent_in_the_old_form_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_1559(world.node.methods, monkeypatch)
    shown = world.run("register", TYPE, "0.17/h", "--stake", "300", "--dry-run")
    assert shown.stdout.count("no EIP-1559 on this chain") == 1
    done = world.run("register", TYPE, "0.17/h", "--stake", "300", "--yes")
    assert done.returncode == 0, done.stderr
    assert world.read("offer", PROVIDER, TYPE) == 47_222_222_222_222
    checks = json.loads(world.run("doctor", "--json").stdout)
    (found,) = [each for each in checks if each["check"] == "fees"]
    assert (found["verdict"], found["todo"]) == ("ok", "")
    assert "sent as type 0" in found["found"]


@pytest.mark.parametrize(
    ("symbol", "shown"), [("0x" + b"MKR".ljust(32, b"\0").hex(), "MKR"), ("0x", None)]
)
def test_symbol__in_32_bytes_or_none__is_shown_or_the_address_is(
    world: World, monkeypatch: pytest.MonkeyPatch, symbol: str, shown: str | None
) -> None:
    true, selector = world.node.methods.call, "0x" + token_abi().encode("symbol").hex()

    def call(method: str, params: list[Any]) -> Any:
        asked = method == "eth_call" and params[0]["data"] == selector
        return symbol if asked else true(method, params)

    monkeypatch.setattr(world.node.methods, "call", call)
    done = world.run("stake", "250.5", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"stake 250.50 {shown or world.pond}" in done.stdout


def test_transactions__nobody_to_ask__nothing_is_sent(world: World) -> None:
    done = world.run("stake", "1")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "add --yes" in done.stderr
    assert world.read("stakeOf", PROVIDER) == 0


def test_stake_and_unstake__whole_way__is_exact(world: World) -> None:
    assert world.ask("stake", "250.5", "--yes")["transactions"][-1]["call"].startswith("stake(")
    assert world.read("stakeOf", PROVIDER) == 2505 * 10**17
    world.ask("unstake", "50.5", "--yes")
    said = world.run("unstake", "--all", "--yes").stdout
    assert "a running agent takes the offers off" in said
    assert world.read("stakeOf", PROVIDER) == 0
    done = world.run("unstake", "--all", "--yes")
    assert done.returncode == 3
    assert "are free" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("stake", "nothing"), 2, "is not an amount of POND"),
        (("stake", "0"), 2, "is nothing"),
        (("stake", "-1"), 2, ""),
        (("stake", "0.0000000000000000001"), 2, "finer than the token"),
        (("stake", "99999999"), 3, "send it"),
        (("unstake",), 2, "name an amount, or --all"),
        (("unstake", "1", "--all"), 2, "name an amount, or --all"),
        (("offers", "set", "c6a.xlarge", "1/h"), 2, "c6a.xlarge"),
        (("offers", "set", "eu-west-1/c6a.xlarge", "1/h"), 2, "not in aws.regions"),
        (("offers", "set", TYPE, "0.17"), 2, "is not a rate"),
        (("offers", "set", TYPE, "0.17/h"), 3, "the contract says no"),
        (("offers", "remove", "us-east-1/m5.large"), 3, "neither listed nor in the configuration"),
        (("offers", "list", "--config", "/nowhere"), 2, "oyster-provider setup"),
    ],
)
def test_commands__bad_input__is_one_line_and_the_right_code(
    world: World, words: tuple[str, ...], code: int, said: str
) -> None:
    done = world.run(*words, "--yes") if words[:2] != ("offers", "list") else world.run(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_offers__set_list_remove__chain_and_file_agree(world: World) -> None:
    world.run("stake", "100", "--yes")
    before = world.config.read_text()
    assert world.run("offers", "set", TYPE, "0.2/h", "--yes").returncode == 0
    assert str(load(world.config, {}).offers[0].price) == "0.2/h"
    assert world.config.read_text() == before.replace('"0.17/h"', '"0.2/h"')
    assert world.config.stat().st_mode & 0o777 == 0o600

    plain = world.run("offers", "list").stdout.splitlines()
    assert plain[0].split()[:2] == ["type", "price"]
    assert re.split(r" {2,}", plain[1])[:4] == [TYPE, "0.2 tUSD/h", "0.2 tUSD/h", "1"]
    (row,) = world.ask("offers", "list")
    assert (row["rank"], row["listed"], row["cheapest_other"]) == (1, 1, None)

    assert world.run("offers", "remove", TYPE, "--yes").returncode == 0
    assert world.read("offer", PROVIDER, TYPE) == 0
    assert load(world.config, {}).offers == ()


def test_offers_remove__the_chain_has_none__the_file_forgets_it_for_no_gas(world: World) -> None:
    done = world.ask("offers", "remove", TYPE, "--yes")
    assert done["transactions"] == []
    assert load(world.config, {}).offers == ()


def test_offers_set__without_an_agent__says_what_its_start_does(world: World) -> None:
    world.run("stake", "100", "--yes")
    done = world.run("offers", "set", TYPE, "0.2/h", "--yes")
    assert f"file and chain agree: {TYPE} at 0.2/h (block" in done.stdout
    assert "No agent answers" in done.stdout
    again = world.ask("offers", "set", TYPE, "0.2/h", "--yes")
    assert again["transactions"] == [], "the chain has it already"


@pytest.mark.parametrize(
    ("cost", "price", "said"),
    [
        ("0.15/h", "0.149/h", "below the cost of 0.15 tUSD/h"),
        ("0.15/h", "17/h", "17 tUSD/h is 100 times the price of now (0.17 tUSD/h)"),
        ("0.01/h", "0.05/h", "1/3 of the price of now"),
    ],
)
def test_offers_set__what_looks_like_a_slip__is_asked_twice(
    world: World, cost: str, price: str, said: str
) -> None:
    text = world.config.read_text()
    world.config.write_text(text.replace('price = "0.17/h"', f'price = "0.17/h"\ncost = "{cost}"'))
    world.run("stake", "100", "--yes")
    world.run("offers", "set", TYPE, "0.17/h", "--yes", "--below-cost")
    shown = world.run("offers", "set", TYPE, price, "--dry-run").stdout
    assert f"! {price.removesuffix('/h')} tUSD/h is" in shown
    before = world.config.read_text()
    no = world.run("offers", "set", TYPE, price, "--yes")
    assert no.returncode == 3
    assert said in no.stderr
    assert "--below-cost" in no.stderr
    assert (world.read("offer", PROVIDER, TYPE), world.config.read_text()) == (
        47_222_222_222_222, before,
    )  # fmt: skip
    assert world.run("offers", "set", TYPE, price, "--yes", "--below-cost").returncode == 0


def test_offers_set__shown_before__says_price_rank_cost_and_room(world: World) -> None:
    world.run("stake", "100", "--yes")
    world.run("offers", "set", TYPE, "0.17/h", "--yes")
    shown = world.run("offers", "set", TYPE, "0.2/h", "--dry-run").stdout
    assert "price  0.17 tUSD/h -> 0.2 tUSD/h" in shown
    assert "rank   1 of 1 -> 1 of 1; cheapest other: nobody else" in shown
    assert "cost   unknown" in shown
    assert "room   not known (AWS can't be asked" in shown


def test_offers_set__would_revert__the_file_is_as_it_was(world: World) -> None:
    before = world.config.read_text()
    assert world.run("offers", "set", TYPE, "0.2/h", "--yes").returncode == 3
    assert world.config.read_text() == before


def test_offers_list__with_cost__says_what_is_left(world: World) -> None:
    text = world.config.read_text().replace('price = "0.17/h"', 'price = "0.17/h"\ncost = "0.15/h"')
    world.config.write_text(text)
    world.run("stake", "100", "--yes")
    world.run("offers", "set", TYPE, "0.17/h", "--yes")
    (row,) = world.ask("offers", "list")
    assert row["margin_per_hour"] == pytest.approx(0.02, abs=1e-9)
    assert row["cost_source"] == "configuration"


def test_offers_list__a_setting_refuses_jobs_and_exits_are_slow__says_what_each_can_cost(
    world: World,
) -> None:
    slow = Params(100 * 10**18, 300, 600, 3600, 1)
    signer = Account.from_key(KEYS[0])
    made = deploy(Web3(HTTPProvider(world.node.url)), signer, slow, [signer.address])
    lists = '[jobs]\ndeny_owners = ["0x52908400098527886E0F7030069857D2E4169EE7"]\n'
    text = world.config.read_text().replace(world.registry, made.registry)
    world.config.write_text(text.replace("[jobs]\n", lists, 1))
    listed = world.run("offers", "list").stdout
    assert "refused by jobs.deny_owners can cost 100.00 tPOND" in listed
    (row,) = world.ask("offers", "list")
    assert "jobs.deny_owners can cost 100.00 tPOND" in row["refusals"]


def test_offers_list__no_cost_and_no_price_list__says_that_it_is_unknown(world: World) -> None:
    listed = world.run("offers", "list")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.splitlines()[1].endswith("cost unknown")
    assert "no AWS credentials" in listed.stdout
    (row,) = world.ask("offers", "list")
    assert (row["cost"], row["margin_per_hour"]) == (None, None)


def test_offers_list__no_cost_but_a_kept_list_price__is_taken_after_the_address(
    world: World,
) -> None:
    kept = load(world.config, {}).state / "cloud" / "prices" / f"{TYPE.replace('/', '.')}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"at": time.time(), "usd": "0.153"}))
    world.run("stake", "100", "--yes")
    world.run("offers", "set", TYPE, "0.17/h", "--yes")
    (row,) = world.ask("offers", "list")
    assert row["cost_source"] == "AWS list price"
    assert row["margin_per_hour"] == pytest.approx(0.012, abs=1e-9)


def test_commands__another_chain_or_no_node__say_so(world: World) -> None:
    wrong = oyster_here(
        "stake", "1", "--yes",
        environ={"OYSTER_CONFIG": str(world.config), "OYSTER_CHAIN__CHAIN_ID": "5"},
    )  # fmt: skip
    assert wrong.returncode == 3
    assert "expected 5" in wrong.stderr
    down = oyster_here(
        "stake", "1", "--yes",
        environ={"OYSTER_CONFIG": str(world.config), "OYSTER_CHAIN__RPC_URLS": "http://127.0.0.1:9"},
    )  # fmt: skip
    assert down.returncode == 4
    assert "RPC endpoints" in down.stderr


def test_dry_run__json__is_a_plan_and_no_key_is_read(world: World) -> None:
    plan = world.ask("stake", "5", "--dry-run")
    assert plan["dry_run"] is True
    assert [step["call"].partition("(")[0] for step in plan["steps"]] == ["approve", "stake"]
    assert plan["steps"][0]["estimated"]
    assert KEYS[0] not in json.dumps(plan)


def test_offers_set__by_rule__lists_where_it_points_and_shows_what_it_would_do(
    world: World,
) -> None:
    text = world.config.read_text()
    world.config.write_text(text.replace('price = "0.17/h"', 'price = "0.17/h"\ncost = "0.1/h"'))
    world.run("stake", "100", "--yes")
    done = world.run("offers", "set", TYPE, "cost * 1.5", "--undercut", "1%", "--yes")
    assert done.returncode == 0, done.stderr
    assert f"{TYPE} at 0.15 tUSD/h by its rule (cost * 1.5, undercut 1%)" in done.stdout
    assert world.read("offer", PROVIDER, TYPE) == 41_666_666_666_666
    assert load(world.config, {}).offers[0].rule_text == "cost * 1.5, undercut 1%"
    (rule,) = world.ask("offers", "rules")
    assert (rule["why"], rule["next"]) == ("as the rule has it", None)
    shown = world.run("offers", "rules").stdout
    assert "cheapest other: nobody" in shown
    (row,) = world.ask("offers", "list")
    assert row["rule"] == "cost * 1.5, undercut 1%"

    assert world.run("offers", "set", TYPE, "0.2/h", "--yes").returncode == 0
    assert not load(world.config, {}).offers[0].by_rule, "a price that a person says ends it"
    assert world.ask("offers", "rules") == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cost / 2",), "is not a rule such as 'cost * 1.15'"),
        (("cost * 2", "--floor", "cost * 3"), "floor cost * 3 is above price"),
        (("cost * 2", "--undercut", "1"), "is not a share such as '1%'"),
        (("0.2/h", "--floor", "0.1/h"), "floor is for a price by rule"),
    ],
)
def test_offers_set__a_rule_that_is_none__is_one_line(
    world: World, words: tuple[str, ...], said: str
) -> None:
    done = world.run("offers", "set", TYPE, *words, "--yes")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert said in done.stderr
