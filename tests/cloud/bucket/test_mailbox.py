"""The mailbox on moto: one list call, documents that change nothing twice, images staged once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError

from cloud import layout
from cloud.aws import Aws
from cloud.bucket import staging
from cloud.bucket.host_words import parsed
from cloud.bucket.mailbox import REFRESH_SECONDS
from cloud.bucket.programs import SEEN_SECONDS
from cloud.kinds import NotSetUp, OutcomeUnknown
from cloud.model import InstanceId
from cloud.settings import Owner
from faults import Refused
from tests.cloud.conftest import OWNER, REGION, FakeClock, Faults

pytestmark = pytest.mark.unit

BUCKET = f"oyster-123456789012-{REGION}"
ONE, TWO = InstanceId("i-0000000000000001"), InstanceId("i-0000000000000002")


@pytest.fixture
def s3(aws: Aws) -> Faults:
    found = Faults(aws)
    found.watch("s3")
    return found


async def _host_writes(
    aws: Aws, instance: InstanceId, body: bytes, clock: str | None = None
) -> None:
    role = (await aws.account()).role_id
    client = boto3.client("s3", region_name=REGION)
    said = {} if clock is None else {layout.CLOCK: clock}
    key = layout.status_key(role, instance)
    client.put_object(Bucket=BUCKET, Key=key, Body=body, Metadata=said)


async def test_reports__only_one_host_changed__reads_only_that(aws: Aws, s3: Faults) -> None:
    for instance in (ONE, TWO):
        await _host_writes(aws, instance, b'{"phase":"booted"}')
    assert len(await aws.mailbox.reports(REGION)) == 2
    s3.seen.clear()
    await _host_writes(aws, TWO, b'{"phase":"running"}')
    reports = await aws.mailbox.reports(REGION)
    assert reports[TWO].document == {"phase": "running"}
    assert reports[ONE].document == {"phase": "booted"}
    assert len(s3.calls("ListObjectsV2")) == 1
    assert [call["Key"].split(":")[1] for call in s3.calls("GetObject")] == [f"{TWO}/status.json"]


async def test_reports__the_same_bytes_written_again__are_not_read_again(
    aws: Aws, s3: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _host_writes(aws, ONE, b'{"phase":"running"}', clock="100.5")
    first = (await aws.mailbox.reports(REGION))[ONE]
    assert first.ahead == 100.5 - first.written_at
    s3.seen.clear()
    listed = aws.mailbox._list
    later = timedelta(seconds=30)

    async def list_later(*asked: Any) -> Any:
        return [
            {**one, "LastModified": one["LastModified"] + later} for one in await listed(*asked)
        ]

    monkeypatch.setattr(aws.mailbox, "_list", list_later)
    again = (await aws.mailbox.reports(REGION))[ONE]
    assert again == replace(first, written_at=first.written_at + 30)
    assert s3.calls("GetObject") == []


@pytest.mark.parametrize("said", ["", "soon", "nan", "inf", "-1", "1e300"])
async def test_reports__a_clock_that_is_none__is_not_believed(aws: Aws, said: str) -> None:
    await _host_writes(aws, ONE, b"{}", clock=said)
    assert (await aws.mailbox.reports(REGION))[ONE].ahead is None


async def test_stage__just_seen_there__is_not_looked_for_again(
    aws: Aws, s3: Faults, image: tuple[Path, str, int], clock: FakeClock
) -> None:
    await aws.mailbox.stage(REGION, *image)
    clock.time = time.time()
    await aws.mailbox.stage(REGION, *image)
    s3.seen.clear()
    await aws.mailbox.stage(REGION, *image)
    assert s3.calls("HeadObject") == []
    client = boto3.client("s3", region_name=REGION)  # somebody else takes it away
    client.delete_object(Bucket=BUCKET, Key=f"images/{image[1]}")
    await aws.mailbox.stage(REGION, *image, missed=True)
    assert len(s3.calls("UploadPart")) == 3
    s3.seen.clear()
    await aws.mailbox.unstage(REGION, image[1])
    await aws.mailbox.stage(REGION, *image)
    assert len(s3.calls("UploadPart")) == 3


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[1]", b"\xff\xfe", b'{"a":"' + b"x" * 70_000 + b'"}', b"[" * 60_000],
)
async def test_reports__a_hostile_host__reads_as_nothing(aws: Aws, body: bytes) -> None:
    await _host_writes(aws, ONE, body)
    assert (await aws.mailbox.reports(REGION))[ONE].document == {}


async def test_reports__host_forgotten__is_not_reported(aws: Aws) -> None:
    await _host_writes(aws, ONE, b"{}")
    await aws.mailbox.write_desired(REGION, ONE, {"run_id": "a"})
    await aws.mailbox.reports(REGION)
    await aws.mailbox.forget(REGION, ONE)
    assert await aws.mailbox.reports(REGION) == {}
    client = boto3.client("s3", region_name=REGION)
    assert client.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


async def test_write_desired__same_document__is_sent_once(aws: Aws, s3: Faults) -> None:
    for order in ({"a": 1, "b": [2]}, {"b": [2], "a": 1}):
        await aws.mailbox.write_desired(REGION, ONE, order)
    assert len(s3.calls("PutObject")) == 1
    assert s3.calls("PutObject")[0]["ServerSideEncryption"] == "AES256"
    await aws.mailbox.write_desired(REGION, ONE, {"a": 2})
    assert len(s3.calls("PutObject")) == 2


async def test_write_desired__someone_deleted_it__is_sent_again_after_a_listing(
    aws: Aws, s3: Faults
) -> None:
    await aws.mailbox.write_desired(REGION, ONE, {"a": 1})
    key = s3.calls("PutObject")[0]["Key"]
    boto3.client("s3", region_name=REGION).delete_object(Bucket=BUCKET, Key=key)
    await aws.mailbox.reports(REGION)
    await aws.mailbox.write_desired(REGION, ONE, {"a": 1})
    assert len(s3.calls("PutObject")) == 2


async def test_write_desired__restarted__a_listing_shows_that_it_is_there(
    make_aws: Callable[..., Aws],
) -> None:
    await make_aws().mailbox.write_desired(REGION, ONE, {"a": 1})
    aws = make_aws()
    s3 = Faults(aws)
    s3.watch("s3")
    aws.calls.clock.time = 0.0  # type: ignore[attr-defined]  # moto's objects carry the wall's time
    await aws.mailbox.reports(REGION)
    await aws.mailbox.write_desired(REGION, ONE, {"a": 1})
    assert s3.calls("PutObject") == []


async def test_write_desired__a_week_old__is_written_again_before_it_expires(
    aws: Aws, s3: Faults, clock: FakeClock
) -> None:
    await aws.mailbox.write_desired(REGION, ONE, {"a": 1})
    clock.time += REFRESH_SECONDS + 1
    await aws.mailbox.write_desired(REGION, ONE, {"a": 1})
    assert len(s3.calls("PutObject")) == 2


async def test_stage_params__bytes__are_there_by_their_digest(aws: Aws) -> None:
    await aws.mailbox.stage_params(REGION, b"params")
    key = f"params/{hashlib.sha256(b'params').hexdigest()}"
    found = boto3.client("s3", region_name=REGION).get_object(Bucket=BUCKET, Key=key)
    assert found["Body"].read() == b"params"


async def test_unstage_params__used_again_or_not__is_asked_when_nobody_stages_them(
    aws: Aws, s3: Faults
) -> None:
    digest, asked = hashlib.sha256(b"params").hexdigest(), list[str]()

    def used() -> bool:
        asked.append("used")
        return len(s3.calls("PutObject")) > 1

    await aws.mailbox.stage_params(REGION, b"params")
    again = asyncio.create_task(aws.mailbox.stage_params(REGION, b"params"))
    await asyncio.sleep(0)
    assert not await aws.mailbox.unstage_params(REGION, digest, used)
    await again
    assert asked == ["used"]
    assert set(await aws.mailbox.staged_params(REGION)) == {digest}
    assert await aws.mailbox.unstage_params(REGION, digest, lambda: False)
    assert await aws.mailbox.staged_params(REGION) == {}


async def test_write_desired__too_long__is_refused(aws: Aws) -> None:
    with pytest.raises(Refused, match="bytes"):
        await aws.mailbox.write_desired(REGION, ONE, {"a": "x" * 70_000})


async def test_mailbox__no_bucket__asks_for_setup(aws: Aws) -> None:
    boto3.client("s3", region_name=REGION).delete_bucket(Bucket=BUCKET)
    with pytest.raises(NotSetUp, match="cloud setup"):
        await aws.mailbox.reports(REGION)
    with pytest.raises(NotSetUp, match="cloud setup"):
        await aws.mailbox.write_desired(REGION, ONE, {})


async def test_mailbox__s3_unreachable__retry_later(aws: Aws, s3: Faults) -> None:
    def cut(_params: dict[str, Any]) -> None:
        raise EndpointConnectionError(endpoint_url="https://s3")

    s3.before("ListObjectsV2", cut)
    with pytest.raises(OutcomeUnknown):
        await aws.mailbox.reports(REGION)


async def test_publish_program__twice__same_digest(aws: Aws) -> None:
    digest = await aws.mailbox.publish_program(REGION, b"program")
    assert digest == await aws.mailbox.publish_program(REGION, b"program")
    client = boto3.client("s3", region_name=REGION)
    assert (
        client.get_object(Bucket=BUCKET, Key=f"programs/{digest}.pyz")["Body"].read() == b"program"
    )


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, str, int]:
    """Three parts of S3's least size, the last one shorter."""
    monkeypatch.setattr(staging, "PART_BYTES", 5 * staging.MIB)
    body = b"".join(bytes([n]) * staging.MIB for n in range(11)) + b"end"
    path = tmp_path / "image.eif"
    path.write_bytes(body)
    return path, hashlib.sha256(body).hexdigest(), len(body)


