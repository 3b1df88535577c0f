"""What the attester believes of an answer over HTTP."""

from __future__ import annotations

import gzip
from pathlib import Path

import httpx
import pytest

from agent.apply.attester import MAX_BODY_BYTES, AttestationRules, HttpAttester
from agent.ports import Image
from cloud.model import Identity, Instance, InstanceId, InstanceState, Region, Zone
from devnet.guest.nsm import Misbehaviour, SimulatedEnclave, SimulatedNsm
from enclave.attest.document import AttestationRefused
from faults import RetryLater

pytestmark = pytest.mark.unit

NOW = 1_750_000_000.0
NSM = SimulatedNsm()
PCRS = {0: "11" * 48, 1: "22" * 48, 2: "33" * 48}
OTHER = {0: "44" * 48, 1: "44" * 48, 2: "44" * 48}
ID = InstanceId("i-0123456789abcdef0")


async def attest(answer: httpx.Response, *, allow_debug: bool = False) -> None:
    image = Image("ipfs://x", "x", Path("x"), 1, "", PCRS, "x86_64", 1)
    instance = _instance()
    client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer))
    rules = AttestationRules(root_pem=NSM.root_pem, allow_debug=allow_debug)
    attester = HttpAttester(rules, client)
    try:
        found = await attester.attest(instance, image, now=NOW)
    finally:
        await attester.close()
    assert found.instance == instance.id


def document(
    pcrs: dict[int, str] = PCRS, *, debug: bool = False, wrong: Misbehaviour = Misbehaviour.NONE
) -> httpx.Response:
    enclave = SimulatedEnclave(ID, pcrs, debug=debug)
    made = NSM.attest(enclave, now=NOW, misbehave=wrong)
    return httpx.Response(200, stream=httpx.ByteStream(made))


async def test_attest__the_jobs_image__is_attested() -> None:
    await attest(document())


@pytest.mark.parametrize("allow_debug", [False, True])
async def test_attest__another_image__is_refused_whatever_is_allowed(allow_debug: bool) -> None:
    with pytest.raises(AttestationRefused, match=r"\(pcr\)"):
        await attest(document(OTHER), allow_debug=allow_debug)


async def test_attest__debug_mode__only_where_allowed() -> None:
    await attest(document(debug=True), allow_debug=True)
    with pytest.raises(AttestationRefused, match=r"\(debug-mode\)"):
        await attest(document(debug=True))


async def test_attest__another_instance__is_refused() -> None:
    with pytest.raises(AttestationRefused, match=r"\(instance\)"):
        await attest(document(wrong=Misbehaviour.WRONG_PCR4))


async def test_attest__a_small_answer_that_unpacks_to_much__is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(20 << 20))
    assert 12_288 < len(bomb) < MAX_BODY_BYTES
    stream = httpx.ByteStream(bomb)
    answer = httpx.Response(200, headers={"Content-Encoding": "gzip"}, stream=stream)
    with pytest.raises(AttestationRefused, match=r"\(size\)"):
        await attest(answer)


async def test_attest__an_answer_without_end__is_cut() -> None:
    with pytest.raises(RetryLater, match="more than"):
        await attest(httpx.Response(200, stream=httpx.ByteStream(bytes(MAX_BODY_BYTES + 1))))


def _instance() -> Instance:
    return Instance(
        id=ID,
        region=Region("us-east-1"),
        zone=Zone("us-east-1a"),
        instance_type="c6a.xlarge",
        state=InstanceState.RUNNING,
        identity=Identity(1, "0xc", "0xp", 1, 1, 1),
        launched_at=NOW,
        public_ip="192.0.2.1",
    )
