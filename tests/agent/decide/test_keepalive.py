"""What is the matter with a host that does not take up the restart it was ordered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.decide.job_view import Host, Observed, Probe
from agent.decide.keepalive import HealthRules, Verdict, judge
from enclave.host.documents import Status
from tests.agent.samples import INSTANCE

pytestmark = pytest.mark.unit

ORDERED = 10_000.0  # when the restart was asked for; the host last reported a little before
RULES = HealthRules(restart_seconds=180.0, heartbeat_seconds=600.0)
HOST = Host(
    instance=INSTANCE,
    status=Status("running", "g1a1r0", 9_000.0, "p", INSTANCE.id, {"running": 9_000.0}),
    written_at=ORDERED - 10,
    probe=Probe(restarted_at=ORDERED),  # the misses of the run before are forgotten
    desired_run="g1a1r1",
)


@pytest.mark.parametrize(
    ("host", "age", "verdict"),
    [
        (HOST, 100, Verdict.COMING),
        (HOST, 179, Verdict.COMING),
        (HOST, 180, Verdict.HOST_DEAD),
        (replace(HOST, unhealthy_since=ORDERED), 1, Verdict.HOST_DEAD),
        (replace(HOST, written_at=ORDERED - 600), 1, Verdict.HOST_DEAD),
        (replace(HOST, desired_run="g1a1r0"), 1000, Verdict.WELL),
    ],
)
def test_restart__ordered_and_unheeded__is_waited_for_and_then_the_hosts_end(
    host: Host, age: float, verdict: Verdict
) -> None:
    now = ORDERED + age
    observed = Observed(listed_at=now, reports_at=min(now, ORDERED + 100), since=0.0)
    assert judge(host, observed, now, RULES).verdict == verdict
