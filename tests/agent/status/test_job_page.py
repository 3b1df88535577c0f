"""One job's page: what is proven is said in words, and no URL's secret is shown."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from agent.journal.lines import ATTESTED, IMAGE_PINNED, Event
from agent.load.pins import name_of
from agent.market.workload import Workload
from agent.status.explorer import Explorer
from agent.status.job_page import JobFacts, to_json
from agent.status.notebook import Chapter
from tests.agent.samples import JOB

pytestmark = pytest.mark.unit

URL = "https://files.example/x.eif?X-Amz-Signature=s3cret"


def _shown(url: str, *lines: Event, debug: bool = False) -> str:
    job = replace(JOB, enclave_url=url, workload=Workload(url, 4096, 2, debug=debug))
    facts = JobFacts(
        id=job.id, now=500.0, job=job, terms=None, memory=None, row=None, timeline=lines,
        chapter=Chapter("t", assigned_at=100.0), cost=None, gas=0, attested=None, hosts=(),
        explorer=Explorer(""), window_seconds=0,
    )  # fmt: skip
    return json.dumps(to_json(facts))


def test_proof__of_an_image_by_url_alone__is_said_without_the_urls_secret() -> None:
    pinned = {"url_name": name_of(URL), "sha256": "ab" * 32}
    text = _shown(
        URL,
        Event(110.0, IMAGE_PINNED, JOB.id, 1, fields=pinned),
        Event(120.0, ATTESTED, JOB.id, 1),
    )
    assert "image by URL alone" in text
    assert "ab" * 32 in text
    assert "instance and image (its PCRs)" in text
    assert "s3cret" not in text


def test_proof__of_a_debug_enclave__is_of_its_instance() -> None:
    assert "not the image" in _shown(URL, Event(120.0, ATTESTED, JOB.id, 1), debug=True)
