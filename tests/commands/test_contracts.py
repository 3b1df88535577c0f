"""`contracts deploy` against a node over HTTP, and its refusals."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from web3 import HTTPProvider, Web3

import cli
import contracts
from devnet.chain.node import ChainServer

from .program import in_its_dialect

pytestmark = pytest.mark.integration

KEY = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # public: account 0
POOR_KEY = "0x" + "11" * 32
AUDITORS = ("0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "0x" + "ab" * 20)
TERMS = (
    "--stake-per-job=1000", "--job-bootstrapping=300", "--job-startup=400",
    "--job-exit-cooldown=120", *(f"--auditor={each}" for each in AUDITORS),
)  # fmt: skip


@pytest.fixture(scope="module")
def node() -> Iterator[ChainServer]:
    with ChainServer() as server:
        yield server


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    path.chmod(0o600)
    return path


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


class Run:
    """Runs the program in this process: starting one that imports web3 takes more than a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch, self.capsys = monkeypatch, capsys

    def __call__(self, url: str, key: Path, *options: str) -> Done:
        command = ["oyster-provider", "contracts", "deploy", f"--rpc-url={url}"]
        command += [f"--key-file={key}", *TERMS, *(each for each in options if each != "--ask")]
        if "--dry-run" not in options and "--ask" not in options:
            command.append("--yes")
        self.monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as end:
            cli.main()
        out = self.capsys.readouterr()
        in_its_dialect(command[1:], out.out)
        return Done(int(end.value.code or 0), out.out, out.err)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(monkeypatch, capsys)


def read(node: ChainServer, address: str, function: str) -> Any:
    eth = Web3(HTTPProvider(node.url)).eth
    registry = eth.contract(
        address=Web3.to_checksum_address(address), abi=contracts.abi(contracts.REGISTRY)
    )
    return registry.get_function_by_name(function)().call()


def test_deploy__no_tokens_named__deploys_three_contracts(
    run: Run, node: ChainServer, key_file: Path
) -> None:
    done = run(node.url, key_file, "--quorum=2", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert set(found) == {"chain_id", "registry", "pond", "payment_token", "block"}
    assert found["chain_id"] == 31337
    assert tuple(read(node, found["registry"], "params")) == (1000, 300, 400, 120, 2)
    assert read(node, found["registry"], "pond") == found["pond"]
    assert read(node, found["registry"], "paymentToken") == found["payment_token"]

    # The same tokens again, for people to read.
    tokens = (f"--pond={found['pond']}", f"--payment-token={found['payment_token']}")
    again = run(node.url, key_file, "--quorum=1", *tokens)
    assert again.returncode == 0
    shown, paid, *found_lines = again.stdout.splitlines()
    assert shown == "deploy IsolatedInstanceRegistry on chain 31337"
    assert re.search(r"pays about 0\.\d+ coin for \d+ gas", paid)
    lines = dict(line.split() for line in found_lines)
    assert lines["pond"] == found["pond"]
    assert lines["registry"] != found["registry"]


def test_deploy__quorum_above_auditors__is_refused_with_the_contract_s_reason(
    run: Run, node: ChainServer, key_file: Path
) -> None:
    done = run(node.url, key_file, "--quorum=3")
    assert done.returncode == 3
    assert "quorum above auditors" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_deploy__no_funds__is_refused(run: Run, node: ChainServer, key_file: Path) -> None:
    key_file.write_text(POOR_KEY)
    done = run(node.url, key_file, "--quorum=2")
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 1


def test_deploy__node_away__exits_4_and_keeps_the_url_to_itself(run: Run, key_file: Path) -> None:
    done = run("http://127.0.0.1:1/secret-key", key_file, "--quorum=2")
    assert done.returncode == 4
    assert "secret" not in done.stderr + done.stdout


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_deploy__key_file_not_private__is_a_usage_fault(
    run: Run, key_file: Path, mode: int
) -> None:
    key_file.chmod(mode)
    done = run("http://127.0.0.1:1", key_file, "--quorum=2")
    assert done.returncode == 2
    assert "chmod 600" in done.stderr


@pytest.mark.parametrize("text", ["", "0x12", KEY[:-2] + "zz", "00" * 32])
def test_deploy__no_key_in_the_file__is_a_usage_fault_without_its_text(
    run: Run, key_file: Path, text: str
) -> None:
    key_file.write_text(text)
    done = run("http://127.0.0.1:1", key_file, "--quorum=2")
    assert done.returncode == 2
    assert "no private key" in done.stderr
    assert not text or text not in done.stderr


def test_deploy__auditor_no_address__is_a_usage_fault(run: Run, key_file: Path) -> None:
    done = run("http://127.0.0.1:1", key_file, "--quorum=2", "--auditor=me")
    assert (done.returncode, "--auditor me" in done.stderr) == (2, True)


def test_deploy__more_auditors_than_the_contract_takes__is_refused_before_anything_is_sent(
    run: Run, key_file: Path
) -> None:
    many = [f"--auditor=0x{number:040x}" for number in range(63)]
    done = run("http://127.0.0.1:1", key_file, "--quorum=2", *many)
    assert (done.returncode, "65 auditors" in done.stderr) == (3, True)


def test_deploy__dry_run__shows_the_cost_and_sends_nothing(
    node: ChainServer, key_file: Path, run: Run
) -> None:
    w3 = Web3(HTTPProvider(node.url))
    before = w3.eth.get_block_number()
    shown = run(node.url, key_file, "--quorum=2", "--dry-run", "--json")
    assert shown.returncode == 0, shown.stderr
    plan = json.loads(shown.stdout)
    assert plan["contracts"] == ["TestToken", "TestToken", "IsolatedInstanceRegistry"]
    assert w3.eth.get_block_number() == before
    paid = int(plan["balance"]["units"])
    assert run(node.url, key_file, "--quorum=2", "--json").returncode == 0
    sent = [w3.eth.get_block(n) for n in range(before + 1, w3.eth.get_block_number() + 1)]
    used = sum(block["gasUsed"] for block in sent)
    assert plan["gas"] == pytest.approx(used, rel=0.2)
    assert w3.eth.get_balance(Web3.to_checksum_address(plan["payer"])) < paid
    few = run(node.url, key_file, "--quorum=2", "--dry-run", f"--pond={AUDITORS[0]}").stdout
    assert "TestToken, IsolatedInstanceRegistry" in few


@pytest.mark.parametrize("options", [("--ask",), ("--ask", "--json")])
def test_deploy__nobody_agrees__shows_the_cost_and_sends_nothing(
    node: ChainServer, key_file: Path, run: Run, options: tuple[str, ...]
) -> None:
    eth = Web3(HTTPProvider(node.url)).eth
    before = eth.get_block_number()
    done = run(node.url, key_file, "--quorum=2", *options)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "add --yes" in done.stderr
    assert ("pays about" in done.stdout) == ("--json" not in options)
    assert eth.get_block_number() == before
