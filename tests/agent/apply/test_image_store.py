"""What the core sees of stored images: jobs of the same image share one object."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.apply.image_store import IMAGES_SHARED, StoredImages
from enclave.fetch.store import StoredImage
from tests.clocks import MovingClock

pytestmark = pytest.mark.unit


class Fetched:
    """A fetcher that has everything: `sha256` of what it gives may change."""

    def __init__(self) -> None:
        self.sha256 = "a"

    async def fetch(self, url: str, *, holder: str, seconds_left: float, pin: str) -> StoredImage:
        del holder, seconds_left, pin
        return StoredImage(url, Path(url), 1, self.sha256, {0: "0"}, "x86_64", (), 1.0, None)

    def is_open(self, url: str) -> bool:
        return False


async def test_fetch__the_same_image_for_two_jobs__is_one_object_until_it_changes() -> None:
    fetched = Fetched()
    images = StoredImages(fetched, MovingClock(0.0))  # type: ignore[arg-type] # what is used of it
    first = await images.fetch("u", job=1, deadline=1.0)
    assert await images.fetch("u", job=2, deadline=1.0) is first
    fetched.sha256 = "b"
    assert (await images.fetch("u", job=3, deadline=1.0)).sha256 == "b"


async def test_fetch__more_images_than_are_shared__are_themselves() -> None:
    images = StoredImages(Fetched(), MovingClock(0.0))  # type: ignore[arg-type] # what is used
    urls = [str(number) for number in range(IMAGES_SHARED + 2)]
    assert [(await images.fetch(url, job=1, deadline=1.0)).url for url in urls] == urls
    assert len(images._shared) == IMAGES_SHARED
