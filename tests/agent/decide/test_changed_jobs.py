"""What a job was changed to is vetted before anything is bought or ordered for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.decide.changed_jobs import ask_of
from agent.decide.job_view import Facts, ImagePhase, ImageView, Probe
from agent.decide.keepalive import run_id
from agent.decide.lifecycle import plan
from agent.decide.plan import FetchImage, Launch, WriteDesired
from agent.decide.refusal import PolicyRules
from agent.market.model import Address, Job, Price, Wei
from agent.market.workload import Ask
from enclave.web.image_list import ImageList
from tests.agent.decide.test_without_slash_point import (
    OPENED,
    RULES,
    RUN,
    WORK,
    host,
    kinds,
    notes,
    view,
)
from tests.agent.samples import HOME, IMAGE, NOW

pytestmark = pytest.mark.unit

TAKEN = ask_of(OPENED)
DEAR = "us-east-1/p4d.24xlarge"
CARDS = {OPENED.instance_type: OPENED.price, DEAR: Price(100 * OPENED.price.raw)}
DENIED = ImageList.read(["c" * 64])
STRICT = replace(RULES, policy=PolicyRules(min_escrow_seconds=0, prices=CARDS, deny_images=DENIED))


def changed(**work: Any) -> Job:
    new = replace(WORK, **work)
    return replace(OPENED, workload=new, enclave_url=new.url)


REFUSED = {
    "price": replace(OPENED, instance_type=DEAR),
    "type": replace(OPENED, instance_type="us-east-1/t2.nano"),
    "memory": changed(memory_mib=999_999),
    "cpu": changed(cpu_count=64),
    "family": changed(family="salmon"),
    "debug": changed(debug=True),
    "init_params": changed(init_params=bytes((1 << 20) + 1)),
    "image": changed(url="ipfs://y"),
    "metadata": replace(OPENED, unreadable="no JSON", workload=None, instance_type=""),
}
OTHER_IMAGE = ImageView(
    ImagePhase.READY, NOW, replace(IMAGE, url="ipfs://y", cid="y", sha256="c" * 64),
    staged={HOME: NOW},
)  # fmt: skip


def image_of(job: Job) -> ImageView:
    mine = ImageView(ImagePhase.READY, NOW, IMAGE, staged={HOME: NOW})
    return OTHER_IMAGE if job.enclave_url == "ipfs://y" else mine


@pytest.mark.parametrize("rule", REFUSED)
@pytest.mark.parametrize("remembered", [True, False])
def test_change__to_what_would_not_be_taken__is_neither_ordered_nor_bought(
    rule: str, remembered: bool
) -> None:
    """Its host serves on, dies, or is restarted: also by an agent that remembers nothing."""
    job = REFUSED[rule]
    facts = Facts(proven=1, accepted=TAKEN if remembered else None)
    there = view(host(), job=job, facts=facts, image=image_of(job))
    running = plan(there, NOW, STRICT)
    assert not kinds(running) & {WriteDesired, Launch, FetchImage}
    assert "job.change_refused" in notes(running)
    silent = replace(host(), probe=Probe(asked_at=NOW - 1, failures=99), quiet_seconds=1e6)
    ill = plan(view(silent, job=job, facts=facts, image=image_of(job)), NOW, STRICT)
    assert not kinds(ill) & {WriteDesired, Launch}
    if remembered:
        gone = plan(view(job=job, facts=facts, image=image_of(job)), NOW, STRICT)
        assert not kinds(gone) & {Launch, FetchImage}


@pytest.mark.parametrize("rule", REFUSED)
def test_change__before_it_is_up__buys_no_second_instance_for_it(rule: str) -> None:
    """It was accepted as something else; the host that is late is raced by nothing."""
    late = replace(host(), status=None, desired_run=None)
    now = NOW + 900.0
    job, facts = REFUSED[rule], Facts(vetted=1, accepted=TAKEN)
    seen = view(late, job=job, now=now, facts=facts, image=image_of(job))
    assert not kinds(plan(seen, now, STRICT)) & {Launch, WriteDesired}
    alone = view(job=job, facts=facts, image=image_of(job))
    assert plan(alone, NOW, STRICT).stage == "refused"


def test_id__that_now_is_another_users_job__is_vetted_as_a_new_one() -> None:
    """A lie that ended, or a fork, gave it away: what was accepted was another job."""
    denied = Address("0x" + "d" * 40)
    rules = replace(STRICT, policy=replace(STRICT.policy, deny_owners=frozenset({denied})))
    job = replace(OPENED, user=denied)
    for hosts in ((), (replace(host(), status=None, desired_run=None),)):
        seen = view(*hosts, job=job, now=NOW + 900.0, facts=Facts(vetted=1, accepted=TAKEN))
        assert Launch not in kinds(plan(seen, NOW + 900.0, rules))


def test_change__to_what_is_served__is_bought_and_ordered() -> None:
    facts = Facts(proven=1, accepted=TAKEN)
    paid = replace(OPENED, instance_type=DEAR, price=CARDS[DEAR], escrow=Wei(1000 * OPENED.escrow))
    assert Launch in kinds(plan(view(job=paid, facts=facts), NOW, STRICT))
    smaller = changed(memory_mib=2048)
    assert Launch in kinds(plan(view(job=smaller, facts=facts), NOW, STRICT))


def test_policy__that_is_new__changes_nothing_for_what_was_taken() -> None:
    """Another card, another list, no debug mode any more: such a job is served as it was taken."""
    work = replace(WORK, debug=True, url="ipfs://y")
    job = replace(OPENED, workload=work, enclave_url="ipfs://y", price=Price(1))
    facts = Facts(proven=1, accepted=ask_of(job))
    assert Launch in kinds(plan(view(job=job, facts=facts, image=OTHER_IMAGE), NOW, STRICT))
    booted = replace(host(run=run_id(1, 1, 0, work)), status=None, desired_run=None)
    ordered = plan(view(booted, job=job, facts=facts, image=OTHER_IMAGE), NOW, STRICT)
    assert WriteDesired in kinds(ordered)


def test_ask__that_nobody_remembers__is_what_the_host_runs() -> None:
    assert ask_of(OPENED) == Ask(OPENED.user, OPENED.instance_type, RUN[-17:-9], RUN[-8:])
