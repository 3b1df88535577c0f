"""A host that stands by has the images of the jobs that run, and lets go what runs no more."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import sqlalchemy as sa

from agent.aside import at_once
from agent.journal.lines import ASSIGNED, ENDED, IMAGE_PINNED, IMAGE_READY, Event
from agent.journal.reading import Reader
from agent.journal.schema import metadata
from agent.journal.writing import Journal
from agent.load.pins import name_of
from agent.loop.prefetch import MOST_IMAGES, Prefetch
from agent.market.model import JobId
from faults import RetryLater

pytestmark = pytest.mark.unit

SHA = "ab" * 32


class Images:
    """Notes what is held; refuses what a test says."""

    def __init__(self) -> None:
        self.held = dict[int, tuple[str, str]]()
        self.fetches = 0
        self.away = False

    async def fetch(self, url: str, *, job: int, deadline: float, pin: str = "") -> object:
        self.fetches += 1
        assert deadline > 0
        if self.away:
            raise RetryLater("no gateway answers")
        self.held[job] = (url, pin)
        return object()

    async def release(self, job: int) -> None:
        del self.held[job]


@pytest.fixture
def journal() -> Iterator[Journal]:
    engine = sa.create_engine("sqlite://", poolclass=sa.StaticPool)
    metadata.create_all(engine)
    yield Journal(engine)
    engine.dispose()


def prefetch(journal: Journal) -> tuple[Prefetch, Images]:
    images = Images()
    state: Any = SimpleNamespace(
        reader=Reader(journal.engine), aside=at_once, now=lambda: 100.0,
        world=SimpleNamespace(images=images),
    )  # fmt: skip
    return Prefetch(state), images


def told(journal: Journal, job: int, url: str, *names: str, at: float = 1.0) -> None:
    for name in names:
        fields = {"url": url} if name == ASSIGNED else {"sha256": SHA, "url_name": name_of(url)}
        journal.event(Event(at, name, JobId(job), fields=fields))
    assert journal.flush()


async def test_prefetch__jobs_that_run__are_held_once_an_image_and_let_go_at_their_end(
    journal: Journal,
) -> None:
    each, images = prefetch(journal)
    told(journal, 1, "ipfs://a", ASSIGNED, IMAGE_READY)
    told(journal, 2, "ipfs://a", ASSIGNED, IMAGE_READY)
    told(journal, 3, "https://x/y.eif", ASSIGNED, IMAGE_READY, IMAGE_PINNED)
    told(journal, 4, "ipfs://unverified", ASSIGNED)
    await each.look()
    await each.look()
    assert images.held == {2: ("ipfs://a", ""), 3: ("https://x/y.eif", SHA)}
    assert images.fetches == 2
    told(journal, 2, "", ENDED, at=2.0)
    told(journal, 3, "", ENDED, at=2.0)
    await each.look()
    assert images.held == {1: ("ipfs://a", "")}


async def test_prefetch__nothing_to_be_had__is_tried_at_the_next_look(journal: Journal) -> None:
    each, images = prefetch(journal)
    told(journal, 1, "ipfs://a", ASSIGNED, IMAGE_READY)
    images.away = True
    await each.look()
    assert images.held == {}
    images.away = False
    await each.look()
    assert images.held == {1: ("ipfs://a", "")}


async def test_prefetch__more_jobs_than_one_read_takes__finds_the_images_of_the_oldest(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.loop.prefetch.JOBS_A_READ", 2)
    each, images = prefetch(journal)
    for job, url in enumerate(["ipfs://old", "ipfs://b", "ipfs://b", "ipfs://c", "ipfs://b"]):
        told(journal, job, url, ASSIGNED, IMAGE_READY)
    told(journal, 5, "ipfs://over", ASSIGNED, IMAGE_READY)
    told(journal, 5, "", ENDED, at=2.0)
    await each.look()
    assert images.held == {0: ("ipfs://old", ""), 3: ("ipfs://c", ""), 4: ("ipfs://b", "")}


async def test_prefetch__nothing_was_noted_since__reads_no_history_again(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    each, images = prefetch(journal)
    told(journal, 1, "ipfs://a", ASSIGNED, IMAGE_READY)
    await each.look()
    with monkeypatch.context() as patched:
        patched.setattr("agent.loop.prefetch.wanted", pytest.fail)
        await each.look()
    told(journal, 1, "", ENDED, at=2.0)
    await each.look()
    assert images.held == {}


async def test_prefetch__more_images_than_are_kept__has_the_newest(journal: Journal) -> None:
    each, images = prefetch(journal)
    for job in range(1, MOST_IMAGES + 5):
        told(journal, job, f"ipfs://{job}", ASSIGNED, IMAGE_READY)
    await each.look()
    assert set(images.held) == set(range(5, MOST_IMAGES + 5))
