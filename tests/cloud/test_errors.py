"""Error codes to faults, and that no exception of botocore leaves the package."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest
from botocore.exceptions import BotoCoreError, ClientError
from hypothesis import given
from hypothesis import strategies as st

from cloud import errors
from cloud.aws import Aws
from cloud.errors import (
    Missing,
    NoCapacity,
    NotAllowed,
    OutcomeUnknown,
    QuotaReached,
    Throttled,
    fault_of,
    kind_of,
    translated,
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
        ("NeverSeenBefore", 400, Refused),
    ],
)
def test_kind__code__is_named_by_what_to_do(code: str, status: int, kind: type[Fault]) -> None:
    assert kind_of(code, status) is kind


def test_kinds__what_to_do__is_their_base() -> None:
    assert issubclass(NoCapacity, TryElsewhere)
    assert issubclass(AttemptSpent, Refused)
    assert issubclass(NotAllowed, RetryLater)  # no job is given up for an operator's mistake


def test_codes__each__has_one_meaning() -> None:
    groups = [codes for codes, _ in errors._BY_CODE]
    assert sum(map(len, groups)) == len(frozenset().union(*groups))


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
