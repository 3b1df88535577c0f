"""A 200 of something between us and AWS is no answer, least of all "there are none"."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

from cloud.aws import Aws
from cloud.clients import Service
from cloud.kinds import OutcomeUnknown
from cloud.model import InstanceId
from cloud.own_answers import SAID
from tests.cloud.conftest import REGION, FakeClock, order, settings, user_data

pytestmark = pytest.mark.integration

XMLNS = b' xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"'
STRANGE = {
    "a page": b"<html><body>Sign in to go on</body></html>",
    "a page that is no XML": b"<html><br></html>",
    "JSON": b'{"message": "ok"}',
    "nothing": b"",
    "of another call": b"<DescribeVpcsResponse" + XMLNS + b"><vpcSet/></DescribeVpcsResponse>",
    "an error": b"<Response><Errors><Error><Code>Busy</Code></Error></Errors></Response>",
}


class Between(BaseHTTPRequestHandler):
    body: ClassVar[bytes] = b""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    do_GET = do_PUT = do_HEAD = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Aws]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with ThreadingHTTPServer(("127.0.0.1", 0), Between) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        aws = Aws(settings(tmp_path), user_data, FakeClock(), url)
        yield aws
        aws.close()
        server.shutdown()


@pytest.mark.parametrize("body", STRANGE.values(), ids=list(STRANGE))
async def test_answer__of_something_between_us_and_aws__is_no_answer_to_any_call(
    between: Aws, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    clients, one = between._clients, InstanceId("i-0123456789abcdef0")
    ec2 = clients.ec2(REGION)
    monkeypatch.setattr(Between, "body", body)
    for ask in (
        lambda: between.instances(REGION),
        lambda: between.terminate(REGION, [one]),
        lambda: clients.run("x", lambda: ec2.run_instances(ImageId="a", MinCount=1, MaxCount=1)),
        lambda: clients.run("x", lambda: ec2.describe_instance_status(InstanceIds=[one])),
        lambda: clients.run("x", lambda: ec2.describe_subnets()),
        lambda: between.launch(order()),
    ):
        with pytest.raises(OutcomeUnknown, match="can't be read"):
            await ask()


@pytest.mark.parametrize("body", STRANGE.values(), ids=list(STRANGE))
async def test_answer__of_something_else_about_prices__is_no_answer(
    between: Aws, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr(Between, "body", body)
    with pytest.raises(OutcomeUnknown, match="can't be read"):
        await between.prices.hourly_usd(REGION, "c6a.xlarge")


@pytest.mark.parametrize("call", SAID)
def test_said__each_member__is_one_of_the_call_s_answer(between: Aws, call: str) -> None:
    services: tuple[Service, ...] = ("ec2", "pricing", "service-quotas", "ssm")
    models = [between._clients._client(each, REGION).meta.service_model for each in services]
    (model,) = [each for each in models if call in each.operation_names]
    members = model.operation_model(call).output_shape.members
    assert SAID[call] in {shape.serialization.get("name", name) for name, shape in members.items()}


async def test_answer__of_a_page_to_a_listing_of_s3__does_not_say_that_there_are_none(
    between: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3 = between._clients.s3(REGION)
    monkeypatch.setattr(Between, "body", STRANGE["a page"])
    with pytest.raises(OutcomeUnknown, match="not AWS"):
        await between._clients.run("listing", lambda: s3.list_objects_v2(Bucket="b"))


async def test_answer__without_its_set__does_not_say_that_there_are_none(
    between: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    bare = b"<DescribeInstancesResponse" + XMLNS + b"><requestId>1</requestId>%s"
    ends = b"</DescribeInstancesResponse>"
    monkeypatch.setattr(Between, "body", bare % ends)
    with pytest.raises(OutcomeUnknown, match="without reservationSet"):
        await between.instances(REGION)
    for empty in (b"<reservationSet/>", b"<reservationSet></reservationSet>"):
        monkeypatch.setattr(Between, "body", bare % (empty + ends))
        assert list(await between.instances(REGION)) == []


@pytest.mark.parametrize("body", [STRANGE["a page"], b""])
async def test_answer__without_an_etag__does_not_say_that_an_object_was_written_or_is_there(
    between: Aws, monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    s3 = between._clients.s3(REGION)
    monkeypatch.setattr(Between, "body", body)
    of: Any = {"Bucket": "b", "Key": "k"}
    for ask in (
        lambda: s3.put_object(**of, Body=b"order"),
        lambda: s3.upload_part(**of, Body=b"part", UploadId="u", PartNumber=1),
        lambda: s3.get_object(**of),
        lambda: s3.head_object(**of),
    ):
        with pytest.raises(OutcomeUnknown, match="not S3"):
            await between._clients.run("x", ask)
    with pytest.raises(OutcomeUnknown, match="can't be read"):
        await between._clients.run("x", lambda: s3.create_multipart_upload(**of)["UploadId"])
