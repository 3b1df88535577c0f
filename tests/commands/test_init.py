"""`init` through the real program."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
from pathlib import Path

import pytest

import program
from agent.config import load

from .program import ROOT, oyster_here

pytestmark = pytest.mark.integration

REGISTRY = "0x" + "11" * 20
ANSWERS = (
    "--chain-id", "42161", "--registry", REGISTRY, "--rpc-url", "https://a.example",
    "--region", "us-east-1", "--keystore", "credential:keystore",
    "--password", "credential:password",
    "--offer", "us-east-1/c6a.xlarge=0.17/h",
)  # fmt: skip


def test_init__everything_given__writes_a_private_file_once(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    done = oyster_here("init", file, *ANSWERS, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"config": str(file)}), done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert load(file, {}).offers[0].instance_type == "c6a.xlarge"
    before = file.read_bytes()
    again = oyster_here("init", file, *ANSWERS)
    assert again.returncode == 3
    assert again.stderr.startswith(f"error: {file} is there already")
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--registry", "0x12"), "'0x12' is not an address"),
        (("--chain-id", "0"), "chain.chain_id: 0 is not between"),
        (("--offer", "c6a.xlarge"), "write REGION/TYPE=PRICE"),
        (("--offer", "eu-west-1/c6a.xlarge=1/h"), "eu-west-1 is not in aws.regions"),
        (("--offer", "us-east-1/c6a.xlarge=1/fortnight"), "is not a price such as"),
        (("--rpc-url", "ftp://x"), "not a URL that starts with http"),
        (("--region", 'us"\nevil = 1'), "is not a region such as"),
    ],
)
def test_init__bad_answers__write_nothing(
    tmp_path: Path, changed: tuple[str, str], said: str
) -> None:
    file = tmp_path / "config.toml"
    done = oyster_here("init", file, *ANSWERS, *changed)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert said in done.stderr
    assert not file.exists()


def test_init__dry_run__shows_the_file_and_writes_none(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    done = oyster_here("init", file, *ANSWERS, "--dry-run")
    assert "chain_id = 42161" in done.stdout
    assert not file.exists()


def test_init__nobody_to_ask__names_the_missing_option(tmp_path: Path) -> None:
    done = oyster_here("init", tmp_path / "c.toml", "--chain-id", "1")
    assert (done.returncode, done.stderr) == (
        2,
        "error: --registry is missing, and nobody is there to ask\n",
    )


def answered(file: Path, *lines: str) -> None:
    """What a person at a terminal gets, who answers these lines."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        program.command("init", str(file)),
        cwd=ROOT, stdin=slave, stdout=slave, stderr=slave, close_fds=True,
    ) as process:  # fmt: skip
        os.close(slave)
        os.write(master, "".join(f"{line}\n" for line in lines).encode())
        shown = b""
        while process.poll() is None or select.select([master], [], [], 0)[0]:
            try:
                shown += os.read(master, 4096)
            except OSError:
                break
    os.close(master)
    assert process.returncode == 0, shown.decode()


def test_init__a_person_answers__the_file_has_it(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    answered(file, "42161", "", REGISTRY, "https://a.example, https://b.example", "us-east-1",
             "keystore.json", "password.txt", "us-east-1/c6a.xlarge=0.17/h")  # fmt: skip
    config = load(file, {})
    assert [str(url) for url in config.chain.rpc_urls] == ["https://a.example", "https://b.example"]
    assert config.wallet.keystore_file == "keystore.json"
    assert config.chain.market == "registry"


US = "0x" + "22" * 20


def test_init__a_person_chooses_marlins_market__is_asked_what_that_needs_alone(
    tmp_path: Path,
) -> None:
    file = tmp_path / "config.toml"
    answered(file, "arbitrum", "marketv1", "https://a.example", "ap-south-1", US, "",
             "ap-south-1/c6a.xlarge=0.17/h")  # fmt: skip
    config = load(file, {})
    assert (config.chain.market, config.chain.provider, config.wallet.given) == ("marketv1", US, ())
    assert config.chain.registry == ""  # known by the chain


NODE = ("--rpc-url", "https://a.example", "--region", "us-east-1")
KEY = ("--keystore", "credential:keystore", "--password", "credential:password")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--chain-id", "56", "--provider", US), ""),
        (("--chain-id", "56", *KEY), ""),  # the key's own account
        (("--chain-id", "31337", "--registry", REGISTRY, "--provider", US, *KEY), ""),
        (("--chain-id", "56",), "--provider is missing"),
        (("--chain-id", "31337", "--provider", US), "--registry is missing"),
        (("--chain-id", "56", "--provider", US, *KEY[:2]), "--password is missing"),
    ],
)  # fmt: skip
def test_init__for_marlins_market__takes_what_is_given_and_names_what_is_missing(
    tmp_path: Path, more: tuple[str, ...], said: str
) -> None:
    file = tmp_path / "config.toml"
    done = oyster_here("init", file, "--market", "marketv1", *NODE, *more)
    assert (done.returncode, said in done.stderr) == (2 if said else 0, True), done.stderr
    assert file.exists() != bool(said)
    assert said or load(file, {}).chain.market == "marketv1"


def test_init__another_market__is_named(tmp_path: Path) -> None:
    done = oyster_here("init", tmp_path / "c.toml", *ANSWERS, "--market", "bazaar")
    assert (done.returncode, "there are registry and marketv1" in done.stderr) == (2, True)
