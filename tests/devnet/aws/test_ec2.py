"""The EC2 in front of moto, over HTTP with the SDK that the product uses: each unkindness."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from devnet.aws.control import Faulty
from devnet.aws.ec2 import PENDING, RUNNING, SHUTTING_DOWN, TERMINATED, Bucket, Timings
from devnet.aws.server import Aws

pytestmark = pytest.mark.integration

IMAGE = "ami-12c6146b"
AT_ONCE = Timings().scaled(0)


class Clock:
    """Stands where it is put."""

    def __init__(self) -> None:
        self.now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


class Account:
    """One server on a clock of its own, and a client that does not retry."""

    def __init__(self, aws: Aws, clock: Clock) -> None:
        self.aws, self.clock = aws, clock
        self.faulty = Faulty(f"{aws.endpoint}/_devnet")
        self.ec2 = self.client("ec2")

    def client(self, service: str) -> Any:
        return boto3.client(  # type: ignore[call-overload]  # the service is a variable
            service,
            region_name="us-east-1",
            endpoint_url=self.aws.endpoint,
            aws_access_key_id="AKIAOPERATOR",
            aws_secret_access_key="secret",
            config=Config(retries={"max_attempts": 0}),
        )

    def launch(self, token: str = "", **changed: Any) -> dict[str, Any]:
        order = {"ImageId": IMAGE, "InstanceType": "c6a.xlarge", "MinCount": 1, "MaxCount": 1}
        given = {"ClientToken": token} if token else {}
        order |= {"EnclaveOptions": {"Enabled": True}, **given, **changed}
        return dict(self.ec2.run_instances(**order)["Instances"][0])

    def listed(self, **filters: Any) -> list[dict[str, Any]]:
        pages = self.ec2.describe_instances(**filters)["Reservations"]
        mine = self.aws.ec2.records
        return [one for page in pages for one in page["Instances"] if one["InstanceId"] in mine]

    def move(self, seconds: float) -> None:
        """Time passes and is noticed."""
        self.clock.now += seconds
        self.aws.tick()


@contextmanager
def account(timings: Timings) -> Iterator[Account]:
    clock = Clock()
    with Aws(timings, clock=clock) as aws:
        yield Account(aws, clock)


@pytest.fixture
def quick() -> Iterator[Account]:
    with account(AT_ONCE) as up:
        yield up


def code(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def test_run__same_token_again__one_instance(quick: Account) -> None:
    first, second = quick.launch("t"), quick.launch("t")
    assert first["InstanceId"] == second["InstanceId"]
    assert len(quick.listed()) == 1
    assert quick.launch("u")["InstanceId"] != first["InstanceId"]


def test_run__same_token_other_parameters__mismatch(quick: Account) -> None:
    quick.launch("t")
    with pytest.raises(ClientError) as error:
        quick.launch("t", InstanceType="c6a.2xlarge")
    assert code(error) == "IdempotentParameterMismatch"


def test_run__token_of_a_terminated_instance__says_so(quick: Account) -> None:
    instance = quick.launch("t")["InstanceId"]
    quick.ec2.terminate_instances(InstanceIds=[instance])
    with pytest.raises(ClientError) as error:
        quick.launch("t")
    assert code(error) == "IdempotentInstanceTerminated"


def test_run__enclave_options__come_back(quick: Account) -> None:
    instance = quick.launch()
    assert instance["EnclaveOptions"] == {"Enabled": True}
    assert quick.listed()[0]["EnclaveOptions"] == {"Enabled": True}


def test_life__time_passes__walks_through_the_states() -> None:
    times = replace(AT_ONCE, pending=18.0, shutting_down=30.0, status_checks=60.0)
    with account(times) as up:
        instance = up.launch()
        assert instance["State"] == {"Code": PENDING, "Name": "pending"}
        up.move(17.9)
        assert up.listed()[0]["State"]["Code"] == PENDING
        up.move(0.2)
        running = up.listed(Filters=[{"Name": "instance-state-name", "Values": ["running"]}])
        assert running[0]["State"]["Code"] == RUNNING
        assert status_checks(up) == ["initializing"]
        up.move(60.0)
        assert status_checks(up) == ["ok"]
        up.faulty.faults(impaired={instance["InstanceId"]})
        assert status_checks(up) == ["impaired"]
        ended = up.ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
        assert ended["TerminatingInstances"][0]["CurrentState"]["Code"] == SHUTTING_DOWN
        assert ended["TerminatingInstances"][0]["PreviousState"]["Code"] == RUNNING
        up.move(30.0)
        assert up.listed()[0]["State"]["Code"] == TERMINATED


def status_checks(up: Account) -> list[str]:
    found = up.ec2.describe_instance_status()["InstanceStatuses"]
    mine = [one for one in found if one["InstanceId"] in up.aws.ec2.records]
    return [one["InstanceStatus"]["Status"] for one in mine]


def test_life__ended_an_hour_ago__is_told_of_no_more(quick: Account) -> None:
    ended, lives = (quick.launch(token)["InstanceId"] for token in ("one", "two"))
    quick.ec2.terminate_instances(InstanceIds=[ended])
    quick.move(1)
    quick.move(3500)
    assert [one["InstanceId"] for one in quick.listed(InstanceIds=[ended])] == [ended]
    quick.move(100)
    with pytest.raises(ClientError, match=r"InvalidInstanceID\.NotFound"):
        quick.ec2.describe_instances(InstanceIds=[ended])
    assert [one["InstanceId"] for one in quick.listed(InstanceIds=[lives])] == [lives]
    with pytest.raises(ClientError, match="IdempotentInstanceTerminated"):
        quick.launch("one")


def test_describe__just_launched__is_not_there_yet() -> None:
    with account(replace(AT_ONCE, visibility=2.0)) as up:
        instance = up.launch()["InstanceId"]
        assert up.listed() == []
        with pytest.raises(ClientError) as error:
            up.ec2.describe_instances(InstanceIds=[instance])
        assert code(error) == "InvalidInstanceID.NotFound"
        up.move(2.0)
        assert [one["InstanceId"] for one in up.listed()] == [instance]


def test_run__zone_sold_out__another_zone_has_room(quick: Account) -> None:
    quick.faulty.faults(sold_out=[["c6a.xlarge", "us-east-1a"]])
    with pytest.raises(ClientError) as error:
        quick.launch(Placement={"AvailabilityZone": "us-east-1a"})
    assert code(error) == "InsufficientInstanceCapacity"
    assert quick.launch()["Placement"]["AvailabilityZone"] == "us-east-1b"


def test_run__quota_used_up__is_refused_and_service_quotas_agree(quick: Account) -> None:
    quick.faulty.faults(vcpu_quota=6)
    quick.launch()
    with pytest.raises(ClientError) as error:
        quick.launch()
    assert code(error) == "VcpuLimitExceeded"
    quota = quick.client("service-quotas").get_service_quota(
        ServiceCode="ec2", QuotaCode="L-1216C47A"
    )
    assert quota["Quota"]["Value"] == 6.0


def test_addresses__quota_used_up__is_refused(quick: Account) -> None:
    quick.faulty.faults(address_quota=0)
    with pytest.raises(ClientError) as error:
        quick.ec2.allocate_address(Domain="vpc")
    assert code(error) == "AddressLimitExceeded"


def test_run__throttled__passes_again_at_the_refill_rate(quick: Account) -> None:
    quick.faulty.faults(throttle=True, run_burst=2.0, run_per_second=2.0)
    quick.launch()
    quick.launch()
    with pytest.raises(ClientError) as error:
        quick.launch()
    assert code(error) == "RequestLimitExceeded"
    quick.clock.now += 0.5
    quick.launch()


def test_run__reply_lost__is_done_and_the_same_token_finds_it(quick: Account) -> None:
    quick.faulty.faults(lose_replies={"RunInstances": 1})
    with pytest.raises(ConnectionClosedError):
        quick.launch("t")
    assert quick.launch("t")["InstanceId"] == quick.listed()[0]["InstanceId"]
    assert len(quick.listed()) == 1


def test_errors__any_code__is_answered_once_each(quick: Account) -> None:
    quick.faulty.faults(errors={"DescribeInstances": ["InternalError"]})
    with pytest.raises(ClientError) as error:
        quick.listed()
    assert code(error) == "InternalError"
    assert quick.listed() == []
    assert quick.faulty.calls()["DescribeInstances"] == 2


def test_s3__down__answers_slow_down(quick: Account) -> None:
    quick.faulty.faults(s3_down=True)
    with pytest.raises(ClientError) as error:
        quick.client("s3").list_buckets()
    assert code(error) == "SlowDown"


def test_run__user_data_over_the_limit__is_refused(quick: Account) -> None:
    with pytest.raises(ClientError) as error:
        quick.launch(UserData="x" * 16385)
    assert code(error) == "InvalidParameterValue"


def test_run__unknown_type__is_refused(quick: Account) -> None:
    with pytest.raises(ClientError) as error:
        quick.launch(InstanceType="c6a.enormous")
    assert code(error) == "InvalidParameterValue"


def test_imds__without_a_token__is_refused(quick: Account) -> None:
    instance = quick.launch()["InstanceId"]
    quick.move(0.0)
    base = f"{quick.aws.endpoint}/_devnet/imds/{instance}/latest"
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{base}/meta-data/instance-id", timeout=5)
    asked = urllib.request.Request(f"{base}/api/token", method="PUT")
    with urllib.request.urlopen(asked, timeout=5) as answer:
        token = answer.read().decode()
    known = urllib.request.Request(
        f"{base}/dynamic/instance-identity/document", headers={"X-aws-ec2-metadata-token": token}
    )
    with urllib.request.urlopen(known, timeout=5) as answer:
        assert json.load(answer)["instanceId"] == instance


def test_control__unknown_fault__is_refused(quick: Account) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        quick.faulty.faults(meteor=True)


def test_bucket__drained__refills_with_time() -> None:
    bucket = Bucket(burst=2.0, per_second=1.0)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]
    assert [bucket.take(1.0), bucket.take(1.0)] == [True, False]
    assert [bucket.take(100.0) for _ in range(3)] == [True, True, False]


def test_addresses__many_instances__are_all_different(quick: Account) -> None:
    found = [quick.aws.ec2.next_address() for _ in range(254)]
    assert len(set(found)) == 254
    assert all(address.startswith("127.") for address in found)


def test_stop__a_running_one__walks_to_stopped_and_starts_again(quick: Account) -> None:
    instance = quick.launch()["InstanceId"]
    quick.move(0.0)
    said = quick.ec2.stop_instances(InstanceIds=[instance])["StoppingInstances"][0]
    assert said["CurrentState"]["Name"] == "stopping"
    quick.move(0.0)
    assert quick.listed()[0]["State"]["Name"] == "stopped"
    assert quick.listed()[0]["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    quick.ec2.start_instances(InstanceIds=[instance])
    quick.move(0.0)
    assert quick.listed()[0]["State"]["Name"] == "running"


def test_stop__one_that_has_ended__is_an_incorrect_state(quick: Account) -> None:
    instance = quick.launch()["InstanceId"]
    quick.ec2.terminate_instances(InstanceIds=[instance])
    with pytest.raises(ClientError) as error:
        quick.ec2.stop_instances(InstanceIds=[instance])
    assert code(error) == "IncorrectInstanceState"


def test_event__retirement__is_announced_and_then_stops_the_instance(quick: Account) -> None:
    instance = quick.launch()["InstanceId"]
    quick.move(0.0)
    quick.faulty.event(instance, "instance-retirement", 60)
    (status,) = quick.ec2.describe_instance_status(InstanceIds=[instance])["InstanceStatuses"]
    (event,) = status["Events"]
    assert event["Code"] == "instance-retirement"
    assert event["NotBefore"].timestamp() == int(quick.clock.now + 60)
    quick.move(59.0)
    assert quick.listed()[0]["State"]["Name"] == "running"
    quick.move(2.0)
    quick.move(0.0)
    assert quick.listed()[0]["State"]["Name"] == "stopped"
    assert "retirement" in quick.listed()[0]["StateReason"]["Message"]


def test_launch__key_that_can_not_be_used__dies_with_its_reason(quick: Account) -> None:
    words = "Client.InternalError: Client error on launch"
    quick.faulty.faults(dead_on_launch=words)
    assert quick.launch()["State"]["Name"] == "pending"  # EC2 takes it first
    quick.move(0.0)
    quick.move(0.0)
    (listed,) = quick.listed()
    assert listed["State"]["Name"] == "terminated"
    assert listed["StateReason"] == {"Code": "Client.InternalError", "Message": words}


def test_profile__just_made__is_unknown_to_ec2_for_a_while() -> None:
    name = f"young-{time.time_ns()}"  # moto's account outlives its server
    with account(replace(AT_ONCE, profile=8.0)) as made:
        iam = made.client("iam")
        iam.create_instance_profile(InstanceProfileName=name)
        iam.create_role(RoleName=name, AssumeRolePolicyDocument="{}")
        iam.add_role_to_instance_profile(InstanceProfileName=name, RoleName=name)
        with pytest.raises(ClientError, match="Invalid IAM Instance Profile name") as error:
            made.launch(IamInstanceProfile={"Name": name})
        assert code(error) == "InvalidParameterValue"
        made.clock.now += 8
        made.launch(IamInstanceProfile={"Name": name})
        with pytest.raises(ClientError, match="Invalid IAM Instance Profile name"):
            made.launch(IamInstanceProfile={"Name": "nobody"})
