"""The host program in a region's bucket, for as long as instances are to boot with it.

It is written once, when the agent starts; whoever empties a bucket, or has what is old in it expire
(a rule of the company's), takes it away, and instances that boot then say nothing for ever: each of
their jobs would be missed. So it is looked for before the orders of a host are written. Whoever
boots asks for it again and again, and finds it then. It is listed, not read: reading it is no right
of the agent's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from cloud import layout
from cloud.model import Region
from faults import Fault

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import ObjectTypeDef

log = structlog.get_logger()

SEEN_SECONDS = 60.0  # a crowd of hosts asks once

Put = Callable[[str, bytes], Awaitable[None]]
Listing = Callable[[Region, str, str], Awaitable["list[ObjectTypeDef]"]]  # of a prefix, for what


class Programs:
    """Of all regions that this process published one in."""

    def __init__(self, listing: Listing, now: Callable[[], float]) -> None:
        self._list = listing
        self._now = now
        self._programs: dict[Region, tuple[str, bytes]] = {}
        self._seen: dict[Region, float] = {}

    async def publish(self, region: Region, digest: str, program: bytes, put: Put) -> None:
        """Write it, and keep it there from now on."""
        key = layout.program_key(digest)
        await put(key, program)
        self._programs[region], self._seen[region] = (key, program), self._now()

    async def keep(self, region: Region, put: Put) -> None:
        """Write it again if it is gone. No orders wait for what can't be told or done now."""
        seen, now = self._seen.get(region), self._now()
        if region not in self._programs or (seen is not None and 0 <= now - seen < SEEN_SECONDS):
            return
        key, program = self._programs[region]
        self._seen[region] = now
        try:
            found = await self._list(region, key, f"looking for the host program in {region}")
            if (key, len(program)) not in [(one["Key"], one["Size"]) for one in found]:
                await put(key, program)
                log.warning("mailbox.program_anew", region=region, text="it was gone")
        except Fault as fault:
            self._seen.pop(region, None)  # the next orders look again
            log.warning("mailbox.program_unseen", region=region, error=str(fault))
