"""What a host is told of its enclave's network and start, and which registers must follow."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import replace

import pytest

from agent.decide.host_orders import (
    MISSED_SECONDS,
    STAGED_SECONDS,
    EnclaveRules,
    PacketRules,
    attest_when_due,
    prepare_hosts,
    question_for,
    write_desired,
)
from agent.decide.job_view import Facts, Host, ImagePhase, ImageView, Probe
from agent.decide.keepalive import run_id
from agent.decide.lifecycle import plan
from agent.decide.plan import Attest, Draft, Launch, StageImage, Terminate, WriteDesired
from agent.market.model import JobId
from agent.market.workload import Workload
from enclave.attest.init_params import KNOWN_IMAGES, KnownImage, pcr16_of
from enclave.host.documents import PACKETS, Desired, Init, Port
from tests.agent.decide.test_without_slash_point import OPENED, RULES, RUN, WORK, host, kinds, view
from tests.agent.samples import HOME, IMAGE, NOW

pytestmark = pytest.mark.unit

FORWARDS = EnclaveRules(ports=(Port(1300, 1300),))
WITH_PACKETS = EnclaveRules(packets=PacketRules(kbit=500, mail=True))
DIGEST = hashlib.sha256(b"").digest()
PARAMS = json.dumps({"digest": base64.b64encode(DIGEST).decode(), "params": []}).encode()


def orders(rules: EnclaveRules, work: Workload = WORK, job: int = 7) -> WriteDesired:
    opened = replace(OPENED, id=JobId(job), workload=work)
    found = write_desired(view(host(), job=opened, id=JobId(job)), host(), IMAGE, "run-1", rules)
    assert Desired.from_json(json.loads(json.dumps(found.desired.to_json()))) == found.desired
    return found


def test_orders__forwards_and_no_params__any_host_program_understands_them() -> None:
    found = orders(FORWARDS)
    assert (found.desired.schema, found.params) == (1, b"")
    assert found.desired.ports == (Port(1300, 1300),)


def test_orders__params__are_named_by_digest_and_the_enclave_has_its_context() -> None:
    found = orders(FORWARDS, replace(WORK, init_params=PARAMS))
    sha256 = hashlib.sha256(PARAMS).hexdigest()
    assert found.desired.init == Init("0x" + "7".zfill(64), sha256, len(PARAMS))
    assert (found.desired.enclave_cid, found.desired.ports) == (88, (Port(1300, 1300),))
    assert found.params == PARAMS
    assert "digest" not in repr(found)


@pytest.mark.parametrize("job", [0, 7, (1 << 255) + 3])
def test_orders__packets__no_ports_and_an_init_server_even_without_params(job: int) -> None:
    desired = orders(WITH_PACKETS, job=job).desired
    assert (desired.network, desired.egress_kbit, desired.mail) == (PACKETS, 500, True)
    assert (desired.ports, desired.egress, desired.enclave_cid) == ((), (), 88)
    assert desired.init == Init(f"0x{job:064x}", hashlib.sha256(b"").hexdigest(), 0)


def _asked(pcrs: dict[int, str], work: Workload, rules: EnclaveRules = FORWARDS) -> Attest:
    image, draft = replace(IMAGE, pcrs=pcrs), Draft("running")
    opened = replace(OPENED, workload=work)
    name = replace(host(), probe=Probe())
    seen = ImageView(ImagePhase.READY, NOW, image, staged={HOME: NOW})
    one = _running_as(name, work)
    question = question_for(view(name, job=opened, image=seen), one, rules)
    attest_when_due(question, one, NOW, 60.0, draft)
    (action,) = draft.actions
    assert isinstance(action, Attest)
    return action


def _running_as(one: Host, work: Workload) -> Host:
    run = run_id(1, 1, 0, work)
    assert one.status is not None
    return replace(one, status=replace(one.status, run_id=run), desired_run=run)


BLUE: dict[int, str] = dict(enumerate(KNOWN_IMAGES[0].pcrs))


@pytest.mark.parametrize(
    ("pcrs", "params", "register"),
    [(BLUE, PARAMS, pcr16_of(DIGEST)), (BLUE, b"", None), (BLUE, b"{}", None),
     ({**BLUE, 1: "0" * 96}, PARAMS, None)],
)  # fmt: skip
def test_attest__a_known_image_and_its_params__register_16_must_follow(
    pcrs: dict[int, str], params: bytes, register: str | None
) -> None:
    action = _asked(pcrs, replace(WORK, init_params=params, debug=False))
    assert (action.image.pcrs, action.init_pcr) == (pcrs, register)


@pytest.mark.parametrize(
    ("known", "debug", "register"),
    [(True, False, pcr16_of(DIGEST)), (False, False, None), (True, True, None)],
)
def test_attest__an_image_the_operator_knows__register_16_must_follow_but_in_debug_mode(
    known: bool, debug: bool, register: str | None
) -> None:
    mine = KnownImage("mine", ("1" * 96, "2" * 96, "3" * 96))
    rules = replace(FORWARDS, known_images=(*KNOWN_IMAGES, *([mine] if known else [])))
    work = replace(WORK, init_params=PARAMS, debug=debug)
    assert _asked(dict(enumerate(mine.pcrs)), work, rules).init_pcr == register
    assert _asked(dict(enumerate(mine.pcrs)), work, replace(rules, debug=True)).init_pcr is None


def test_run__other_params__is_another_run() -> None:
    assert run_id(1, 1, 0, replace(WORK, init_params=PARAMS)) != RUN


@pytest.mark.parametrize(("knows", "given"), [(1, b""), (1, b"{}"), (2, b"{}")])
def test_change__that_the_host_s_program_can_not_read__moves_it_beside(
    knows: int, given: bytes
) -> None:
    changed = replace(
        OPENED, workload=replace(WORK, debug=False, url="ipfs://y", init_params=given)
    )
    old = host(proven=True, launched_at=NOW - 900.0)
    assert old.status is not None
    old = replace(old, status=replace(old.status, knows=knows))
    image = ImageView(ImagePhase.READY, NOW, replace(IMAGE, url="ipfs://y"), staged={HOME: NOW})
    seen = view(old, job=changed, image=image, facts=Facts(proven=1))
    decided = plan(seen, NOW, RULES)
    too_old = knows == 1 and bool(given)
    assert (Launch in kinds(decided)) == too_old
    assert (WriteDesired in kinds(decided)) == (not too_old)
    assert Terminate not in kinds(decided)
    assert too_old == any("up to schema 1" in note.text for note in decided.notes)


@pytest.mark.parametrize(
    ("seen_ago", "words", "looked"),
    [
        (0.0, None, None),
        (STAGED_SECONDS - 1, None, None),
        (STAGED_SECONDS, None, False),  # the bucket expires what nobody writes again
        (-3600.0, None, False),  # the clock was set back
        (MISSED_SECONDS - 1, "images/ab: HTTP 404, not there or not allowed", None),
        (MISSED_SECONDS, "images/ab: HTTP 404, not there or not allowed", True),
    ],
)
def test_image__staged_a_while_ago__is_looked_for_again_when_old_or_missed(
    seen_ago: float, words: str | None, looked: bool | None
) -> None:
    one = host()
    assert one.status is not None
    fetching = replace(one.status, phase="fetching", last_error=words)
    one = replace(one, status=fetching if words else one.status)
    image = ImageView(ImagePhase.READY, NOW, IMAGE, staged={HOME: NOW - seen_ago})
    draft = Draft("running")
    prepare_hosts(view(one, image=image), [one], NOW, draft, FORWARDS)
    staged = [action for action in draft.actions if isinstance(action, StageImage)]
    assert [(one.region, one.missed) for one in staged] == (
        [] if looked is None else [(HOME, looked)]
    )
