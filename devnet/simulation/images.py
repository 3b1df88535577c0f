"""Retrieval of images in a simulation: all that are not named hostile are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent.ports import Clock, Image
from devnet.simulation.model_faults import Weather
from enclave.eif.signature import Signer
from faults import Refused


@dataclass
class SimImages:
    """`Images`: every URL has an image, but for those that are named hostile."""

    clock: Clock
    weather: Weather
    seconds: float = 10.0
    hostile: set[str] = field(default_factory=set)
    held: dict[int, str] = field(default_factory=dict)
    stored: set[str] = field(default_factory=set)
    distrusted: list[str] = field(default_factory=list)
    done: Callable[[str], None] = lambda text: None
    signer: Signer | None = None  # of every image

    async def fetch(self, url: str, *, job: int, deadline: float, pin: str = "") -> Image:
        await self.weather.before("images.fetch")
        if url not in self.stored:
            await self.clock.sleep(self.seconds)
        if url in self.hostile:
            raise Refused("section 1 overlaps the header")
        self.stored.add(url)
        self.held[job] = url
        await self.weather.after("images.fetch")
        digest = f"{abs(hash_of(url)):064x}"
        return Image(
            url=url,
            cid=url.removeprefix("ipfs://"),
            path=Path("/images") / digest,
            size_bytes=1 << 20,
            sha256=digest,
            pcrs={0: digest[:48] * 2},
            architecture="x86_64",
            min_memory_mib=256,
            signer=self.signer,
        )

    async def distrust(self, cid: str) -> None:
        await self.weather.before("images.distrust")
        self.distrusted.append(cid)
        self.stored.discard(f"ipfs://{cid}")

    async def release(self, job: int) -> None:
        await self.weather.before("images.release")
        self.held.pop(job, None)


def hash_of(text: str) -> int:
    """The same number for the same text in every process."""
    return int.from_bytes(text.encode()[-24:].rjust(24, b"."), "big")
