"""What `jobs show` says is proven, and what it says is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.journal.lines import ATTESTED, IMAGE_PINNED, IMAGE_READY, Event
from agent.load.pins import name_of
from agent.load.proofs import proofs_of
from agent.market.workload import Workload
from commands.proofs import facts_of, to_json
from tests.agent.samples import JOB

pytestmark = pytest.mark.unit

URL = "https://files.example/x.eif?sig=s3cret"
WORK = Workload(URL, 4096, 2)
PINNED = Event(5.0, IMAGE_PINNED, JOB.id, 1, fields={"url_name": name_of(URL), "sha256": "ab" * 32})
PROVED = Event(9.0, ATTESTED, JOB.id, 1)


def said(*lines: Event, url: str = URL, **work: Any) -> str:
    job = replace(JOB, enclave_url=url, workload=replace(WORK, url=url, **work))
    proofs = proofs_of(job, lines)
    assert "s3cret" not in repr(to_json(proofs))
    return "\n".join(f"{name}: {text}" for name, text in facts_of(proofs))


def test_image_by_url__is_said_to_be_by_url_alone_and_which_bytes_run() -> None:
    text = said(PINNED, PROVED)
    assert "image by URL alone" in text
    assert "ab" * 32 in text
    assert "instance and image (its PCRs)" in text
    assert "s3cret" not in text


def test_image_by_another_url_since__is_not_said_to_be_the_pinned_one() -> None:
    assert "ab" * 32 not in said(PINNED, url="https://files.example/y.eif")


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("ipfs://bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", "its CID"),
        (f"https://files.example/x#sha256={'ab' * 32}", "the digest in its URL"),
        ("http://files.example/x", "nothing that can be fetched"),
    ],
)
def test_image__named_by_its_content_or_not_at_all__is_said(url: str, word: str) -> None:
    assert word in said(url=url)


def test_nothing_attested__is_said() -> None:
    assert "proven: nothing yet" in said(PINNED)


def test_another_image_since__is_not_attested_yet() -> None:
    assert "proven: nothing yet" in said(PROVED, Event(10.0, IMAGE_READY, JOB.id, 1))
    ready = Event(8.0, IMAGE_READY, JOB.id, 1)
    assert "proven: nothing yet" not in said(ready, PROVED)


def test_debug__proves_the_instance_and_not_the_image() -> None:
    text = said(PROVED, debug=True)
    assert "not the image" in text
    job = replace(JOB, workload=replace(WORK, debug=True))
    assert to_json(proofs_of(job, [PROVED]))["image_attested"] is False


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"init_params": "proven"}, "init params proven"), ({}, "not proven")],
)
def test_init_params__proven_or_not__is_said(fields: dict[str, Any], words: str) -> None:
    assert words in said(replace(PROVED, fields=fields), init_params=b"{}")
    assert "init params" not in said(replace(PROVED, fields=fields))


def test_known_image__is_named_by_where_it_is_published() -> None:
    ready = Event(3.0, IMAGE_READY, JOB.id, 1, fields={"known": "https://a.example/blue.eif"})
    assert "known: https://a.example/blue.eif" in said(ready, PINNED)