async def test_alone__another_agent_with_the_prefix__both_know_and_of_one_only_one_does(
    make_aws: Callable[..., Aws], s3: Faults, clock: FakeClock
) -> None:
    clock.time = time.time()  # moto's objects carry the wall's time
    one, again = s3.aws, make_aws()
    assert await one.mailbox.alone(REGION)
    assert await one.mailbox.alone(REGION)
    assert await again.mailbox.alone(REGION), "the same identity, restarted"
    assert len(s3.calls("PutObject")) == 1
    other = make_aws(owner=Owner(OWNER.chain_id, OWNER.contract, "0xAnother"))
    assert not await other.mailbox.alone(REGION)
    assert not await one.mailbox.alone(REGION)


async def test_alone__signed_in_a_week_ago__does_so_again(
    aws: Aws, s3: Faults, clock: FakeClock
) -> None:
    await aws.mailbox.alone(REGION)
    clock.time = time.time() + REFRESH_SECONDS + 60
    assert await aws.mailbox.alone(REGION)
    assert len(s3.calls("PutObject")) == 2


async def test_stage__many_at_once__uploaded_once_and_whole(
    aws: Aws, s3: Faults, image: tuple[Path, str, int], clock: FakeClock
) -> None:
    clock.time = 0.0
    await asyncio.gather(*(aws.mailbox.stage(REGION, *image) for _ in range(5)))
    assert len(s3.calls("UploadPart")) == 3
    client = boto3.client("s3", region_name=REGION)
    stored = client.get_object(Bucket=BUCKET, Key=f"images/{image[1]}")["Body"].read()
    assert hashlib.sha256(stored).hexdigest() == image[1]
    await aws.mailbox.unstage(REGION, image[1])
    assert client.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


