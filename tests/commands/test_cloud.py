"""`cloud setup` and `teardown` from the command line, on moto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from moto import mock_aws
from typer.testing import CliRunner

from agent.config import load
from agent.wiring.adapters import cloud_settings
from cloud.kinds import NotAllowed
from commands.cloud import app, settings_of
from faults import Refused, RetryLater, UsageFault

from .program import in_its_dialect

pytestmark = pytest.mark.unit

CONFIG = """
[chain]
chain_id = 31337
registry = "0x00000000000000000000000000000000000000c0"
rpc_urls = ["http://127.0.0.1:1"]

[wallet]
key_file = "key"

[aws]
regions = ["us-east-1"]
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    with mock_aws():
        yield str(file)


def test_cloud__set_up_twice_and_torn_down__says_what_it_does(config: str) -> None:
    def said(*words: str) -> list[dict[str, str]]:
        result = CliRunner().invoke(app, [*words, "--config", config, "--json"])
        assert result.exit_code == 0, result.output
        in_its_dialect(["cloud", *words, "--json"], result.stdout)
        steps: list[dict[str, str]] = json.loads(result.stdout)
        return steps

    planned = said("setup", "--dry-run")
    assert {step["verb"] for step in planned} == {"create"}
    assert said("setup") == planned
    assert {step["verb"] for step in said("setup", "--dry-run")} == {"keep"}
    assert {step["verb"] for step in said("teardown", "--yes", "--without-chain")} == {"delete"}
    assert said("teardown", "--dry-run", "--without-chain") == []


def test_teardown__json_without_yes__asks_nothing_and_does_nothing(config: str) -> None:
    assert CliRunner().invoke(app, ["setup", "--config", config]).exit_code == 0
    result = CliRunner().invoke(app, ["teardown", "--without-chain", "--config", config, "--json"])
    assert result.exit_code != 0
    declined = CliRunner().invoke(
        app, ["teardown", "--without-chain", "--config", config], input="n\n"
    )
    assert declined.exit_code != 0
    again = CliRunner().invoke(app, ["setup", "--config", config, "--dry-run"])
    assert "nothing to do" in again.stdout


def test_teardown__chain_can_not_be_asked__removes_nothing(config: str) -> None:
    assert CliRunner().invoke(app, ["setup", "--config", config]).exit_code == 0
    Path(config).with_name("key").write_text(
        "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
    )
    Path(config).with_name("key").chmod(0o600)
    refused = CliRunner().invoke(app, ["teardown", "--yes", "--config", config])
    assert isinstance(refused.exception, RetryLater)
    assert "--without-chain" in str(refused.exception)
    again = CliRunner().invoke(app, ["setup", "--config", config, "--dry-run"])
    assert "nothing to do" in again.stdout


def test_teardown__jobs_on_the_market__is_refused(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def three(_config: object) -> list[int]:
        return [3, 4, 7]

    monkeypatch.setattr("commands.cloud._active_jobs", three)
    refused = CliRunner().invoke(app, ["teardown", "--yes", "--config", config])
    assert isinstance(refused.exception, Refused)
    assert "3 jobs of this provider (3, 4, 7)" in str(refused.exception)


def test_bake__region_not_configured__is_refused_before_any_call(config: str) -> None:
    words = ["bake", "--region", "eu-west-1; reboot", "--config", config, "--dry-run"]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, UsageFault)
    assert "us-east-1" in str(refused.exception)


@pytest.mark.parametrize("more", [["--dry-run"], []])
def test_bake__told_to_programs__is_in_its_dialect(
    config: str, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    async def baked(*_: object) -> str:
        return "ami-0d27e0fb3bac4d724"

    monkeypatch.setattr("commands.cloud._bake", baked)
    words = ["bake", "--region", "us-east-1", "--json", *more]
    result = CliRunner().invoke(app, [*words, "--config", config])
    assert result.exit_code == 0, result.output
    in_its_dialect(["cloud", *words], result.stdout)
    assert ("image" in json.loads(result.stdout)) is not bool(more)


def test_settings__of_commands__are_the_agent_s_own_but_for_the_provider(config: str) -> None:
    loaded = load(Path(config))
    assert replace(settings_of(loaded), owner=cloud_settings(loaded, "0xp").owner) == (
        cloud_settings(loaded, "0xp")
    )


@pytest.mark.parametrize(
    ("name", "value", "fault"),
    [("AWS_PROFILE", "nobody", NotAllowed), ("AWS_ENDPOINT_URL", "junk", UsageFault)],
)
def test_setup__environment_wrong__is_a_fault_that_names_it(
    name: str, value: str, fault: type[Exception], config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    result = CliRunner().invoke(app, ["setup", "--dry-run", "--config", config])
    assert isinstance(result.exception, fault)
    assert value in str(result.exception)


@pytest.mark.parametrize("account", ["x", "12345678901", "*", "1234567890123"])
def test_policy__account_that_is_none__is_refused(account: str, config: str) -> None:
    result = CliRunner().invoke(app, ["policy", "host", "--account", account, "--config", config])
    assert isinstance(result.exception, UsageFault)
