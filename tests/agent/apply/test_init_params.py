"""A document without the register of a job's init params proves nothing; one with it does."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from agent.apply import hosts
from agent.decide.plan import Attest
from agent.load.fleet import Fleet
from agent.ports import Image
from cloud.model import Instance
from faults import Refused
from tests.agent.load.test_fleet_reports import Mail, Nothing
from tests.agent.samples import ACCOUNT, IMAGE, INSTANCE, JOB, NOW
from tests.clocks import StandingClock

pytestmark = pytest.mark.unit

REGISTER = "ab" * 48


class Enclave:
    """Proves these registers and no others."""

    def __init__(self, pcrs: dict[int, str]) -> None:
        self.pcrs = pcrs

    async def attest(self, instance: Instance, image: Image, *, clock: object, debug: bool) -> None:
        if any(self.pcrs.get(number) != register for number, register in image.pcrs.items()):
            raise Refused("pcr: another one")


async def outside(effect: Callable[[], Awaitable[Any]]) -> Any:
    return await effect()


def _world(pcrs: dict[int, str]) -> tuple[Any, list[tuple[str, dict[str, Any]]]]:
    """What `attest` asks of the world, with the real fleet."""
    said: list[tuple[str, dict[str, Any]]] = []
    fleet = Fleet(Nothing(), Mail({}), StandingClock(NOW), ACCOUNT)
    fleet.add(INSTANCE)
    job = SimpleNamespace(image=SimpleNamespace(image=IMAGE), proven=None, head=None)
    world = SimpleNamespace(
        fleet=fleet,
        clock=StandingClock(NOW),
        attester=Enclave(pcrs),
        memory=SimpleNamespace(known=lambda _: job),
        learner=SimpleNamespace(observe=lambda *_: None),
        say=lambda _job, name, *_text, **fields: said.append((name, fields)),
    )
    return world, said


@pytest.mark.parametrize(
    ("proves", "wanted", "name", "words"),
    [
        ({16: REGISTER}, REGISTER, "enclave.attested", "proven"),
        ({}, REGISTER, "enclave.refused", None),
        ({16: "00" * 48}, REGISTER, "enclave.refused", None),
        ({}, None, "enclave.attested", None),
    ],
)
async def test_attest__register_of_the_params__decides_and_is_said(
    proves: dict[int, str], wanted: str | None, name: str, words: str | None
) -> None:
    world, said = _world({**IMAGE.pcrs, **proves})
    await hosts.attest(world, Attest(JOB.id, INSTANCE, IMAGE, "run-1", wanted), outside)  # type: ignore[arg-type]  # a border without a gate
    assert [one for one, _ in said] == [name]
    assert said[0][1].get("init_params") == words
    record = world.fleet.record(INSTANCE.id)
    assert (record.probe.passed_run == "run-1") is (name == "enclave.attested")
