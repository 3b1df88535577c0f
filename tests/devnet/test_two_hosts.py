"""Two agents with one PostgreSQL: one leads, the other stands by, whatever becomes of either.

Rows of `tests.failover.strikes.TABLE` once, with real processes and the shortest lease; all, and
many times, with the shipped one by `make failover`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.failover.pair import Pair, on_stage
from tests.failover.plays import Report, play, two_terminals_at_once
from tests.failover.strikes import TABLE

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("hosts"),  # one pair for all of them
]

LEASE_SECONDS = 3.0
# What another row has in it too is played by `make failover` alone.
WITHIN = {"killed", "frozen, then on", "frozen as it sends"}
SHORT = [name for name in TABLE if name not in WITHIN]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with on_stage(tmp_path_factory.mktemp("hosts"), LEASE_SECONDS) as pair:
        yield pair


@pytest.fixture(scope="module")
def report() -> Report:
    return Report()


def test_standby__that_is_well__is_not_ready_for_that_one_reason(pair: Pair) -> None:
    """It never reads the jobs nor lists an offer, and nothing of that is missing there."""
    said = "stands by: another host leads; `oyster-provider hosts list` says which\n"
    host = pair.other_than(pair.both())
    pair.scene.eyes.until("that reason alone", lambda: pair.page(host, "/readyz") == said, 30.0)
    assert '"word": "stands by"' in pair.page(host, "/now?count=1").replace('":"', '": "')


@pytest.mark.parametrize("name", SHORT)
def test_leader__struck_while_a_job_comes_up__the_other_goes_on_and_nothing_is_done_twice(
    name: str, pair: Pair, report: Report
) -> None:
    play(pair, name, report)
    assert (report.instances, report.raw, report.went_back) == (1, 1, 0)


def test_terminals__of_two_hosts_at_once__send_both_under_nonces_of_their_own(
    pair: Pair, report: Report
) -> None:
    two_terminals_at_once(pair, report)
    assert report.raw == 1
