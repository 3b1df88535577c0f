"""What the guides name is there: settings, commands, files, and the figures that code decides."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import cli
from agent.config import Config
from cloud.account.policies import render

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
GUIDES = ("docs/operating.md", "docs/security.md", "README.md", "docs/monitoring/README.md")

_NO_SETTINGS = {"enclave.restarted", "status.json", "aws.keys_anew"}  # words of the log, a file


def _settings() -> set[str]:
    reference = (ROOT / "docs" / "configuration.md").read_text()
    sections = {field.name for field in dataclasses.fields(Config)}
    keys = set(re.findall(r"^\| `(\w+)` \|", reference, re.M))
    return {f"{section}.{key}" for section in sections for key in keys}


@pytest.mark.parametrize("guide", GUIDES)
def test_guides__settings_they_name__exist(guide: str) -> None:
    sections = "|".join(field.name for field in dataclasses.fields(Config))
    text = (ROOT / guide).read_text()
    named = set(re.findall(rf"`((?:{sections})\.[a-z_]+)`", text))
    assert named - _settings() - _NO_SETTINGS == set()


@pytest.mark.parametrize("guide", GUIDES)
def test_guides__commands_they_name__exist(guide: str) -> None:
    text = (ROOT / guide).read_text()
    for line in re.findall(r"(?:`|^ *)oyster-provider ([^`\n]+)", text, re.M):
        node: Any = get_command(cli.app)
        for word in line.split():
            below = getattr(node, "commands", None)
            if below is None or word.startswith("-"):
                break
            assert word in below, f"{guide}: oyster-provider {line}"
            node = below[word]


def test_security__the_hosts_role__is_as_small_as_it_says() -> None:
    statements = render("host", account="1", prefix="oyster")["Statement"]
    writes = [each for each in statements if each["Action"] == "s3:PutObject"]
    assert [each["Resource"].rpartition("/")[2] for each in writes] == ["status.json"]
    assert "ListBucket" not in json.dumps(statements)
    assert "it may not list" in (ROOT / "docs" / "security.md").read_text()