async def test_stage__process_died_between_parts__sends_only_the_rest(
    make_aws: Callable[..., Aws], image: tuple[Path, str, int], clock: FakeClock
) -> None:
    clock.time = 0.0
    first = make_aws()
    s3 = Faults(first)
    s3.watch("s3")

    def die(params: dict[str, Any]) -> None:
        raise EndpointConnectionError(endpoint_url="https://s3")

    s3.before("CompleteMultipartUpload", die)
    with pytest.raises(OutcomeUnknown):
        await first.mailbox.stage(REGION, *image)
    client = boto3.client("s3", region_name=REGION)
    upload = client.list_multipart_uploads(Bucket=BUCKET)["Uploads"][0]
    where: Any = {"Bucket": BUCKET, "Key": upload["Key"], "UploadId": upload["UploadId"]}
    client.upload_part(**where, PartNumber=2, Body=b"wrong" * staging.MIB)
    second = make_aws()
    again = Faults(second)
    again.watch("s3")
    await second.mailbox.stage(REGION, *image)
    assert [call["PartNumber"] for call in again.calls("UploadPart")] == [2]
    stored = client.get_object(Bucket=BUCKET, Key=f"images/{image[1]}")["Body"].read()
    assert hashlib.sha256(stored).hexdigest() == image[1]


