"""Instances on moto: what is launched, launched once, listed, and ended."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest

from cloud.aws import Aws
from cloud.kinds import (
    ImageRefused,
    NoCapacity,
    NotHere,
    NotSetUp,
    OutcomeUnknown,
    OwnTrouble,
    QuotaReached,
    Throttled,
)
from cloud.model import AttemptSpent, Detour, InstanceId, InstanceState, Zone
from cloud.request_budget import TooLate
from faults import Fault, Refused
from tests.cloud.conftest import REGION, FakeClock, Faults, answer, fine, order

pytestmark = pytest.mark.unit


async def test_launch__fresh_order__is_hardened_and_tagged(aws: Aws, faults: Faults) -> None:
    instance = await aws.launch(order())
    sent = faults.calls("RunInstances")[0]
    assert sent["EnclaveOptions"] == {"Enabled": True}
    assert sent["MetadataOptions"]["HttpTokens"] == "required"
    assert sent["MetadataOptions"]["HttpPutResponseHopLimit"] == 1
    assert sent["BlockDeviceMappings"][0]["Ebs"]["Encrypted"] is True
    assert sent["BlockDeviceMappings"][0]["DeviceName"] == "/dev/xvda"
    assert "KeyName" not in sent
    assert len(sent["ClientToken"]) <= 64
    assert sent["ClientToken"].isascii()
    kinds = {spec["ResourceType"] for spec in sent["TagSpecifications"]}
    assert {"instance", "volume"} <= kinds
    assert instance.identity == order().identity.from_tags(order().identity.tags())
    assert instance.public_ip


async def test_launch__user_data__arrives_as_it_was_rendered(aws: Aws) -> None:
    instance = await aws.launch(order())
    ec2 = boto3.client("ec2", region_name=REGION)
    kept = ec2.describe_instance_attribute(InstanceId=instance.id, Attribute="userData")
    text = base64.b64decode(kept["UserData"]["Value"])
    assert text.startswith(b"#!/bin/sh\n# oyster-123456789012-us-east-1 hosts/AROA")


async def test_launch__user_data_too_long__is_the_operators_to_mend(
    make_aws: Callable[..., Aws], monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = make_aws()
    monkeypatch.setattr(aws._instances, "_user_data", lambda *_: b"x" * 16385)
    with pytest.raises(NotSetUp, match="16385"):
        await aws.launch(order())


async def test_launch__lost_reply__same_call_again(aws: Aws, faults: Faults) -> None:
    faults.after("RunInstances", answer("InternalError", 500), answer("Unavailable", 503))
    await aws.launch(order())
    calls = faults.calls("RunInstances")
    assert len(calls) == 3
    assert calls[0] == calls[1] == calls[2]


async def test_launch__reply_lost_and_restarted__same_zone_and_token_though_others_opened(
    make_aws: Callable[..., Aws], clock: FakeClock
) -> None:
    first = make_aws()
    faults = Faults(first)
    faults.watch("ec2")
    faults.before("RunInstances", answer("InsufficientInstanceCapacity"))
    lost = [fine, *[answer("InternalError", 500)] * 3]
    faults.before("RunInstances", *lost[1:])
    with pytest.raises(OutcomeUnknown):
        await first.launch(order())
    clock.time += 3600  # the first zone is not remembered as sold out any more
    second = make_aws()
    again = Faults(second)
    again.watch("ec2")
    await second.launch(order())
    assert again.calls("RunInstances")[0] == faults.calls("RunInstances")[-1]


async def test_launch__zone_without_capacity__next_zone_and_remembered(
    aws: Aws, faults: Faults, clock: FakeClock
) -> None:
    faults.before("RunInstances", answer("InsufficientInstanceCapacity"))
    instance = await aws.launch(order())
    zones = [_subnet(call) for call in faults.calls("RunInstances")]
    assert len(set(zones)) == 2
    await aws.launch(order(attempt=6))  # would start in the same zone: five subnets
    assert zones[0] not in [_subnet(call) for call in faults.calls("RunInstances")[2:]]
    clock.time += 181
    await aws.launch(order(attempt=16, first_zone=instance.zone))
    assert _subnet(faults.calls("RunInstances")[-1]) == zones[1]


async def test_launch__no_zone_has_capacity__says_so(aws: Aws, faults: Faults) -> None:
    faults.before("RunInstances", *[answer("InsufficientInstanceCapacity")] * 6)
    with pytest.raises(NoCapacity):
        await aws.launch(order())
    assert len({_subnet(call) for call in faults.calls("RunInstances")}) == 5
    with pytest.raises(NoCapacity, match="no zone left"):
        await aws.launch(order(8))


async def test_launch__vcpu_quota__other_zones_are_not_tried(aws: Aws, faults: Faults) -> None:
    faults.before("RunInstances", answer("VcpuLimitExceeded"))
    with pytest.raises(QuotaReached):
        await aws.launch(order())
    assert len(faults.calls("RunInstances")) == 1


async def test_launch__token_spent__attempt_spent(aws: Aws, faults: Faults) -> None:
    faults.before("RunInstances", *[answer("IdempotentInstanceTerminated")] * 2)
    for _ in range(2):
        with pytest.raises(AttemptSpent):
            await aws.launch(order())
    assert len({call["ClientToken"] for call in faults.calls("RunInstances")}) == 1


async def test_launch__parameters_changed_since__finds_what_was_launched(
    aws: Aws, faults: Faults
) -> None:
    first = await aws.launch(order())
    faults.before("RunInstances", answer("IdempotentParameterMismatch"))
    assert (await aws.launch(order())).id == first.id


async def test_launch__throttled__goes_on_more_slowly(
    aws: Aws, faults: Faults, clock: FakeClock
) -> None:
    faults.before("RunInstances", *[answer("RequestLimitExceeded")] * 2)
    await aws.launch(order())
    assert clock.slept == sorted(clock.slept)
    assert len(clock.slept) == 2


async def test_launch__throttled_for_ever__gives_back_and_keeps_the_zone(
    aws: Aws, faults: Faults
) -> None:
    faults.before("RunInstances", *[answer("RequestLimitExceeded")] * 6)
    with pytest.raises(Throttled):
        await aws.launch(order())
    await aws.launch(order())
    assert len({call["ClientToken"] for call in faults.calls("RunInstances")}) == 1


async def test_launch__group_gone__asks_for_setup_and_recovers(aws: Aws, faults: Faults) -> None:
    faults.before("RunInstances", answer("InvalidGroup.NotFound"))
    with pytest.raises(NotSetUp):
        await aws.launch(order())
    await aws.launch(order())


async def test_launch__same_order_at_once__one_call_after_the_other(
    aws: Aws, faults: Faults
) -> None:
    await asyncio.gather(*(aws.launch(order()) for _ in range(3)))
    assert len({call["ClientToken"] for call in faults.calls("RunInstances")}) == 1


async def test_launch__many_orders__closest_deadline_first(
    aws: Aws, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    # One thread: several would send in any order what was let through within a moment.
    with ThreadPoolExecutor(1) as one:
        monkeypatch.setattr(aws._clients, "_pool", one)
        await _closest_first(aws, faults)


async def _closest_first(aws: Aws, faults: Faults) -> None:
    await aws.launch(order(1))
    faults.seen.clear()
    jobs = range(2, 14)
    await asyncio.gather(*(aws.launch(order(job, deadline=1000.0 - job)) for job in jobs))
    sent = [_job(call) for call in faults.calls("RunInstances")]
    queued = sent[4:]  # the burst of the bucket goes first come, first served
    assert sorted(queued, reverse=True) == queued


async def test_launch__preferred_zone__comes_first(aws: Aws) -> None:
    for letter in "abcd":
        zone = Zone(f"us-east-1{letter}")
        assert (await aws.launch(order(ord(letter), first_zone=zone))).zone == zone


async def test_launch__baked_image_by_name__newest_of_ours_is_used(
    make_aws: Callable[..., Aws],
) -> None:
    ec2 = boto3.client("ec2", region_name=REGION)
    source = await make_aws().launch(order(1))
    image = ec2.create_image(InstanceId=source.id, Name="oyster-host-2")["ImageId"]
    aws = make_aws(ami="oyster-host-*")
    faults = Faults(aws)
    faults.watch("ec2")
    await aws.launch(order(2))
    assert faults.calls("RunInstances")[0]["ImageId"] == image


async def test_launch__image_that_can_not_be_launched_from__the_next_one_by_name(
    make_aws: Callable[..., Aws], clock: FakeClock
) -> None:
    ec2 = boto3.client("ec2", region_name=REGION)
    source = await make_aws().launch(order(1))
    images = [
        ec2.create_image(InstanceId=source.id, Name=f"oyster-host-{n}")["ImageId"] for n in (1, 2)
    ]
    aws = make_aws(ami="oyster-host-*")
    faults = Faults(aws)
    faults.watch("ec2")
    faults.before("RunInstances", answer("InvalidBlockDeviceMapping"))
    await aws.launch(order(2))
    used = [call["ImageId"] for call in faults.calls("RunInstances")]
    assert sorted(used) == sorted(images)
    await aws.launch(order(3))
    assert faults.calls("RunInstances")[-1]["ImageId"] == used[1]  # remembered
    clock.time += 601
    await aws.launch(order(4))
    assert faults.calls("RunInstances")[-1]["ImageId"] == used[0]


async def test_launch__no_other_image__says_so_and_tries_the_same_order_again(
    aws: Aws, faults: Faults
) -> None:
    faults.before("RunInstances", *[answer("InvalidAMIID.Unavailable")] * 12)
    with pytest.raises(ImageRefused, match=r"InvalidAMIID\.Unavailable"):
        await aws.launch(order())
    faults._before.clear()
    await aws.launch(order())


@pytest.mark.parametrize("ami", ["al2023", "al2023-ami-2023.*"])
async def test_launch__instances_of_the_image_died__goes_from_another_and_stays_there(
    make_aws: Callable[..., Aws], ami: str
) -> None:
    aws = make_aws(ami=ami)
    watched = Faults(aws)
    watched.watch("ec2")
    await aws.launch(order())
    watched.after("RunInstances", *[answer("InternalError", 500)] * 3)
    with pytest.raises(OutcomeUnknown):
        await aws.launch(order(attempt=2, detour=Detour(images=1)))
    await aws.launch(order(attempt=2, detour=Detour(images=2)))  # sent where it was sent before
    first, *others = watched.calls("RunInstances")
    assert len({sent["ImageId"] for sent in others}) == 1
    assert first["ImageId"] != others[0]["ImageId"]
    assert len({sent["ClientToken"] for sent in others}) == 1


async def test_launch__image_pinned_by_its_id__is_the_only_one_whatever_died(
    make_aws: Callable[..., Aws],
) -> None:
    pinned = (await make_aws()._instances._places.ami(REGION, "x86_64")).id
    aws = make_aws(ami=pinned)
    watched = Faults(aws)
    watched.watch("ec2")
    await aws.launch(order(detour=Detour(images=3)))
    assert watched.calls("RunInstances")[0]["ImageId"] == pinned


async def test_launch__the_accounts_key_is_suspected__awss_own_and_another_token(
    aws: Aws, faults: Faults
) -> None:
    await aws.launch(order())
    await aws.launch(order(8, detour=Detour(aws_key=True)))
    usual, other = (call["BlockDeviceMappings"][0]["Ebs"] for call in faults.calls("RunInstances"))
    assert "KmsKeyId" not in usual
    assert other["KmsKeyId"] == "alias/aws/ebs"
    assert other["Encrypted"] is True


async def test_launch__volume_smaller_than_the_image__is_made_large_enough(
    make_aws: Callable[..., Aws], faults: Faults
) -> None:
    aws = make_aws(root_volume_gib=1)
    watched = Faults(aws)
    watched.watch("ec2")
    await aws.launch(order())
    sent = watched.calls("RunInstances")[0]
    (image,) = boto3.client("ec2", region_name=REGION).describe_images(ImageIds=[sent["ImageId"]])[
        "Images"
    ]
    least = max(disk["Ebs"]["VolumeSize"] for disk in image["BlockDeviceMappings"])
    assert sent["BlockDeviceMappings"][0]["Ebs"]["VolumeSize"] == max(least, 1)


@pytest.mark.parametrize("code", ["InvalidSubnetID.NotFound", "InvalidParameter"])
async def test_launch__subnet_set_up_wrongly__another_one_serves(
    code: str, aws: Aws, faults: Faults
) -> None:
    faults.before("RunInstances", answer(code))
    await aws.launch(order())
    first, second = map(_subnet, faults.calls("RunInstances"))
    assert first != second


async def test_launch__every_subnet_set_up_wrongly__is_no_lack_of_room(
    aws: Aws, faults: Faults
) -> None:
    faults.before("RunInstances", *[answer("InvalidParameter")] * 5)
    with pytest.raises(NotHere):
        await aws.launch(order())
    await aws.launch(order())


@pytest.mark.parametrize("code", ["InvalidParameterValue", "NeverSeen", "ExpiredToken"])
async def test_launch__refused_for_our_set_up__the_same_call_passes_later(
    code: str, aws: Aws, faults: Faults
) -> None:
    faults.before("RunInstances", *[answer(code)] * 3)
    for _ in range(3):
        with pytest.raises(OwnTrouble):
            await aws.launch(order())
    await aws.launch(order())
    assert len({call["ClientToken"] for call in faults.calls("RunInstances")}) == 1


async def test_launch__image_missing__asks_the_operator(make_aws: Callable[..., Aws]) -> None:
    with pytest.raises(NotSetUp, match="ami"):
        await make_aws(ami="no-such-*").launch(order())


async def test_listing__many_jobs__one_paginated_call_without_strangers(
    aws: Aws, faults: Faults
) -> None:
    for job in (1, 2, 3):
        await aws.launch(order(job))
    ec2 = boto3.client("ec2", region_name=REGION)
    image = faults.calls("RunInstances")[0]["ImageId"]
    ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)
    faults.seen.clear()
    found = await aws.instances(REGION)
    assert sorted(one.identity.job for one in found) == [1, 2, 3]
    assert len(faults.calls("DescribeInstances")) == 1
    assert all(one.healthy for one in found)


async def test_terminate__with_unknown_ids__ends_the_known(aws: Aws) -> None:
    known = [await aws.launch(order(job)) for job in (1, 2)]
    strangers = [InstanceId("i-0123456789abcdef0"), InstanceId("i-0123456789abcdef1")]
    await aws.terminate(REGION, [strangers[0], known[0].id, strangers[1], known[1].id])
    states = {one.id: one.state for one in await aws.instances(REGION)}
    assert set(states.values()) == {InstanceState.TERMINATED}
    await aws.terminate(REGION, [one.id for one in known])


async def test_terminate__more_than_a_thousand__in_chunks(aws: Aws, faults: Faults) -> None:
    faults.before("TerminateInstances", *[answer("RequestLimitExceeded")])
    sizes: list[int] = []

    async def ask(_r: object, _n: str, _d: str, call: Callable[[], object], _u: object) -> None:
        sizes.append(len(call.__closure__[1].cell_contents))  # type: ignore[index]  # it has one

    aws._instances._calls.ask = ask  # type: ignore[assignment]  # looks on
    await aws.terminate(REGION, [InstanceId(f"i-{n:017x}") for n in range(2001)])
    assert sizes == [1000, 1000, 1]


async def test_terminate__no_more_wanted_at_its_turn__is_not_sent(aws: Aws, faults: Faults) -> None:
    """It waited while AWS throttled, and its host can't know any more that it leads."""
    known, held = await aws.launch(order(1)), [True]

    def throttled(params: dict[str, Any]) -> None:
        held[0] = False
        answer("RequestLimitExceeded")(params)

    faults.before("TerminateInstances", throttled)
    with pytest.raises(TooLate):
        await aws.terminate(REGION, [known.id], lambda: held[0])
    assert [one.live for one in await aws.instances(REGION)] == [True]
    held[0] = True
    await aws.terminate(REGION, [known.id], lambda: held[0])
    assert [one.live for one in await aws.instances(REGION)] == [False]


