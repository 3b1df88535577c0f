"""desired.json by If-Match: of two hosts that write, the one that knows less changes nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cloud import layout
from cloud.aws import Aws
from cloud.bucket.mailbox import REFRESH_SECONDS
from cloud.kinds import Busy
from cloud.model import InstanceId
from tests.cloud.conftest import REGION, FakeClock, Faults, answer

pytestmark = pytest.mark.unit

BUCKET = f"oyster-123456789012-{REGION}"
ONE, SILENT = InstanceId("i-0000000000000001"), InstanceId("i-0000000000000002")
WEEK = timedelta(seconds=REFRESH_SECONDS + 60)


async def _there(aws: Aws) -> Any:
    key = layout.desired_key((await aws.account()).role_id, ONE)
    client = boto3.client("s3", region_name=REGION)
    return json.loads(client.get_object(Bucket=BUCKET, Key=key)["Body"].read())


async def test_desired__written_by_another_since_it_was_listed__is_left_and_looked_at(
    make_aws: Callable[..., Aws],
) -> None:
    old, new = make_aws(), make_aws()
    await old.mailbox.write_desired(REGION, ONE, {"run": 1})
    await new.mailbox.reports(REGION)
    await new.mailbox.write_desired(REGION, ONE, {"run": 2})
    with pytest.raises(Busy):
        await old.mailbox.write_desired(REGION, ONE, {"run": 3})  # woke up after its time
    assert await _there(new) == {"run": 2}
    await old.mailbox.reports(REGION)
    await old.mailbox.write_desired(REGION, ONE, {"run": 4})
    assert await _there(new) == {"run": 4}


async def test_desired__the_first__is_refused_where_another_host_s_is(
    make_aws: Callable[..., Aws],
) -> None:
    one, two = make_aws(), make_aws()
    await one.mailbox.reports(REGION)
    await two.mailbox.reports(REGION)
    await one.mailbox.write_desired(REGION, ONE, {"run": 1})
    with pytest.raises(Busy):
        await two.mailbox.write_desired(REGION, ONE, {"run": 2})
    assert await _there(one) == {"run": 1}


async def test_desired__deleted_since_it_was_listed__is_written_after_a_look(aws: Aws) -> None:
    await aws.mailbox.write_desired(REGION, ONE, {"run": 1})
    key = layout.desired_key((await aws.account()).role_id, ONE)
    boto3.client("s3", region_name=REGION).delete_object(Bucket=BUCKET, Key=key)
    with pytest.raises(Busy):
        await aws.mailbox.write_desired(REGION, ONE, {"run": 2})
    await aws.mailbox.reports(REGION)
    await aws.mailbox.write_desired(REGION, ONE, {"run": 2})
    assert await _there(aws) == {"run": 2}


async def test_orders__of_a_host_that_writes__are_renewed_before_they_expire(
    make_aws: Callable[..., Aws], clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws, other = make_aws(), make_aws()
    clock.time = time.time()
    role = (await aws.account()).role_id
    client = boto3.client("s3", region_name=REGION)
    for instance in (ONE, SILENT):
        await aws.mailbox.write_desired(REGION, instance, {"run": 1})
        client.put_object(Bucket=BUCKET, Key=layout.status_key(role, instance), Body=b"{}")
    assert await aws.mailbox.renew(REGION) == []  # young
    listed = aws.mailbox._list

    async def long_ago(*asked: Any) -> list[Any]:
        ages = dict.fromkeys((layout.desired_key(role, one) for one in (ONE, SILENT)), WEEK)
        ages[layout.status_key(role, SILENT)] = timedelta(hours=2)
        return [
            {**one, "LastModified": one["LastModified"] - ages.get(one["Key"], timedelta())}
            for one in await listed(*asked)
        ]

    monkeypatch.setattr(aws.mailbox, "_list", long_ago)
    assert await aws.mailbox.renew(REGION) == [ONE]
    assert await _there(aws) == {"run": 1}
    await other.mailbox.reports(REGION)
    await other.mailbox.write_desired(REGION, ONE, {"run": 2})
    assert await _there(aws) == {"run": 2}


@pytest.mark.parametrize(
    ("code", "status"), [("ConditionalRequestConflict", 409), ("PreconditionFailed", 412)]
)
async def test_desired__s3_says_that_somebody_else_writes__is_to_be_looked_at_again(
    aws: Aws, code: str, status: int
) -> None:
    s3 = Faults(aws)
    s3.watch("s3")
    s3.before("PutObject", answer(code, status))
    with pytest.raises(Busy):
        await aws.mailbox.write_desired(REGION, ONE, {"run": 1})
    await aws.mailbox.write_desired(REGION, ONE, {"run": 1})


async def test_desired__written_while_a_list_was_read__is_known_by_what_was_written(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = aws.mailbox._list

    async def list_then_write(*asked: Any) -> Any:
        found = await listed(*asked)
        monkeypatch.setattr(aws.mailbox, "_list", listed)
        await aws.mailbox.write_desired(REGION, ONE, {"run": 1})
        return found

    monkeypatch.setattr(aws.mailbox, "_list", list_then_write)
    await aws.mailbox.reports(REGION)
    await aws.mailbox.write_desired(REGION, ONE, {"run": 2})
    assert await _there(aws) == {"run": 2}


Step = tuple[int, str]
STEPS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["list", "write"])), max_size=8)


@given(STEPS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_desired__two_hosts_in_any_order__never_write_over_what_they_did_not_see(
    make_aws: Callable[..., Aws], steps: list[Step]
) -> None:
    hosts = [make_aws(), make_aws()]
    await hosts[0].mailbox.reports(REGION)
    await hosts[0].mailbox.forget(REGION, ONE)
    there: int | None = None
    seen: dict[int, int | None] = {0: None, 1: None}
    for number, (who, what) in enumerate(steps):
        if what == "list":
            await hosts[who].mailbox.reports(REGION)
            seen[who] = there
            continue
        try:
            await hosts[who].mailbox.write_desired(REGION, ONE, {"run": number})
        except Busy:
            assert seen[who] != there
        else:
            assert seen[who] == there
            seen[who] = there = number
