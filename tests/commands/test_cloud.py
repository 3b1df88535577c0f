"""`cloud setup` and `teardown` from the command line, on moto."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto import mock_aws
from typer.testing import CliRunner

from commands.cloud import app

pytestmark = pytest.mark.unit

CONFIG = """
[chain]
chain_id = 31337
registry = "0x00000000000000000000000000000000000000c0"
rpc_urls = ["http://127.0.0.1:8545"]

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
        steps: list[dict[str, str]] = json.loads(result.stdout)
        return steps

    planned = said("setup", "--dry-run")
    assert {step["verb"] for step in planned} == {"create"}
    assert said("setup") == planned
    assert {step["verb"] for step in said("setup", "--dry-run")} == {"keep"}
    assert {step["verb"] for step in said("teardown", "--yes")} == {"delete"}
    assert said("teardown", "--dry-run") == []


def test_teardown__json_without_yes__asks_nothing_and_does_nothing(config: str) -> None:
    assert CliRunner().invoke(app, ["setup", "--config", config]).exit_code == 0
    result = CliRunner().invoke(app, ["teardown", "--config", config, "--json"])
    assert result.exit_code != 0
    declined = CliRunner().invoke(app, ["teardown", "--config", config], input="n\n")
    assert declined.exit_code != 0
    again = CliRunner().invoke(app, ["setup", "--config", config, "--dry-run"])
    assert "nothing to do" in again.stdout
