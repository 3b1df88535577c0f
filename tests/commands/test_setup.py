"""`setup` at a terminal: each answer tried live, nothing forgotten, and a file that loads."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from eth_account import Account
from web3 import HTTPProvider, Web3

import program
from agent.chain.wallet import keystore_address
from agent.config import load
from commands.guide import Answers, Question, Step, walk
from commands.setup import steps
from commands.setup_marketv1 import url_step
from contracts.deploy import deploy_marketv1
from devnet.aws.ec2 import Timings
from devnet.aws.server import Aws
from devnet.chain.node import ChainServer
from devnet.processes import free_port
from faults import Refused

from .conftest import KEYS, TYPE, World
from .program import ROOT, oyster_here

pytestmark = pytest.mark.integration


class Person:
    """Types an answer whenever the program asks."""

    def __init__(self, *words: str | Path) -> None:
        self._mine, theirs = pty.openpty()
        self._program = subprocess.Popen(
            program.command(*map(str, words)), cwd=ROOT, stdin=theirs, stdout=theirs, stderr=theirs,
            env={**os.environ, "COLUMNS": "200", "AWS_EC2_METADATA_DISABLED": "true"},
        )  # fmt: skip
        os.close(theirs)
        self.said, self._read = "", 0

    def answer(self, question: str, text: str) -> None:
        """Wait for the question, then type."""
        self._until(question)
        os.write(self._mine, f"{text}\n".encode())

    def end(self) -> int:
        """The exit code; what is left is read."""
        self._until(None)
        os.close(self._mine)
        return self._program.wait(timeout=60)

    def leave(self) -> None:
        """Close the terminal in the middle."""
        self._program.kill()
        self._program.wait()
        os.close(self._mine)

    def _until(self, wanted: str | None) -> None:
        until = time.monotonic() + 60
        while wanted is None or wanted not in self.said[self._read :]:
            ready, _, _ = select.select([self._mine], [], [], until - time.monotonic())
            assert ready, f"never asked {wanted!r}: {self.said}"
            try:
                self.said += os.read(self._mine, 65536).decode()
            except OSError:  # it has ended
                assert wanted is None, self.said
                return
        self._read = len(self.said)


def counted(said: str) -> list[str]:
    """The numbers of the steps, as they were said."""
    return re.findall(r"^(\d+ of [\d or]+):", said, re.MULTILINE)


def test_setup__wrong_answers_and_a_break__ends_with_a_file_that_loads(
    world: World, tmp_path: Path
) -> None:
    file = tmp_path / "made" / "config.toml"
    first = Person("setup", file)
    first.answer("JSON-RPC URLs", "http://127.0.0.1:9")
    first.answer("JSON-RPC URLs", world.node.url)
    first.answer("registry, or marketv1", "")
    first.answer("market's contract", "0x" + "11" * 20)
    first.answer("market's contract", world.pond)
    first.answer("market's contract", world.registry)
    first.answer("keystore, made", "")
    first.leave()
    assert counted(first.said) == ["1 of 6 or 8", "2 of 6 or 8", "3 of 6", "4 of 6"]
    assert "has no code" in first.said
    assert f"{world.pond} is a contract, but no such market" in first.said

    again = Person("setup", file)
    for question in ("JSON-RPC URLs", "registry, or marketv1", "market's contract"):
        again.answer(question, "")  # what was answered is offered again
    again.answer("keystore, made", "")
    again.answer("password's file", "")
    again.answer("the region to serve in", "")
    again.answer("REGION/TYPE", TYPE)
    again.answer("price", "17")
    again.answer("REGION/TYPE", "")
    again.answer("price", "0.17/h")
    assert again.end() == 0, again.said
    assert counted(again.said)[:3] == ["1 of 6 or 8", "2 of 6 or 8", "3 of 6"]
    assert counted(again.said)[-1] == "6 of 6"
    assert re.search(r"send it 100\.00 tPOND at least", again.said)
    assert "  ! offers.1.price: '17' is not a price such as" in again.said
    assert "price  not listed -> 0.17 tUSD/h" in again.said
    assert "without both" in again.said
    config = load(file, {})
    assert (config.chain.registry, config.offers[0].type) == (world.registry, TYPE)
    assert config.wallet.keystore_file == "credential:keystore", "the service is handed it"
    folder = file.parent / "credentials"
    assert keystore_address(folder / "keystore") in again.said
    assert (folder / "keystore-password").read_text().strip() not in again.said
    assert sorted(each.name for each in file.parent.iterdir()) == ["config.toml", "credentials"]
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.fixture(scope="module")
def live() -> Iterator[tuple[str, str]]:
    """A node, and the contract of Marlin's market on its chain."""
    with ChainServer() as node:
        made = deploy_marketv1(Web3(HTTPProvider(node.url)), Account.from_key(KEYS[0]))
        yield node.url, made.market


