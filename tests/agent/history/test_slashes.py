"""A slash of ours is told once, whatever the logs look like; nobody else's is."""

from __future__ import annotations

from typing import Any, cast

import pytest

from agent.history.slashes import Slashes
from agent.journal.lines import Event
from agent.journal.reading import Reader
from agent.market.model import Address, JobId
from agent.markets.registry.reads import registry_abi
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit

US, THEM = Address("0x" + "11" * 20), Address("0x" + "22" * 20)


def _log(name: str, job: int, who: str, amount: int = 0) -> dict[str, Any]:
    topics = [registry_abi().topics[name], f"0x{job:064x}", "0x" + "00" * 12 + who[2:]]
    return {"topics": topics, "data": f"0x{amount:064x}"}


def test_slashes__ours_read_twice_and_others__ours_is_told_once() -> None:
    told: list[Event] = []
    slashes = Slashes(US, StandingClock(5.0), told.append)
    logs = [
        _log("JobSlashed", 4, US, 10**20), _log("JobSlashed", 5, THEM, 10**20),
        _log("JobAssigned", 6, US), {"topics": []}, {"topics": None}, {},
        {"topics": [registry_abi().topics["JobSlashed"]]},
    ]  # fmt: skip
    assert slashes.jobs_in(logs) == {4, 6}
    assert slashes.jobs_in(logs) == {4, 6}
    (event,) = told
    assert (event.name, event.job, event.fields) == ("job.slashed", 4, {"amount": str(10**20)})
    assert "100 POND" in event.text
    Slashes(THEM, StandingClock(5.0), told.append, "tPOND", 6).jobs_in(logs)
    assert told[-1].text == "stake was slashed for this job: 1e+14 tPOND"


def test_slashes__a_log_without_an_amount__is_told_all_the_same() -> None:
    told: list[Event] = []
    Slashes(US, StandingClock(5.0), told.append).jobs_in(
        [_log("JobSlashed", 4, US) | {"data": "0x"}]
    )
    assert [each.job for each in told] == [4]


class Nothing:
    """A journal in which nothing was told."""

    def last(self, *_names: str) -> dict[JobId, Event]:
        return {}


def test_slashes__heard_while_another_host_led_that_told_none__are_told_when_read_back() -> None:
    """It died before it could, and this one kept no line while it stood by."""
    told: list[Event] = []
    slashes = Slashes(US, StandingClock(5.0), told.append)
    slashes.jobs_in([_log("JobSlashed", 4, US, 10**20)])
    slashes.restore(cast(Reader, Nothing()))()
    slashes.jobs_in([_log("JobSlashed", 4, US, 10**20)])
    assert [each.job for each in told] == [4, 4]
