"""What a shell is offered after TAB: words of this configuration, and never an error."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agent.config import load
from agent.journal.engines import open_file
from agent.journal.lines import Event
from agent.journal.writing import Journal
from agent.market.model import JobId
from commands import completion

from .conftest import TYPE, World

pytestmark = pytest.mark.integration


def line(**given: str) -> Any:
    """What was typed before the word."""
    return SimpleNamespace(params=given)


def test_completion__what_the_configuration_knows__is_offered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OYSTER_CONFIG", str(world.config))
    assert completion.offered_types(line(), "us-") == [TYPE]
    assert completion.types(line(), "us") == [TYPE, "us-east-1/"]
    assert completion.regions(line(), "") == ["us-east-1"]
    assert completion.policies("o") == ["operator"]
    monkeypatch.setenv("OYSTER_CONFIG", "/nowhere")
    assert completion.regions(line(config=str(world.config)), "") == ["us-east-1"]
    monkeypatch.setenv("OYSTER_CONFIG", str(world.config))
    assert completion.jobs(line(), "") == []
    journal = Journal(open_file(load(world.config, {}).journal_file))
    for number in (7, 12):
        journal.event(Event(1.0, "job.assigned", JobId(number)))
    journal.close()
    assert completion.jobs(line(), "1") == ["12"]


def test_completion__no_configuration__offers_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OYSTER_CONFIG", "/nowhere/config.toml")
    assert (
        completion.jobs(line(), ""),
        completion.types(line(), ""),
        completion.regions(line(), ""),
    ) == ([], [], [])