def test_setup__marlins_market_without_a_key__asks_for_provider_and_url_and_tries_them(
    live: tuple[str, str], tmp_path: Path
) -> None:
    file, port, provider = tmp_path / "made.toml", free_port(), "0x" + "11" * 20
    person = Person("setup", file)
    person.answer("JSON-RPC URLs", live[0])
    person.answer("registry, or marketv1", "market")
    person.answer("registry, or marketv1", "marketv1")
    person.answer("address of Marlin's market", provider)
    person.answer("address of Marlin's market", live[1])
    person.answer("account whose jobs", provider)
    person.answer("keystore of any account", "none")
    person.answer("the region to serve in", "")
    for listen, url in (
        ("localhost", "http://localhost"),
        (f"127.0.0.1:{port}", f"http://127.0.0.1:{port}/"),
        (f"127.0.0.1:{port}", f"http://127.0.0.1:{port}"),
    ):
        person.answer("HOST:PORT", listen)
        person.answer("URL by which", url)
    person.answer("REGION/TYPE", TYPE)
    person.answer("price", "0.17/h")
    assert person.end() == 0, person.said
    assert counted(person.said)[1:3] == ["2 of 6 or 8", "3 of 8"]
    assert counted(person.said)[-1] == "8 of 8"
    for told in (
        "market: there are registry and marketv1", "has no code", "ends with a slash",
        "is not on the market's list", "no key: jobs are served", "localhost is not HOST:PORT",
        f"http://127.0.0.1:{port} leads here", "card   0.17 ",
        f"provider add --url http://127.0.0.1:{port}",
    ):  # fmt: skip
        assert told in person.said, person.said
    config = load(file, {})
    assert (config.chain.market, config.chain.registry) == ("marketv1", live[1])
    assert config.chain.provider == provider
    assert config.status.public_listen == f"127.0.0.1:{port}"
    assert not config.wallet.keystore_file


def test_url__nobody_lets_it_in__is_said_and_holds_nothing_up(tmp_path: Path) -> None:
    given = {"listen": f"127.0.0.1:{free_port()}", "url": f"http://127.0.0.1:{free_port()}"}
    found = asyncio.run(_tried(url_step(), Answers(tmp_path / "answers", given)))
    assert "does not answer (ConnectError)" in " ".join(found)


@pytest.mark.parametrize("known", [True, False])
def test_setup__aws__says_whose_credentials_these_are_and_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, known: bool
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing") if known else monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with Aws(Timings().scaled(0.0)) as aws:
        given = {
            "chain": "1", "registry": "0x" + "11" * 20, "nodes": "http://127.0.0.1:9",
            "keystore": "k", "password": "p", "region": "eu-west-1", "endpoint": aws.endpoint,
            "state_dir": str(tmp_path / "state"),
        }  # fmt: skip
        answers = Answers(tmp_path / "answers", given)
        (step,) = (each for each in steps(tmp_path / "c.toml") if each.title == "AWS")
        found = list(asyncio.run(_tried(step, answers)))
    assert answers.given["type"] == "eu-west-1/c6a.xlarge", "the next question's default"
    assert not (tmp_path / "state").exists()
    if known:
        assert found[0].startswith("account 123456789012, as arn:aws:sts::123456789012:")
        assert re.search(r"in eu-west-1|quota not known", found[1])
    else:
        assert found[0].startswith("! ")
        assert "credentials" in " ".join(found)


