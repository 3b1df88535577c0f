"""Events that can't be read, or not soon, keep nobody from the newest blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from agent.chain.endpoints import Endpoints
from agent.chain.events import EventReader
from agent.chain.head import HeadFollower, HeadTracker, Pace
from agent.markets.registry.reads import changed_jobs, job_topics
from agent.markets.wakes import ChainWakes
from devnet.chain.evm import Rejected

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration


async def test_wakes__logs_that_no_node_has_any_more__are_passed_over(
    stage: Stage, endpoints: Endpoints, tracker: HeadTracker, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    stage.offer()
    events = EventReader(endpoints, stage.registry, job_topics(), changed_jobs)
    wakes = ChainWakes(HeadFollower(tracker, stage.clock, Pace(poll=1.0)), events)
    await wakes.wait()
    pruned, true = stage.head.number + 1, stage.node.methods.call
    stage.request()

    def call(method: str, params: list[Any]) -> Any:
        if method == "eth_getLogs" and int(params[0]["fromBlock"], 16) <= pruned:
            raise Rejected(4444, "pruned history unavailable")
        return true(method, params)

    monkeypatch.setattr(stage.node.methods, "call", call)
    for _ in range(6):
        stage.clock.at += 9
        stage.node.call("evm_mine")
        assert list(await wakes.wait()) == []
    told = capsys.readouterr().out
    assert told.count("chain.events_skipped") == 1
    later = stage.request()
    assert list(await wakes.wait()) == [later]
    await wakes.close()


async def test_wakes__so_far_behind_that_reading_takes_minutes__goes_on_from_the_head(
    stage: Stage, endpoints: Endpoints, tracker: HeadTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.offer()
    events = EventReader(endpoints, stage.registry, job_topics(), changed_jobs)
    wakes = ChainWakes(HeadFollower(tracker, stage.clock, Pace(poll=1.0)), events)
    await wakes.wait()
    monkeypatch.setattr("agent.markets.wakes.MOST_BEHIND", 3)
    stage.request()
    stage.node.call("evm_mine", 3)
    asked = stage.node.requests
    assert list(await wakes.wait()) == []
    assert stage.node.requests - asked <= 2
    job = stage.request()
    assert list(await wakes.wait()) == [job]
    await wakes.close()
