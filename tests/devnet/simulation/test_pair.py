"""Two hosts in a storm, and the lease between them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.journal.hosts import LeaseRules
from devnet.simulation.hosts import Server, SimLease
from devnet.simulation.pair import PairStorm
from devnet.simulation.scenario import scenario
from devnet.simulation.storm import quiet

pytestmark = pytest.mark.unit

RULES = LeaseRules()


@pytest.mark.parametrize("seed", [2])
def test_storm__of_two_hosts__violates_nothing_whatever_becomes_of_them(seed: int) -> None:
    quiet()
    result = PairStorm(scenario(seed, 8)).run()
    assert result.violations == ()
    assert result.faults["host cut off"] + result.faults["lease handed over"] > 0
    assert result.judged["started"] > 0


Step = tuple[str, str, float]
ACTS = st.sampled_from(["turn", "cut", "heal"])


@given(st.lists(st.tuples(ACTS, st.sampled_from("abc"), st.floats(0.0, 3.0)), max_size=40))
def test_gates__of_three_hosts_in_any_order__are_never_open_at_once(steps: Sequence[Step]) -> None:
    now = 0.0
    server = Server(lambda: now, RULES)
    hosts = {name: SimLease(server, name) for name in "abc"}
    dead = set[str]()
    for act, name, passes in steps:
        now += passes
        if act == "cut":
            server.cut.add(name)
        elif act == "heal":
            server.cut.discard(name)
        elif act == "turn" and name not in dead and not hosts[name].turn():
            dead.add(name)
        assert sum(host.held() for host in hosts.values()) <= 1


REGIONS = ("jobs:us-east-1", "jobs:eu-west-1", "chain")


@given(st.lists(st.tuples(ACTS, st.sampled_from("abc"), st.floats(0.0, 3.0)), max_size=40))
def test_leases__one_a_region_and_one_for_the_chain__are_each_held_by_one_host(
    steps: Sequence[Step],
) -> None:
    """What a lease a region needs of the gate: each by itself, and no host held up by another's."""
    now = 0.0
    servers = {region: Server(lambda: now, RULES) for region in REGIONS}
    leases = {
        region: {name: SimLease(server, name) for name in "abc"}
        for region, server in servers.items()
    }
    for number, (act, name, passes) in enumerate(steps):
        now += passes
        region = REGIONS[number % len(REGIONS)]
        if act == "cut":
            servers[region].cut.add(name)
        elif act == "heal":
            servers[region].cut.discard(name)
        elif not leases[region][name].turn():
            leases[region][name] = SimLease(servers[region], name)  # ends, and starts again
        for each in leases.values():
            assert sum(lease.held() for lease in each.values()) <= 1