async def _tried(step: Step, answers: Answers) -> Sequence[str]:
    return await step.try_(answers)


def test_setup__dry_run_and_a_break__writes_nothing_and_names_no_address(
    world: World, tmp_path: Path
) -> None:
    """Whoever sends money to the address of a key that is thrown away loses it."""
    folder = tmp_path / "nowhere"
    for broken_off in (True, False):
        person = Person("setup", folder / "config.toml", "--dry-run")
        person.answer("JSON-RPC URLs", world.node.url)
        person.answer("registry, or marketv1", "registry")
        person.answer("market's contract", world.registry)
        person.answer("keystore, made", "")
        if broken_off:
            person.answer("password's file", "\x04")  # Ctrl-D; CI's shell may have Ctrl-C ignored
            assert person.end() == 3, person.said
            assert "broken off" in person.said
            continue
        person.answer("password's file", "")
        person.answer("the region to serve in", "")
        person.answer("REGION/TYPE", TYPE)
        person.answer("price", "0.17/h")
        assert person.end() == 0, person.said
    assert "would make" in person.said
    assert re.search(r"once it is made, send it 100\.00 tPOND at least", person.said)
    assert not re.search(r"0x[0-9a-fA-F]{40} has", person.said)
    assert f'registry = "{world.registry}"' in person.said
    assert 'keystore_file = "credential:keystore"' in person.said
    assert not folder.exists()


def test_setup__nobody_at_a_terminal__is_refused(tmp_path: Path) -> None:
    done = oyster_here("setup", tmp_path / "c.toml")
    assert (done.returncode, "init" in done.stderr) == (2, True)
    (tmp_path / "c.toml").touch()
    assert oyster_here("setup", tmp_path / "c.toml").returncode == 3


def test_path__of_an_answer_whose_tilde_leads_nowhere__is_refused_and_asked_again(
    tmp_path: Path,
) -> None:
    answers = Answers(tmp_path / "notes", {"keystore": "~nobody-of-that-name/key"})
    with pytest.raises(Refused, match="~ is no folder here"):
        answers.path("keystore")


def test_doubts__of_an_answer__hold_it_up_until_it_is_given_twice(tmp_path: Path) -> None:
    answers = Answers(tmp_path / "answers")
    answers.mean([], "0.2/h")
    for price in ("0.1/h", "0.05/h"):
        with pytest.raises(Refused, match="every job loses; answer the same again"):
            answers.mean(["every job loses"], price)
    answers.mean(["every job loses"], "0.1/h")


def test_walk__an_answer_is_not_taken__asks_the_step_again_with_what_was_typed(
    tmp_path: Path,
) -> None:
    asked: list[tuple[str, str]] = []
    typed = iter(["1", "x", "1", "2"])

    def ask(question: str, default: str) -> str:
        asked.append((question, default))
        return next(typed)

    async def add(answers: Answers) -> list[str]:
        if answers.given["b"] == "x":
            raise Refused("x is no number")
        return ["3"]

    said: list[str] = []
    step = Step("sums", [Question("a", "A", "0"), Question("b", "B")], add)
    answers = Answers.load(tmp_path / "answers")
    walk([step], answers, ask, said.append)
    assert asked == [("A", "0"), ("B", ""), ("A", "1"), ("B", "x")]
    assert said == ["1 of 1: sums", "  ! x is no number", "asked again:", "  3"]
    assert Answers.load(tmp_path / "answers").given == {"a": "1", "b": "2"}
    assert (tmp_path / "answers").stat().st_mode & 0o777 == 0o600
