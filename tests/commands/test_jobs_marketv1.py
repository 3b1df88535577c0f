"""The commands about jobs on Marlin's market: real program, real contract, a real journal."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3

from agent.chain.transactions import Call
from agent.config import load
from agent.decide.job_view import LaunchPhase
from agent.journal.engines import open_file
from agent.journal.lines import Event, LaunchRecord
from agent.journal.orders import Orders
from agent.journal.writing import Journal
from agent.market.model import Address, InstanceType, JobId, Price, Wei
from agent.market.workload import Workload
from agent.markets.marketv1.calls import Calls
from agent.markets.marketv1.metadata import write
from agent.markets.token import token_abi
from contracts.deploy import deploy_marketv1
from devnet.chain.evm import Evm
from devnet.chain.node import ChainServer
from tests.clocks import MovingClock
from tests.onchain import send

from .conftest import KEYS
from .program import oyster_here

pytestmark = pytest.mark.integration

START = 1_800_000_000
KIND = InstanceType("us-east-1", "c6a.xlarge")
WORK = Workload("https://images.example/x.eif", 4096, 2, init_params=b"{}")
RATE = Price(10**12 // 3 + 1)  # rounds up at every settlement


@dataclass
class Market:
    """The contract, its people (0 the provider, 1 an owner), and the program."""

    node: ChainServer
    clock: MovingClock
    calls: Calls
    config: Path

    def run(self, *words: str) -> Any:
        environ = {"OYSTER_CONFIG": str(self.config), "OYSTER_STATUS__LISTEN": "127.0.0.1:9"}
        return oyster_here(*words, environ=environ)

    def ask(self, *words: str) -> Any:
        done = self.run(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def send(self, call: Call, who: int = 1) -> None:
        send(self.node, KEYS[who], call)

    def open(self, balance: int = 10_000, metadata: str = write(KIND, WORK)) -> None:
        us = Address(Account.from_key(KEYS[0]).address)
        self.send(self.calls.open(metadata, us, RATE, Wei(balance)))

    def later(self, seconds: int) -> None:
        self.clock.at += seconds
        self.node.call("evm_mine")

    def paid(self) -> int:
        """What the provider holds of the payment token."""
        us = Account.from_key(KEYS[0]).address
        data = "0x" + token_abi().encode("balanceOf", us).hex()
        answer = self.node.call("eth_call", {"to": self._money, "data": data})
        return int(token_abi().decode("balanceOf", answer))

    _money: str = ""

    def launched(self, job: JobId, at: float) -> None:
        journal = Journal(open_file(load(self.config, {}).journal_file))
        kind, phase = KIND.ec2_type, LaunchPhase.LAUNCHED
        journal.launch(LaunchRecord(at, job, 1, 1, KIND.region, kind, phase, "i-1"))
        journal.close()

    def write(self, *events: Event) -> None:
        journal = Journal(open_file(load(self.config, {}).journal_file))
        for event in events:
            journal.event(event)
        journal.close()


@pytest.fixture(scope="module")
def chain() -> Iterator[tuple[ChainServer, MovingClock, Any]]:
    clock = MovingClock(START)
    with ChainServer(evm=Evm(now=clock.now)) as node:
        made = deploy_marketv1(Web3(HTTPProvider(node.url)), Account.from_key(KEYS[0]))
        mint = token_abi().encode("mint", Account.from_key(KEYS[1]).address, 10**24)
        send(node, KEYS[1], Call(Address(made.payment_token), mint, "mint"))
        approve = Calls(Address(made.market)).approve(Address(made.payment_token), Wei(2**255))
        send(node, KEYS[1], approve)
        yield node, clock, made


@pytest.fixture
def market(chain: tuple[ChainServer, MovingClock, Any], tmp_path: Path) -> Iterator[Market]:
    node, clock, made = chain
    key = tmp_path / "key"
    key.write_text(KEYS[0] + "\n")
    key.chmod(0o600)
    config = tmp_path / "config.toml"
    config.write_text(
        f'state_dir = "state"\n[chain]\nchain_id = {node.evm.chain_id}\nmarket = "marketv1"\n'
        f'registry = "{made.market}"\nrpc_urls = ["{node.url}"]\nfinality = "1"\n'
        '[wallet]\nkey_file = "key"\n[aws]\nregions = ["us-east-1"]\n'
        f'[[offers]]\ntype = "{KIND}"\nprice = "0.0001/h"\ncost = "0.00001/h"\n'
    )
    snapshot, before = node.evm.snapshot(), clock.at
    yield Market(node, clock, Calls(Address(made.market)), config, made.payment_token)
    node.evm.revert(snapshot)
    clock.at = before


def test_jobs__of_job_zero__are_listed_and_shown_to_the_unit(market: Market) -> None:
    market.open()
    market.later(1000)
    market.send(market.calls.settle(JobId(0)))
    market.later(100)
    market.send(market.calls.announce(JobId(0), Price(0)))
    (row,) = market.ask("jobs", "list")
    assert (row["job"], row["state"], row["deadline_is"]) == (0, "running", "rate lowered")
    assert row["notice"]["price"]["units"] == "0"
    assert (row["workload"]["memory_mib"], row["workload"]["debug"]) == (4096, False)
    shown = market.ask("jobs", "show", "0")
    assert int(shown["earned"]["units"]) == market.paid() + int(shown["accrued"]["units"])
    assert int(shown["accrued"]["units"]) > 0
    plain = market.run("jobs", "show", "0").stdout
    for said in ("announced", "4096 MiB, 2 CPUs, tuna, init params of 2 bytes"):
        assert said in plain


def test_jobs__closed__is_told_by_the_journal_and_its_settlements(market: Market) -> None:
    market.open()
    opened = START + 1
    market.write(
        Event(opened + 2.0, "job.assigned", JobId(0), 1, fields={
            "instance_type": str(KIND), "url": WORK.url, "assigned_at": opened}),
        Event(opened + 60.0, "enclave.attested", JobId(0), 1),
    )  # fmt: skip
    market.later(500)
    market.send(market.calls.settle(JobId(0)))
    market.send(market.calls.announce(JobId(0), Price(0)))
    market.later(301)
    market.send(market.calls.close(JobId(0)))
    market.write(Event(opened + 801.0, "job.ended", JobId(0), 1, text="user_request"))
    assert market.ask("jobs", "list") == []
    (row,) = market.ask("jobs", "list", "--all")
    assert (row["state"], row["instance_type"], row["user"]) == ("stopped", str(KIND), row["user"])
    assert int(row["earned"]["units"]) == market.paid() > 0
    assert row["started_at"] == "2027-01-15T08:01:01Z"
    report = market.ask("report")
    assert report["jobs"][0]["earned_tokens"] == f"{market.paid() / 10**6:.6f}"
    assert (report["stake_token"], report["jobs"][0]["state"]) == (None, "ended")


def test_jobs__that_nobody_can_serve__are_named_with_the_reason(market: Market) -> None:
    market.open(metadata="no json")
    market.open()
    market.write(Event(START + 5.0, "job.refused", JobId(1), 1, 30, "price: it pays too little"))
    first, second = sorted(market.ask("jobs", "list"), key=lambda row: row["job"])
    assert (first["state"], second["state"]) == ("refused", "refused")
    assert "JSON" in first["refused"]
    assert second["refused"] == "price: it pays too little"
    assert market.ask("report")["jobs"] == [], "nothing was served, so nothing was earned"


def test_jobs__that_run_though_their_user_wrote_what_is_none__run_on_and_earn(
    market: Market,
) -> None:
    market.open()
    market.send(market.calls.update(JobId(0), "no json"))
    opened = START + 1
    market.launched(JobId(0), opened + 3.0)
    market.write(
        Event(opened + 2.0, "job.assigned", JobId(0), 1, fields={
            "instance_type": str(KIND), "url": WORK.url, "assigned_at": opened}),
        Event(opened + 60.0, "enclave.attested", JobId(0), 1),
        Event(opened + 90.0, "job.change_refused", JobId(0), 1, 40, "metadata: no JSON"),
    )  # fmt: skip
    market.later(100)
    (row,) = market.ask("jobs", "list")
    assert (row["state"], row["refused"], row["instance_type"]) == ("running", "", str(KIND))
    assert int(row["earned"]["units"]) > 0


def test_jobs__taken_and_not_up_yet__are_bootstrapping(market: Market) -> None:
    market.open()
    fields = {"instance_type": str(KIND), "url": WORK.url, "assigned_at": START + 1}
    market.write(Event(START + 2.0, "job.assigned", JobId(0), 1, fields=fields))
    assert [row["state"] for row in market.ask("jobs", "list")] == ["bootstrapping"]
    market.write(Event(START + 60.0, "enclave.attested", JobId(0), 1))
    assert [row["state"] for row in market.ask("jobs", "list")] == ["running"]


def test_jobs__at_a_rate_that_nobody_can_pay__are_shown_by_its_size(market: Market) -> None:
    us = Address(Account.from_key(KEYS[0]).address)
    market.send(market.calls.open(write(KIND, WORK), us, Price(2**255), Wei(10)))
    shown = market.run("jobs", "list").stdout + market.run("jobs", "show", "0").stdout
    assert "e+62 " in shown
    assert "208425760627169" not in shown


def test_confirm_terminations__of_job_zero__is_of_that_job_alone(market: Market) -> None:
    assert market.run("jobs", "confirm-terminations", "0", "--yes").returncode == 0
    engine = open_file(load(market.config, {}).journal_file)
    try:
        assert [each.job for each in Orders(engine).after()] == [0]
    finally:
        engine.dispose()


@pytest.mark.parametrize(
    ("words", "said"),
    [(("stake", "1"), "no stake"), (("unstake", "--all"), "no stake"),
     (("register", str(KIND), "1/h"), "no stake"), (("exit", "--all"), "no exit"),
     (("offers", "list"), "no offers"), (("offers", "set", str(KIND), "1/h"), "no offers"),
     (("offers", "remove", str(KIND)), "no offers")],
)  # fmt: skip
def test_commands__that_need_what_this_market_has_not__say_so(
    market: Market, words: tuple[str, ...], said: str
) -> None:
    done = market.run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"this market {'lists' if 'offers' in said else 'has'} {said}" in done.stderr


def test_doctor__here__asks_for_what_this_market_has(market: Market) -> None:
    done = market.run("doctor", "--json")
    assert done.returncode == 3, "there is no AWS here"
    found = {row["check"]: row for row in json.loads(done.stdout)}
    assert "it has no stake" in found["contract"]["found"]
    assert (found["stake"]["verdict"], found["stake"]["found"]) == (
        "skip", "this market has no stake",
    )  # fmt: skip
    assert found["refusals"]["verdict"] == "skip"
    assert "provider add" in found["offers"]["todo"]
    assert found["gas"]["verdict"] in ("ok", "warn"), "nothing served waits for a transaction"


def test_status__nobody_answers__says_so_as_on_any_market(market: Market) -> None:
    done = market.run("status")
    assert (done.returncode, "no agent answers" in done.stderr) == (4, True)
