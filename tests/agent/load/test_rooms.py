"""Whose rooms are asked of the cloud: of types on offer alone, where users write what they like."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from agent.load.loader import Loader
from agent.market.model import JobId
from cloud.model import EnclaveRoom, Region
from tests.agent.samples import HOME, JOB, ROOM

pytestmark = pytest.mark.unit


class Asked:
    def __init__(self) -> None:
        self.types: list[str] = []

    async def room(self, region: Region, instance_type: str) -> EnclaveRoom:
        self.types.append(instance_type)
        return ROOM


@pytest.mark.parametrize(("offered", "asked"), [(True, 3), (False, 1)])
async def test_rooms__of_types_that_jobs_name__are_asked_where_they_are_on_offer(
    offered: bool, asked: int
) -> None:
    cloud: Any = Asked()
    memory = SimpleNamespace(known=lambda _: SimpleNamespace(heard=None))
    sources: Any = SimpleNamespace(
        cloud=cloud, regions=(HOME,), memory=memory, witness=None, clock=None
    )
    mine = f"{HOME}/c6a.xlarge"
    loader = Loader(sources, lambda text: offered or text == mine)
    named = [mine, mine, f"{HOME}/zz9.large", f"{HOME}/zz8.large", "mars-east-1/c6a.xlarge", ""]
    heads = {JobId(n): replace(JOB, instance_type=text) for n, text in enumerate(named)}
    for _ in range(2):
        await loader._learn_rooms(list(heads), heads)
    assert len(cloud.types) == asked
