"""What fits on a type, and how many more jobs a region takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud.aws import Aws
from cloud.ec2.capacity import Limit, is_standard, tightest
from cloud.ec2.catalog import TypeFacts, enclave_room, misfit
from cloud.model import EnclaveRoom
from faults import Refused
from tests.cloud.conftest import REGION, FakeClock, Faults, answer, order

pytestmark = pytest.mark.unit


@given(
    cores=st.integers(1, 96), threads=st.sampled_from([1, 2]), memory=st.integers(512, 2_000_000)
)
def test_room__any_type__is_whole_cores_and_pages_and_leaves_the_parent_its_share(
    cores: int, threads: int, memory: int
) -> None:
    facts = TypeFacts("x.y", "x86_64", cores * threads, threads, memory, enclaves=True)
    try:
        room = enclave_room(facts)
    except Refused:
        assert cores == 1 or memory < 1100
        return
    assert 0 < room.cpu_count <= facts.vcpus - threads
    assert room.cpu_count % threads == 0
    assert room.memory_mib % 2 == 0
    assert 0 < room.memory_mib <= memory - 1024


async def test_room__c6a_xlarge__one_core_stays_with_the_parent(aws: Aws) -> None:
    assert await aws.room(REGION, "c6a.xlarge") == EnclaveRoom(
        "c6a.xlarge", "x86_64", 2, 7168, 1562, threads_per_core=2
    )


async def test_room__graviton__is_arm(aws: Aws) -> None:
    room = await aws.room(REGION, "c7g.large")
    assert (room.architecture, room.cpu_count, room.threads_per_core) == ("arm64", 1, 1)


@pytest.mark.parametrize("instance_type", ["t3.micro", "no.such", "c6a.xlarg*"])
async def test_room__no_enclaves_or_unknown__is_refused(aws: Aws, instance_type: str) -> None:
    with pytest.raises(Refused):
        await aws.room(REGION, instance_type)


async def test_room__after_a_restart__asks_nothing(
    make_aws: Callable[..., Aws],
) -> None:
    await make_aws().room(REGION, "c6a.xlarge")
    second = make_aws()
    await second.room(REGION, "c6a.xlarge")
    assert second.calls.sent.total() == 0


ROOM = EnclaveRoom("c6a.xlarge", "x86_64", 2, 4096)


@pytest.mark.parametrize(
    ("image_bytes", "architecture", "memory_mib", "why"),
    [
        (1 << 30, "x86_64", 0, None),
        ((1 << 30) + 1, "x86_64", 0, "4097 MiB"),
        (1, "x86_64", 4097, "4097 MiB"),
        (1, "arm64", 0, "arm64"),
    ],
)
def test_misfit__image__is_said_in_words(
    image_bytes: int, architecture: str, memory_mib: int, why: str | None
) -> None:
    found = misfit(ROOM, image_bytes=image_bytes, architecture=architecture, memory_mib=memory_mib)
    assert found is None if why is None else found is not None and why in found


def test_standard__families__are_told_apart() -> None:
    assert all(map(is_standard, ["c6a.xlarge", "m7i.large", "im4gn.large", "t3.micro"]))
    assert not any(map(is_standard, ["inf1.xlarge", "trn1.2xlarge", "p4d.24xlarge", "x2idn.large"]))


@given(st.lists(st.builds(Limit, st.text(), st.integers(-5, 50)), min_size=1))
def test_tightest__limits__the_least_is_named_and_never_negative(limits: list[Limit]) -> None:
    found = tightest(REGION, "t", limits)
    assert found.more == max(0, min(limit.more for limit in limits))
    assert Limit(found.limited_by, min(limit.more for limit in limits)) in limits


async def test_headroom__no_quota_known__subnets_limit(aws: Aws) -> None:
    found = await aws.headroom(REGION, "c6a.xlarge")
    assert found.limited_by == "free addresses in subnets"
    assert found.more > 1000


async def test_headroom__all_zones_sold_out__none_until_they_are_forgotten(
    aws: Aws, faults: Faults, clock: FakeClock
) -> None:
    faults.before("RunInstances", *[answer("InsufficientInstanceCapacity")] * 6)
    with pytest.raises(Exception, match="Insufficient"):
        await aws.launch(order())
    assert (await aws.headroom(REGION, "c6a.xlarge")).limited_by == "zones sold out"
    clock.time += 181
    assert (await aws.headroom(REGION, "c6a.xlarge")).more > 0


async def test_headroom__vcpu_quota__counts_use_and_own_launches_at_once(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def quota(_region: object, _code: object) -> float:
        return 18.0

    monkeypatch.setattr(aws._capacity, "_asked", quota)
    await aws.launch(order(1))
    assert (await aws.headroom(REGION, "c6a.xlarge")).more == 3
    await aws.launch(order(2))
    found = await aws.headroom(REGION, "c6a.xlarge")
    assert (found.more, found.limited_by) == (2, "vCPU quota L-1216C47A")
