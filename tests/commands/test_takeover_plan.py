"""Nothing of the old control plane ends before ours is proven, or the job is over."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.market.model import JobId
from cloud.ec2.elsewhere import Other, OtherAddress
from cloud.model import InstanceId, InstanceState, Region
from commands.takeover import read_tags
from commands.takeover_plan import (
    JobStanding,
    Standing,
    TakeoverPlan,
    in_words,
    job_in,
    of_owner,
    plan_takeover,
)
from faults import UsageFault

pytestmark = pytest.mark.unit

HERE = Region("us-east-1")
DONE = (Standing.OURS_UP, Standing.OVER)


def old(number: int, job: int, state: InstanceState = InstanceState.RUNNING) -> Other:
    named = {"jobId": f"0x{job:064x}"}
    kind = "c6a.xlarge"
    return Other(InstanceId(f"i-{number}"), HERE, kind, state, "192.0.2.1", named)


def address(number: int, job: int, instance: str) -> OtherAddress:
    tags = {"jobId": f"0x{job:064x}"}
    return OtherAddress(f"eipalloc-{number}", HERE, "192.0.2.2", "a", instance, tags)


def _on(at: int) -> str:
    """8: the address is on nothing."""
    return "" if at == 8 else f"i-{at}"


WORLD = st.tuples(
    st.lists(st.integers(0, 5), max_size=6),  # the job of each old instance
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), max_size=6),  # and address
    st.dictionaries(st.integers(0, 5).map(JobId), st.sampled_from(Standing)),
    st.sets(st.integers(0, 7).map(JobId)),
)


def planned(world: tuple[list[int], list[tuple[int, int]], dict[JobId, Standing], set[JobId]]
            ) -> TakeoverPlan:  # fmt: skip
    jobs, held, standings, paid = world
    instances = [old(number, job) for number, job in enumerate(jobs)]
    addresses = [address(n, job, _on(at)) for n, (job, at) in enumerate(held)]
    known = {job: JobStanding(standing) for job, standing in standings.items()}
    return plan_takeover(instances, addresses, known, paid)


@given(WORLD)
def test_plan__of_any_world__ends_and_releases_only_what_is_replaced_or_over(
    world: tuple[list[int], list[tuple[int, int]], dict[JobId, Standing], set[JobId]],
) -> None:
    plan, standings = planned(world), world[2]
    assert len(plan.lines) == len(world[0])
    for line in plan.lines:
        assert line.job is not None
        assert line.ends == (standings.get(line.job) in DONE)
        assert not (line.ends and line.waits)
    for one in plan.released:
        job = job_in(one.tags)
        assert job is not None
        assert standings[job] in DONE
        assert one.instance == "", "what is on an instance that is not gone stays"
    assert set(plan.unserved) == world[3] - {JobId(job) for job in world[0]}
    assert len(in_words(plan)) == len(plan.lines) + len(plan.released)


@given(WORLD, st.data())
def test_takeover__interrupted_after_any_step__comes_to_the_same_end(
    world: tuple[list[int], list[tuple[int, int]], dict[JobId, Standing], set[JobId]],
    data: st.DataObject,
) -> None:
    """Each look begins anew with whatever is left; what stays in the end does not depend on which
    steps were done between."""
    jobs, held, standings, paid = world
    instances = [old(number, job) for number, job in enumerate(jobs)]
    addresses = [address(n, job, _on(at)) for n, (job, at) in enumerate(held)]
    known = {job: JobStanding(standing) for job, standing in standings.items()}
    for _ in range(20):
        plan = plan_takeover(instances, addresses, known, paid)
        steps = [*(line.old for line in plan.lines if line.ends), *plan.released]
        if not steps:
            break
        done = steps[: data.draw(st.integers(1, len(steps)))]  # the rest was interrupted
        instances = [
            replace(one, state=InstanceState.SHUTTING_DOWN) if one in done else one
            for one in instances
        ]
        addresses = [one for one in addresses if one not in done]
    there = [one for one in instances if one.there]
    kept = {job_in(one.tags) for one in there}
    assert all(standings.get(job) not in DONE for job in kept if job is not None)
    assert len(there) == sum(standings.get(JobId(job)) not in DONE for job in jobs)
    assert not plan_takeover(instances, addresses, known, paid).released


@pytest.mark.parametrize(
    ("text", "job"),
    [("0x0", 0), (f"0x{7:064x}", 7), ("12", 12), ("", None), ("0x", None), ("0xzz", None),
     ("-1", None), ("1e3", None), ("٣", None), ("0x" + "f" * 65, None)],
)  # fmt: skip
def test_tags__that_name_a_job_or_none__are_read(text: str, job: int | None) -> None:
    assert job_in({"jobId": text}) == job
    assert job_in({}) is None


def test_tags__of_another_provider_market_or_chain__are_not_ours() -> None:
    ours = {"operator": "0xAb", "contractAddress": "0xC0", "chainID": "42161"}
    for kept in product((True, False), repeat=3):
        some = {name: ours[name] for name, keep in zip(ours, kept, strict=True) if keep}
        assert of_owner(some, "0xab", "0xc0", 42161)
    for name in ours:
        assert not of_owner({**ours, name: "0x1"}, "0xab", "0xc0", 42161)


@pytest.mark.parametrize("wrong", ["", "managedBy", "=x", "a=b,c", "oyster:job=1"])
def test_from_tags__that_select_nothing_or_us__are_a_usage_error(wrong: str) -> None:
    with pytest.raises(UsageFault):
        read_tags(wrong)
    assert read_tags("managedBy=marlin, project=oyster") == {
        "managedBy": "marlin", "project": "oyster",
    }  # fmt: skip