async def test_stage__a_part_fails__is_a_fault_and_can_be_repeated(
    aws: Aws, s3: Faults, image: tuple[Path, str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # moto can't take a part while the same one, which nobody waits for any more, still comes.
    monkeypatch.setattr(staging, "PARALLEL_PARTS", 1)

    def cut(_params: dict[str, Any]) -> None:
        raise EndpointConnectionError(endpoint_url="https://s3")

    s3.before("UploadPart", cut)
    with pytest.raises(OutcomeUnknown):
        await aws.mailbox.stage(REGION, *image)
    await aws.mailbox.stage(REGION, *image)


async def test_stage__file_is_not_what_it_should_be__nothing_is_uploaded(
    aws: Aws, s3: Faults, image: tuple[Path, str, int]
) -> None:
    image[0].write_bytes(b"other")
    with pytest.raises(Refused, match="fetch it again"):
        await aws.mailbox.stage(REGION, *image)
    assert s3.calls("CreateMultipartUpload") == []


async def test_desired__in_the_bucket__is_plain_json(aws: Aws, s3: Faults) -> None:
    await aws.mailbox.write_desired(REGION, ONE, {"b": 1, "a": None})
    assert json.loads(s3.calls("PutObject")[0]["Body"]) == {"a": None, "b": 1}


async def test_staged__lists_digests_and_ages_of_images_alone(aws: Aws, tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(b"image")
    digest = hashlib.sha256(b"image").hexdigest()
    await aws.mailbox.stage(REGION, image, digest, 5)
    await aws.mailbox.write_desired(REGION, ONE, {"a": 1})
    staged = await aws.mailbox.staged(REGION)
    assert set(staged) == {digest}
    assert staged[digest] > 1_700_000_000
    await aws.mailbox.unstage(REGION, digest)
    assert await aws.mailbox.staged(REGION) == {}


def test_parsed__the_same_words_of_two_hosts__are_kept_once() -> None:
    text = b'{"pcrs": {"PCR0": "%s"}, "phase": "running", "n": [1, null, "x"]}' % (b"ab" * 48)
    one, other = parsed(text), parsed(bytes(text))
    assert one == json.loads(text)
    assert one is not other
    for first, second in zip(one, other, strict=True):
        assert first is second
    assert one["phase"] is other["phase"]


@pytest.mark.parametrize("cut", [False, True], ids=["gone", "cut short"])
async def test_write_desired__the_program_is_gone_from_the_bucket__is_there_again(
    aws: Aws, clock: FakeClock, cut: bool
) -> None:
    """Emptied by hand, by a rule that has old objects expire, or set up anew beside the agent."""
    digest = await aws.mailbox.publish_program(REGION, b"program")
    client, key = boto3.client("s3", region_name=REGION), f"programs/{digest}.pyz"
    client.delete_object(Bucket=BUCKET, Key=key)
    if cut:
        client.put_object(Bucket=BUCKET, Key=key, Body=b"pro")
    clock.time += SEEN_SECONDS
    await aws.mailbox.write_desired(REGION, ONE, {"run": "1"})
    assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == b"program"


async def test_write_desired__many_hosts__the_program_is_looked_for_once_a_minute(
    aws: Aws, clock: FakeClock, s3: Faults
) -> None:
    await aws.mailbox.publish_program(REGION, b"program")

    def looks() -> int:
        return sum(one["Prefix"].startswith("programs/") for one in s3.calls("ListObjectsV2"))

    for number in range(3):
        await aws.mailbox.write_desired(REGION, InstanceId(f"i-{number}"), {"run": "1"})
    assert not looks()
    clock.time += SEEN_SECONDS
    for number in range(3):
        await aws.mailbox.write_desired(REGION, InstanceId(f"i-{number}"), {"run": "2"})
    assert looks() == 1


async def test_write_desired__nobody_tells_whether_the_program_is_there__orders_are_written(
    aws: Aws, clock: FakeClock, s3: Faults
) -> None:
    def cut(_params: dict[str, Any]) -> None:
        raise EndpointConnectionError(endpoint_url="https://s3")

    await aws.mailbox.publish_program(REGION, b"program")
    clock.time += SEEN_SECONDS
    s3.before("ListObjectsV2", cut)
    await aws.mailbox.write_desired(REGION, ONE, {"run": "1"})
    assert len(s3.calls("ListObjectsV2")) == 1
    await aws.mailbox.write_desired(REGION, ONE, {"run": "2"})
    assert len(s3.calls("ListObjectsV2")) == 2, "the next orders look again"
