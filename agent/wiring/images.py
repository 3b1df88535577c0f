"""Opens the store of images, and what fetches them into it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path

from agent.apply.image_store import StoredImages
from agent.config import Config
from agent.ports import Clock
from agent.wiring.adapters import image_sources
from agent.wiring.markets import abilities_of
from enclave.fetch.download import FetchLimits, Reach
from enclave.fetch.fetcher import ImageFetcher
from enclave.fetch.store import ImageStore


def open_images(config: Config, clock: Clock, stack: AsyncExitStack) -> StoredImages:
    """Retrieval and store, by the configuration."""
    images = config.images
    reach = Reach(
        sources=image_sources(config),
        allowed_hosts=frozenset(images.allowed_hosts),
        open_urls=abilities_of(config).open_urls,
    )
    limits = FetchLimits(max_bytes=images.max_size_bytes, stall_seconds=images.stall_seconds)
    store = ImageStore(Path(config.image_store), quota_bytes=images.quota_bytes)
    fetcher = ImageFetcher(store, reach, limits)
    stack.push_async_callback(fetcher.close)
    return StoredImages(fetcher, clock)
