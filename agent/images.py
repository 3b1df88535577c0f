"""The images' fetcher and store as the agent's core asks for them (`agent.ports.Images`)."""

from __future__ import annotations

from agent.ports import Clock, Image
from enclave.fetch import ImageFetcher
from enclave.store import StoredImage

MIB = 1 << 20
MEMORY_PER_IMAGE = 4  # AWS: enclave memory of at least four times the image


class StoredImages:
    """`Images` over one fetcher; a job is the holder of what it needs."""

    def __init__(self, fetcher: ImageFetcher, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock

    async def fetch(self, url: str, *, job: int, deadline: float) -> Image:
        """The image, verified and measured. Raises Refused, RetryLater."""
        left = max(0.0, deadline - self._clock.now())
        stored = await self._fetcher.fetch(url, holder=_holder(job), seconds_left=left)
        return _image(url, stored)

    async def distrust(self, cid: str) -> None:
        """Remove the image unless its bytes are those that were measured. Raises RetryLater."""
        await self._fetcher.distrust(cid)

    async def release(self, job: int) -> None:
        """`job` does not need its image any more."""
        await self._fetcher.release(_holder(job))


def _holder(job: int) -> str:
    return f"job-{job}"


def _image(url: str, stored: StoredImage) -> Image:
    return Image(
        url=url,
        cid=stored.cid,
        path=stored.path,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        pcrs=stored.pcrs,
        architecture=stored.architecture,
        min_memory_mib=-(-MEMORY_PER_IMAGE * stored.size_bytes // MIB),
        signer=stored.signer,
    )