async def test_terminate__one_protected__ends_the_others_and_says_so(aws: Aws) -> None:
    known = [await aws.launch(order(job)) for job in (1, 2, 3)]
    ec2 = boto3.client("ec2", region_name=REGION)
    ec2.modify_instance_attribute(InstanceId=known[1].id, DisableApiTermination={"Value": True})
    with pytest.raises(Refused):
        await aws.terminate(REGION, [one.id for one in known])
    states = {one.identity.job: one.live for one in await aws.instances(REGION)}
    assert states == {1: False, 2: True, 3: False}


@pytest.mark.parametrize("code", ["UnsupportedOperation", "InvalidParameterCombination", "NewCode"])
async def test_terminate__one_that_ec2_refuses_in_any_word__ends_the_others(
    aws: Aws, faults: Faults, code: str
) -> None:
    known = [await aws.launch(order(job)) for job in (1, 2, 3)]

    def refuse(params: dict[str, Any]) -> None:
        if known[1].id in params["InstanceIds"]:
            answer(code)(params)

    faults.before("TerminateInstances", *[refuse] * 8)
    with pytest.raises(Fault, match=code):
        await aws.terminate(REGION, [one.id for one in known])
    states = {one.identity.job: one.live for one in await aws.instances(REGION)}
    assert states == {1: False, 2: True, 3: False}


