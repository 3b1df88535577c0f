"""Metadata by the ten thousand, as users and accidents write it: from the text to what is decided.

Nothing raises, what is taken is what was said, and a job that is refused has nothing bought or
fetched for it, nor its type looked up. `make fuzz NAMES=metadata` plays more.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from agent.decide.job_view import ImageView, JobView, Observed
from agent.decide.lifecycle import LifecycleRules, plan
from agent.decide.plan import FetchImage, Launch
from agent.decide.refusal import PolicyRules
from agent.market.model import Job, JobId, Price
from agent.markets.marketv1.reads import _Fields, _open_job
from agent.markets.marketv1.terms import MarketV1Terms
from agent.wiring.rules import _url_form
from tests.agent.markets.marketv1.test_metadata import GOOD, KIND, check
from tests.agent.samples import ACCOUNT, BLOCK, NOW, OTHER, ROOM, US
from tests.fuzz.budget import examples

pytestmark = pytest.mark.unit

CARD = Price(10**12)
URL_FORM = _url_form(frozenset(), open_urls=True)
RULES = LifecycleRules(
    policy=PolicyRules(
        prices={str(KIND): CARD}, regions=frozenset({KIND.region}), url_form=URL_FORM, debug=True
    )
)

# What stands where something else belongs; the first ones of each are taken.
ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2.0, 1e300, 2**31, 2**63, 10**19, "", " ", "2", "\x00", "\ud800",
    "é" * 40,
    [], {}, [[]], {"a": {"b": [1]}}, "x" * 3000, "..", "us-east-1", "a" * 33,
)  # fmt: skip
VALUES: dict[str, tuple[Any, ...]] = {
    "instance": ("c6a.xlarge", "c6a.2xlarge", "c6a", "C6A.xlarge", "c6a.xlarge;ls", "t3.nano"),
    "region": ("ap-south-1", "us-east-1", "ap-south-1 ", "mars-north-1", "ap-south-100"),
    "memory": (4096, 1, 2**25, 2**25 + 1, 64), "vcpu": (2, 1, 1024, 1025),
    "url": (
        "https://artifacts.example/base.eif", "http://artifacts.example/base.eif", "ipfs://x",
        "https://127.0.0.1/x", "https://a.example:444/x", "file:///etc/passwd",
        "https://u:p@a.example/",
        "https://169.254.169.254/latest", "https://a.example/" + "x" * 2029, "//a.example",
        "ipfs://" + "b" * 59,
    ),
    "family": ("tuna", "salmon", "TUNA"), "debug": (False, True, "true"),
    "init_params": ("e30=", "e30", "!!", "====", "e30=" * 700_0, ""),
    "name": ("a job", 7, None),
}  # fmt: skip


def _cut(text: str, dice: random.Random) -> str:
    return text[: dice.randrange(len(text))]


def _double(text: str, dice: random.Random) -> str:
    at = dice.randrange(len(text))
    return text[:at] + text[dice.randrange(len(text)) :] + text[at:]


def _swap(text: str, dice: random.Random) -> str:
    at = dice.randrange(len(text))
    return text[:at] + dice.choice('{}[]",:\\0-.eE \n\x00\ud7ffnt/') + text[at + 1 :]


def _nested(text: str, dice: random.Random) -> str:
    return dice.choice(("[", '{"a":')) * dice.randrange(1, 2000) + text


MISHAPS: tuple[Callable[[str, random.Random], str], ...] = (
    *(_cut, _double, _nested), *(_swap,) * 3,
)  # fmt: skip


def _fields(dice: random.Random) -> dict[str, Any]:
    """Metadata of which one to three values are other ones of their key, or anything."""
    found = dict(GOOD)
    for _ in range(dice.randrange(1, 4)):
        key = dice.choice(list(VALUES))
        found[key] = dice.choice(VALUES[key] if dice.random() < 0.7 else ODD)
        if dice.random() < 0.1:
            del found[key]
    return found


def text(dice: random.Random) -> bytes:
    """One metadata, whole or damaged."""
    written = json.dumps(_fields(dice), ensure_ascii=dice.random() < 0.5)
    for _ in range(dice.choice((0, 0, 1, 3))):
        written = dice.choice(MISHAPS)(written, dice) or "{"
    return written.encode("utf-8", "surrogatepass")


def _job(raw: bytes) -> Job:
    """As the contract tells it: at the card's rate, paid for an hour."""
    return _open_job(JobId(0), _Fields(raw, OTHER, US, CARD.raw, 3600, NOW), None, None)


def _view(job: Job) -> JobView:
    return JobView(
        id=job.id, account=ACCOUNT, terms=MarketV1Terms({str(KIND): CARD}), head_block=BLOCK,
        head=job, observed=Observed(NOW, NOW, NOW - 500, 500.0), image=ImageView(), room=ROOM,
    )  # fmt: skip


def test_metadata__whatever_is_written__is_served_as_said_or_refused_for_nothing() -> None:
    dice, served, refused = random.Random(), 0, 0
    seed = dice.randrange(2**32)
    dice.seed(seed)
    for number in range(examples(4_000)):
        raw = text(dice)
        told = f"seed {seed}, text {number}: {raw[:300]!r}"
        job = _job(raw)
        if len(raw) < 10_000:
            check(raw)
        decided = plan(_view(job), float(NOW), RULES)
        if decided.stage == "refused":
            refused += 1
            assert decided.actions == (), told
            assert decided.buys is None, told
            continue
        served += 1
        assert {type(each) for each in decided.actions} == {Launch, FetchImage}, told
        assert job.workload is not None, told
        assert job.instance_type == str(KIND), told
        assert URL_FORM(job.workload.url) is None, told
    assert min(served, refused) > examples(4_000) // 50  # both sides of the border are met
