"""What hosts say, taken as hostile: wrong clocks, another's name, nonsense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent.load.fleet import Fleet
from agent.load.fleet_record import SKEW_SECONDS
from agent.market.model import JobId
from agent.ports import Wanted, always
from cloud.model import (
    EnclaveRoom,
    Headroom,
    HostReport,
    Instance,
    InstanceId,
    InstanceState,
    LaunchOrder,
    Region,
)
from enclave.host.documents import Status
from faults import RetryLater
from tests.agent.samples import ACCOUNT, HOME, INSTANCE, NOW
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit

NAME = INSTANCE.id


class Mail:
    """A mailbox with one report in it."""

    def __init__(self, document: Mapping[str, object], ahead: float | None = None) -> None:
        self.document, self.ahead, self.written_at = document, ahead, NOW

    async def reports(self, region: Region) -> Mapping[InstanceId, HostReport]:
        return {NAME: HostReport(NAME, self.document, self.written_at, "etag", self.ahead)}

    async def write_desired(self, *_: Any) -> None: ...
    async def renew(self, *_: Any) -> Any: ...
    async def stage(self, *_: Any, **__: Any) -> None: ...
    async def stage_params(self, *_: Any) -> None: ...
    async def staged_params(self, *_: Any) -> Any: ...
    async def unstage_params(self, *_: Any) -> Any: ...
    async def forget(self, region: Region, instance: InstanceId) -> None: ...
    async def alone(self, *_: Any) -> Any: ...
    async def staged(self, *_: Any, **__: Any) -> Any: ...
    async def unstage(self, region: Region, sha256: str) -> None: ...


class Nothing:
    """A cloud that is not asked."""

    async def instances(self, region: Region) -> Sequence[Instance]:
        return []

    async def launch(self, order: LaunchOrder) -> Instance:
        raise AssertionError(order)

    async def rehearse(self, order: LaunchOrder) -> None:
        raise AssertionError(order)

    async def terminate(
        self, region: Region, instances: Sequence[InstanceId], wanted: Wanted = always
    ) -> None:
        raise AssertionError(instances)

    async def note_image(self, region: Region, instance: InstanceId, words: str) -> None:
        raise AssertionError

    async def room(self, region: Region, instance_type: str) -> EnclaveRoom:
        raise AssertionError(instance_type)

    async def headroom(self, region: Region, instance_type: str) -> Headroom:
        raise AssertionError(instance_type)


async def heard(document: Mapping[str, object]) -> Status | None:
    fleet = Fleet(Nothing(), Mail(document), StandingClock(NOW), ACCOUNT)
    fleet.add(INSTANCE)
    await fleet.read_reports(HOME)
    record = fleet.record(NAME)
    assert record is not None
    return record.status


def says(clock: float, **changes: object) -> dict[str, object]:
    phases = {"booted": clock - 30, "starting": clock - 10}
    status = Status("starting", "g1a1r0", clock, "p", NAME, phases).to_json()
    return status | changes


@pytest.mark.parametrize("skew", [0.0, 3600.0, -3600.0, 1e9])
async def test_reports__host_clock_wrong__times_are_the_mailbox_s(skew: float) -> None:
    status = await heard(says(NOW + skew))
    assert status is not None
    assert status.phases == {"booted": NOW - 30, "starting": NOW - 10}
    assert status.heartbeat == NOW


async def test_reports__a_phase_still_to_come__counts_as_now() -> None:
    status = await heard(says(NOW, phases={"starting": NOW + 1e9}))
    assert status is not None
    assert status.phases["starting"] == NOW + SKEW_SECONDS


@pytest.mark.parametrize(
    "changes",
    [
        {"instance_id": "i-2"}, {"instance_id": None}, {"heartbeat": float("nan")},
        {"heartbeat": float("inf")}, {"phases": {"starting": float("nan")}}, {"phase": ["running"]},
        {"restarts": 10**30}, {"last_error": "x" * 5000}, {"pcrs": {"PCR0": "zz"}}, {"schema": 2},
    ],
)  # fmt: skip
async def test_reports__nonsense__is_not_taken_in(changes: dict[str, object]) -> None:
    assert await heard(says(NOW, **changes)) is None


async def test_reports__the_same_words_again__are_a_heartbeat_and_no_news() -> None:
    mail = Mail(says(NOW - 500), ahead=0.0)
    fleet = Fleet(Nothing(), mail, StandingClock(NOW), ACCOUNT)
    fleet.add(INSTANCE)
    assert await fleet.read_reports(HOME) == {INSTANCE.identity.job}
    mail.written_at = NOW + 30
    assert await fleet.read_reports(HOME) == set()
    record = fleet.record(NAME)
    assert record is not None
    assert record.written_at == NOW + 30


@pytest.mark.parametrize("skew", [0.0, 3600.0, -3600.0])
async def test_reports__said_long_ago_and_only_repeated__times_stay_where_they_were(
    skew: float,
) -> None:
    mail = Mail(says(NOW - 500 + skew), ahead=skew)
    fleet = Fleet(Nothing(), mail, StandingClock(NOW), ACCOUNT)
    fleet.add(INSTANCE)
    await fleet.read_reports(HOME)
    record = fleet.record(NAME)
    assert record is not None
    assert record.status is not None
    assert record.status.phases == {"booted": NOW - 530, "starting": NOW - 510}


@pytest.mark.parametrize(
    ("phase", "changes", "well"),
    [
        ("running", {}, True),
        ("failed", {}, False),
        ("running", {"state": InstanceState.STOPPED}, False),
        ("running", {"healthy": False}, False),
    ],
)
async def test_serves_since__only_where_all_of_aws_says_well(
    phase: str, changes: dict[str, Any], well: bool
) -> None:
    fleet = Fleet(Nothing(), Mail(says(NOW, phase=phase)), StandingClock(NOW), ACCOUNT)
    job = JobId(INSTANCE.identity.job)
    fleet.add(INSTANCE)
    assert fleet.serves_since(job) is None
    await fleet.read_reports(HOME)
    fleet.add(replace(INSTANCE, **changes))
    assert fleet.serves_since(job) == (INSTANCE.launched_at if well else None)
    fleet.add(replace(INSTANCE, id=InstanceId("i-2")))
    assert fleet.serves_since(job) is None


async def test_look__the_mailbox_is_away_for_minutes__is_said_more_and_more_rarely() -> None:
    class Away(Mail):
        async def reports(self, region: Region) -> Mapping[InstanceId, HostReport]:
            raise RetryLater("the specified bucket does not exist")

    clock = StandingClock(NOW)
    fleet = Fleet(Nothing(), Away({}), clock, ACCOUNT)
    with capture_logs() as logs:
        for _ in range(600):
            await fleet.look(HOME)
            clock.at += 1
    said = [line["tries"] for line in logs if line["event"] == "fleet.unseen"]
    assert said == [1, 61, 181, 421]
    assert fleet.faults[HOME]
