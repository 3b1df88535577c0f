"""Error codes to faults, and that no exception of botocore leaves the package."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from hypothesis import given
from hypothesis import strategies as st

from cloud.aws import Aws
from cloud.codes import CODES, TABLE
from cloud.errors import fault_of, kind_of, row_of, translated
from cloud.kinds import (
    Busy,
    ImageRefused,
    Missing,
    NoCapacity,
    NotAllowed,
    NotHere,
    NotSetUp,
    OutcomeUnknown,
    OwnTrouble,
    QuotaReached,
    Throttled,
    Unexplained,
)
from cloud.model import AttemptSpent, InstanceId
from faults import Fault, Refused, RetryLater, TryElsewhere
from tests.cloud.conftest import REGION, Faults, answer, order
from tests.trees import tree

pytestmark = pytest.mark.unit

CLOUD = Path(__file__).parents[2] / "cloud"


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("RequestLimitExceeded", 503, Throttled),
        ("SlowDown", 503, Throttled),
        ("InsufficientInstanceCapacity", 500, NoCapacity),
        ("Unsupported", 400, NoCapacity),
        ("VcpuLimitExceeded", 400, QuotaReached),
        ("IdempotentInstanceTerminated", 400, AttemptSpent),
        ("InvalidInstanceID.NotFound", 400, Missing),
        ("UnauthorizedOperation", 403, NotAllowed),
        ("InternalError", 500, OutcomeUnknown),
        ("NeverSeenBefore", 503, OutcomeUnknown),
        ("NeverSeenBefore", 400, Unexplained),
        ("NeverSeenBefore", 404, Unexplained),
        ("NeverSeenBefore", 403, NotAllowed),
        ("NeverSeenBefore", 429, Throttled),
        ("NeverSeenBefore", 307, NotSetUp),
        ("", 400, Unexplained),
        ("Server.InsufficientInstanceCapacity", 500, NoCapacity),
        ("Client.UnauthorizedOperation", 403, NotAllowed),
        ("com.amazonaws.kms#DisabledException", 400, NotSetUp),
        ("ThrottlingException:http://internal.amazon.com/coral/", 400, Throttled),
        ("InvalidParameterValue", 400, NotSetUp),
        ("InvalidBlockDeviceMapping", 400, ImageRefused),
        ("OptInRequired", 401, ImageRefused),
        ("InvalidParameter", 400, NotHere),
        ("PermanentRedirect", 301, NotSetUp),
        ("InvalidToken", 400, NotAllowed),
        ("IncorrectInstanceState", 400, Busy),
        ("DryRunOperation", 412, Unexplained),
    ],
)
def test_kind__code__is_named_by_what_to_do(code: str, status: int, kind: type[Fault]) -> None:
    assert kind_of(code, status) is kind


def test_kinds__what_to_do__is_their_base() -> None:
    assert issubclass(NoCapacity, TryElsewhere)
    assert issubclass(AttemptSpent, Refused)
    assert issubclass(NotAllowed, RetryLater)  # no job is given up for an operator's mistake


def test_codes__each__has_one_row_with_its_reason() -> None:
    rows = [code for _, codes in TABLE for code in codes]
    assert len(rows) == len(set(rows)) == len(CODES)
    for row in CODES.values():
        assert re.fullmatch(r"\*?[\w.]+", row.code)
        assert row.reason.strip()


FINAL_AT_A_LAUNCH = {"InvalidInstanceType", "IdempotentInstanceTerminated"}
# What S3, IAM and EC2's set-up calls refuse; no launch is ever answered so.
NOT_OF_A_LAUNCH = {row.code for row in CODES.values() if row.kind is Refused}


async def test_launch__any_code_of_the_table__gives_the_job_away_for_the_users_wish_alone(
    aws: Aws, faults: Faults
) -> None:
    await aws.launch(order())
    for job, code in enumerate(sorted(set(CODES) - NOT_OF_A_LAUNCH), start=100):
        sent = code.replace("*", "InvalidOdd")
        faults._before["RunInstances"] = [answer(sent)] * 20
        with pytest.raises(Fault) as found:
            await aws.launch(order(job))
        assert isinstance(found.value, Refused) == (code in FINAL_AT_A_LAUNCH), code
        if isinstance(found.value, OwnTrouble):
            assert sent in str(found.value)
        aws._instances.sold_out._until.clear()


@given(
    code=st.from_regex(r"[A-Z][A-Za-z]{2,20}(\.[A-Z][A-Za-z]{2,12})?", fullmatch=True),
    status=st.integers(300, 599),
    wrap=st.sampled_from(["{}", "Client.{}", "Server.{}", "aws#{}", "{}:http://x/y"]),
)
def test_kind__a_code_in_no_row__is_final_for_nobody(code: str, status: int, wrap: str) -> None:
    if row_of(code) is None:
        assert issubclass(kind_of(wrap.format(code), status), RetryLater)
    else:
        assert kind_of(wrap.format(code), status) is kind_of(code, status)


def test_fault__what_an_operator_mends__is_told_with_its_reason() -> None:
    reply: Any = {"Error": {"Code": "InvalidKMSKey.InvalidState", "Message": "x" * 5000}}
    text = str(fault_of(ClientError(reply, "RunInstances"), "launching"))
    assert CODES["InvalidKMSKey.InvalidState"].reason in text
    assert len(text) < 700


@given(st.text(max_size=40), st.integers(100, 599), st.text(max_size=20))
def test_fault__any_reply__is_a_fault(code: str, status: int, message: str) -> None:
    reply: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    fault = fault_of(ClientError(reply, "Op"), "doing x")
    assert isinstance(fault, Fault)
    assert str(fault).startswith("doing x")


def _botocore_errors() -> list[type[BotoCoreError]]:
    found = vars(botocore.exceptions).values()
    return [e for e in found if inspect.isclass(e) and issubclass(e, BotoCoreError)]


@pytest.mark.parametrize("kind", _botocore_errors(), ids=lambda kind: kind.__name__)
def test_translated__every_botocore_error__leaves_as_a_fault(kind: type[BotoCoreError]) -> None:
    error = kind.__new__(kind)
    with pytest.raises(Fault), translated("testing"):
        raise error


async def test_every_public_call__aws_breaks__raises_only_faults(
    aws: Aws, faults: Faults, tmp_path: Path
) -> None:
    faults.watch("s3")
    await aws.launch(order())
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "DescribeInstances": lambda: aws.instances(REGION),
        "RunInstances": lambda: aws.launch(order(9)),
        "TerminateInstances": lambda: aws.terminate(REGION, [InstanceId("i-0")]),
        "ListObjectsV2": lambda: aws.mailbox.reports(REGION),
        "PutObject": lambda: aws.mailbox.publish_program(REGION, b""),
        "DeleteObject": lambda: aws.mailbox.unstage(REGION, "x"),
        "DescribeInstanceTypes": lambda: aws.room(REGION, "c6a.2xlarge"),
    }
    for name, call in calls.items():
        for code, status in (("UnauthorizedOperation", 403), ("Odd", 400), ("Odd", 500)):
            faults.before(name, *[answer(code, status)] * 3)
            with pytest.raises(Fault):
                await call()
            faults._before.clear()


def test_source__only_errors__names_botocore_exceptions() -> None:
    for path in CLOUD.rglob("*.py"):
        imported = {
            node.module
            for node in ast.walk(tree(path.read_text()))
            if isinstance(node, ast.ImportFrom)
        }
        assert ("botocore.exceptions" in imported) == (path.stem == "errors")


def test_source__every_call_to_aws__is_translated() -> None:
    """A client is touched only where `ask`, `run` or `translated` stands around it."""
    for path in CLOUD.rglob("*.py"):
        text = path.read_text()
        if "clients.ec2(" in text or "_clients." in text:
            assert "calls.ask(" in text or "clients.run(" in text or "translated(" in text, path
