"""An agent runs on with what it read when its file is broken afterwards: it stays in sight."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.config import load
from agent.config.running import FILE, keep
from agent.status.health import Health
from agent.status.source import view_json
from tests.agent.status.conftest import a_view

from .conftest import World
from .program import answering, oyster_here

pytestmark = pytest.mark.integration

NOW = 1_900_000_000.0


@contextmanager
def an_agent(world: World, file: Path | None = None) -> Iterator[str]:
    """One that runs by the world's configuration, and has noted so; or by another file."""
    view = replace(a_view(NOW), config=str((file or world.config).resolve()), health=Health())
    said = {**view_json(view, NOW, 60), "jobs": [], "counts": {}}
    with answering(json.dumps(said).encode()) as listen:
        runs = load(world.config, {"OYSTER_STATUS__LISTEN": listen})
        keep(runs, file or world.config, runs.text)
        yield listen


def run(world: World, *words: str, **environ: str) -> Any:
    return oyster_here(*words, environ={"OYSTER_CONFIG": str(world.config), **environ})


def broken(world: World) -> None:
    """In a setting that no command here needs."""
    world.config.write_text(world.config.read_text() + '\n[log\nlevel = "loud"\n')


LOOKS = ("jobs list", "jobs list --all", "offers list", "offers rules", "report")


@pytest.mark.parametrize("words", LOOKS)
def test_looking__the_file_is_broken_beside_an_agent__shows_what_runs(
    world: World, words: str
) -> None:
    before = run(world, *words.split(), OYSTER_STATUS__LISTEN="127.0.0.1:9")
    with an_agent(world):
        broken(world)
        done = run(world, *words.split())
    assert (done.returncode, done.stdout) == (before.returncode, before.stdout), done.stderr
    assert f"! {world.config}: " in done.stderr
    assert "what the agent runs with" in done.stderr


def test_looking__nobody_runs__names_the_file_alone(world: World) -> None:
    with an_agent(world):
        broken(world)
    for words in ("jobs list", "status", "pause --yes"):
        done = run(world, *words.split())
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert str(world.config) in done.stderr


def test_acting__by_a_broken_file__is_refused_beside_an_agent_too(world: World) -> None:
    with an_agent(world):
        broken(world)
        done = run(world, "offers", "set", "us-east-1/c6a.xlarge", "0.2/h", "--yes")
    assert done.returncode == 2
    assert "0.17" in world.config.read_text()


def test_status__the_file_is_broken__shows_the_agent_and_names_the_file(world: World) -> None:
    with an_agent(world) as listen:
        broken(world)
        done = run(world, "status")
        assert (done.returncode, done.stderr) == (0, "")
        assert "provider" in done.stdout
        assert f"!  the file is broken, and what was read before it runs on: {world.config}:" in (
            done.stdout
        )
        (world.config.parent / "state" / FILE).unlink()
        unread = run(world, "status", OYSTER_STATUS__LISTEN=listen)
    assert unread.returncode == 0, "whoever may not read the copy sees the agent too"


def test_status__another_files_agent_answers__is_not_shown(world: World, tmp_path: Path) -> None:
    with an_agent(world, tmp_path / "other.toml") as listen:
        broken(world)
        done = run(world, "status", OYSTER_STATUS__LISTEN=listen)
    assert (done.returncode, done.stdout) == (2, "")
    assert "goes by another file" in done.stderr


def test_doctor__the_file_is_broken__looks_on_by_what_ran(world: World) -> None:
    runs = load(world.config, {})
    keep(runs, world.config, runs.text)
    broken(world)
    done = run(
        world, "doctor", "--json", OYSTER_IMAGES__GATEWAYS="http://127.0.0.1:9",
        OYSTER_AWS__ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1",
        AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", OYSTER_STATUS__LISTEN="127.0.0.1:9",
    )  # fmt: skip
    found = {each["check"]: each["verdict"] for each in json.loads(done.stdout)}
    assert done.returncode == 3
    assert found["contract"] == "ok"
    assert [each["verdict"] for each in json.loads(done.stdout)][:2] == ["fail", "warn"]
