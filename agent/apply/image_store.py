"""The images' fetcher and store as the agent's core asks for them (`agent.ports.Images`)."""

from __future__ import annotations

from agent.ports import Clock, Image
from enclave.fetch.fetcher import ImageFetcher
from enclave.fetch.store import StoredImage

MIB = 1 << 20
IMAGES_SHARED = 256  # jobs come with few images: those that are alike are one object
MEMORY_PER_IMAGE = 4  # AWS: enclave memory of at least four times the image


class StoredImages:
    """`Images` over one fetcher; a job is the holder of what it needs."""

    def __init__(self, fetcher: ImageFetcher, clock: Clock) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._shared: dict[str, Image] = {}

    async def fetch(self, url: str, *, job: int, deadline: float, pin: str = "") -> Image:
        """The image, verified and measured. Raises Refused, RetryLater."""
        left = max(0.0, deadline - self._clock.now())
        stored = await self._fetcher.fetch(url, holder=_holder(job), seconds_left=left, pin=pin)
        return self._once(_image(url, stored, by_url=self._fetcher.is_open(url)))

    def _once(self, image: Image) -> Image:
        """The equal one that another job has, if there is one."""
        if self._shared.get(image.url) != image:
            self._shared.pop(image.url, None)
            if len(self._shared) >= IMAGES_SHARED:
                del self._shared[next(iter(self._shared))]
            self._shared[image.url] = image
        return self._shared[image.url]

    async def distrust(self, cid: str) -> None:
        """Remove the image unless its bytes are those that were measured. Raises RetryLater."""
        await self._fetcher.distrust(cid)

    async def release(self, job: int) -> None:
        """`job` does not need its image any more."""
        await self._fetcher.release(_holder(job))


def _holder(job: int) -> str:
    return f"job-{job}"


def _image(url: str, stored: StoredImage, *, by_url: bool) -> Image:
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
        by_url=by_url,
    )
