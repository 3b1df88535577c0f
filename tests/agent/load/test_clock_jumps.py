"""Clocks that jump and listings that leave somebody out: nobody is older or gone for that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.job_view import Observed
from agent.decide.keepalive import HealthRules, Verdict, heartbeat_stale, judge
from agent.load.fleet import CONTRADICTED_SECONDS, UNSEEN_SECONDS, VISIBLE_SECONDS, Fleet
from agent.load.fleet_record import LONGEST_LOOK
from agent.market.model import JobId
from cloud.model import HostReport, Instance, InstanceId, Region
from tests.agent.load.test_fleet_reports import NAME, Mail, Nothing, says
from tests.agent.samples import ACCOUNT, HOME, INSTANCE, NOW
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit

PAUSE = 10.0  # between two looks
RULES = HealthRules()
jumps = st.floats(-7200, 7200)


class Listed(Nothing):
    """EC2 lists the one instance, by its own clock."""

    async def instances(self, region: Region) -> Sequence[Instance]:
        return [replace(INSTANCE, launched_at=NOW)]


class Quiet(Mail):
    """A mailbox in which nothing is, or what was written once; another agent's, too, if shared."""

    shared = False

    async def alone(self, *_: object) -> bool:
        return not self.shared

    async def reports(self, region: Region) -> dict[InstanceId, HostReport]:
        return dict(await super().reports(region)) if self.document else {}


async def looked(fleet: Fleet, clock: StandingClock, looks: int) -> None:
    for _ in range(looks):
        clock.at += PAUSE
        await fleet.look(HOME)


@given(jumps, st.integers(1, 50), st.integers(0, 8))
async def test_instance__clock_jumps_while_it_boots__is_given_its_time(
    jump: float, before: int, after: int
) -> None:
    clock = StandingClock(NOW)
    fleet = Fleet(Listed(), Quiet({}), clock, ACCOUNT)
    await looked(fleet, clock, before)
    clock.at += jump
    await looked(fleet, clock, after)
    (host,) = fleet.hosts(_job())
    lived = PAUSE * (before + after) + LONGEST_LOOK
    assert host.known_seconds <= lived
    if lived < RULES.start_seconds:
        assert judge(host, _observed(fleet), clock.now(), RULES).verdict is Verdict.COMING


@given(jumps)
async def test_instance__that_never_boots__is_given_up_whatever_the_clock_does(jump: float) -> None:
    clock = StandingClock(NOW)
    fleet = Fleet(Listed(), Quiet({}), clock, ACCOUNT)
    await looked(fleet, clock, 10)
    clock.at += max(jump, 0.0)
    await looked(fleet, clock, int(RULES.start_seconds / PAUSE))
    (host,) = fleet.hosts(_job())
    assert judge(host, _observed(fleet), clock.now(), RULES).verdict is Verdict.HOST_DEAD


@given(jumps, st.integers(1, 8), st.integers(0, 8))
async def test_region__clock_jumps__has_been_looked_at_for_no_longer(
    jump: float, before: int, after: int
) -> None:
    """Else what an earlier process launched and EC2 does not list yet would be bought again."""
    clock = StandingClock(NOW)
    fleet = Fleet(Nothing(), Quiet({}), clock, ACCOUNT)
    await looked(fleet, clock, before)
    clock.at += jump
    await looked(fleet, clock, after)
    lived = PAUSE * (before + after - 1)
    assert lived - PAUSE <= _observed(fleet).looked_seconds <= lived + LONGEST_LOOK


@given(jumps, st.integers(0, 12))
async def test_heartbeat__clock_jumps__is_not_old_for_that(jump: float, after: int) -> None:
    clock, mail = StandingClock(NOW), Quiet(says(NOW))
    fleet = Fleet(Listed(), mail, clock, ACCOUNT)
    await looked(fleet, clock, 3)
    clock.at += jump
    await looked(fleet, clock, after)
    (host,) = fleet.hosts(_job())
    assert not heartbeat_stale(host, _observed(fleet), RULES)


async def test_heartbeat__that_stopped__is_old_after_its_time() -> None:
    clock, mail = StandingClock(NOW), Quiet(says(NOW))
    fleet = Fleet(Listed(), mail, clock, ACCOUNT)
    await looked(fleet, clock, int(RULES.heartbeat_seconds / PAUSE) + 3)
    (host,) = fleet.hosts(_job())
    assert host.instance.id == NAME
    assert heartbeat_stale(host, _observed(fleet), RULES)
    mail.written_at += 1
    await looked(fleet, clock, 1)
    (host,) = fleet.hosts(_job())
    assert not heartbeat_stale(host, _observed(fleet), RULES)


async def test_instance__left_out_of_the_listing__is_there_as_long_as_its_host_writes() -> None:
    clock, mail = StandingClock(NOW), Quiet(says(NOW))
    fleet = Fleet(Nothing(), mail, clock, ACCOUNT)
    fleet.add(replace(INSTANCE, launched_at=NOW))
    for _ in range(50):
        mail.written_at += int(PAUSE)
        await looked(fleet, clock, 1)
    assert fleet.hosts(_job())[0].live
    await looked(fleet, clock, int(UNSEEN_SECONDS / PAUSE) + 1)
    assert not fleet.hosts(_job())[0].live


def _observed(fleet: Fleet) -> Observed:
    return fleet.observed([HOME])


def _job() -> JobId:
    return JobId(INSTANCE.identity.job)


@pytest.mark.parametrize(
    ("writes", "shared", "believed"),
    [(True, False, False), (False, False, True), (True, True, True)],
)
async def test_listing__empty_since_the_start__is_no_look_while_hosts_write_here(
    writes: bool, shared: bool, believed: bool
) -> None:
    """Else, two minutes after a restart, each running job would have a second instance bought."""
    clock, mail = StandingClock(NOW), Quiet(says(NOW))
    mail.shared = shared
    fleet = Fleet(Nothing(), mail, clock, ACCOUNT)
    for _ in range(int(2 * VISIBLE_SECONDS / PAUSE)):
        mail.written_at += int(PAUSE) if writes else 0
        await looked(fleet, clock, 1)
    assert (_observed(fleet).looked_seconds > VISIBLE_SECONDS) == believed


async def test_listing__empty_for_ever__is_believed_in_the_end() -> None:
    """What writes may be a rehearsal's."""
    clock, mail = StandingClock(NOW), Quiet(says(NOW))
    fleet = Fleet(Nothing(), mail, clock, ACCOUNT)
    while clock.at < NOW + CONTRADICTED_SECONDS + 2 * VISIBLE_SECONDS:
        mail.written_at += int(PAUSE)
        await looked(fleet, clock, 1)
    assert _observed(fleet).looked_seconds > VISIBLE_SECONDS