def _subnet(call: dict[str, list[dict[str, str]]]) -> str:
    return call["NetworkInterfaces"][0]["SubnetId"]


def _job(call: dict[str, list[dict[str, list[dict[str, str]]]]]) -> int:
    tags = {tag["Key"]: tag["Value"] for tag in call["TagSpecifications"][0]["Tags"]}
    return int(tags["oyster:job"])


async def test_note_image__on_an_instance__is_listed_and_its_identity_stays(aws: Aws) -> None:
    instance = await aws.launch(order())
    await aws.note_image(REGION, instance.id, "0123456789abcdef:" + "a" * 64)
    (found,) = await aws.instances(REGION)
    assert found.image == "0123456789abcdef:" + "a" * 64
    assert found.identity == instance.identity


async def test_listing__the_tag_of_the_job_was_taken_away__is_named_until_it_is_back_or_ended(
    aws: Aws,
) -> None:
    ec2, tag = boto3.client("ec2", region_name=REGION), "oyster:job"
    one, two = [(await aws.launch(order(job=number))).id for number in (1, 2)]
    assert len(await aws.instances(REGION)) == 2
    assert not aws.nameless()
    ec2.delete_tags(Resources=[one, two], Tags=[{"Key": tag}])
    assert await aws.instances(REGION) == []
    assert aws.nameless() == {one: REGION, two: REGION}
    ec2.create_tags(Resources=[one], Tags=[{"Key": tag, "Value": "1"}])
    ec2.terminate_instances(InstanceIds=[two])
    assert [each.id for each in await aws.instances(REGION)] == [one]
    assert not aws.nameless()
