"""`doctor` gives one advice for one cause, in whichever check it shows."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from commands.checkup.aws import quotas, types
from faults import Refused

pytestmark = pytest.mark.unit


class Nothing:
    """EC2, asked about a type that it does not have."""

    def __getattr__(self, name: str) -> Any:
        async def refuse(*_: object) -> None:
            raise Refused("us-east-1/nope.large: EC2 has no such type there")

        return refuse


def test_doctor__a_type_that_ec2_does_not_have__both_lines_say_to_remove_it() -> None:
    offer = SimpleNamespace(
        type="us-east-1/nope.large", region="us-east-1", instance_type="nope.large"
    )
    patient: Any = SimpleNamespace(
        aws=Nothing(), config=SimpleNamespace(offers=[offer]), away=set(), terms=None
    )
    found = [*asyncio.run(quotas(patient)), *asyncio.run(types(patient))]
    todos = {one.todo for one in found if one.verdict == "fail"}
    assert len(todos) == 1
    assert "offers remove us-east-1/nope.large" in todos.pop()
