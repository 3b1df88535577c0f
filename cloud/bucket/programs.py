"""The host program in a region's bucket, for as long as instances are to boot with it.

It is written once, when the agent starts; whoever empties a bucket, or has what is old in it expire
(a rule of the company's), takes it away, and instances that boot then say nothing for ever: each of
their jobs would be missed. So it is looked for before the orders of a host are written. Whoever
boots asks for it again and again, and finds it then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from cloud import layout
from cloud.clients import Clients
from cloud.kinds import Missing
from cloud.model import Region
from cloud.settings import Account
from faults import Fault

log = structlog.get_logger()

SEEN_SECONDS = 60.0  # a crowd of hosts asks once

Put = Callable[[str, bytes], Awaitable[None]]


class Programs:
    """Of all regions that this process published one in."""

    def __init__(self, clients: Clients, now: Callable[[], float]) -> None:
        self._clients = clients
        self._now = now
        self._programs: dict[Region, tuple[str, bytes]] = {}
        self._seen: dict[Region, float] = {}

    async def publish(self, region: Region, digest: str, program: bytes, put: Put) -> None:
        """Write it, and keep it there from now on."""
        key = layout.program_key(digest)
        await put(key, program)
        self._programs[region], self._seen[region] = (key, program), self._now()

    async def keep(self, region: Region, account: Account, put: Put) -> None:
        """Write it again if it is gone. No orders wait for what can't be told or done now."""
        seen, now = self._seen.get(region), self._now()
        if region not in self._programs or (seen is not None and 0 <= now - seen < SEEN_SECONDS):
            return
        key, program = self._programs[region]
        try:
            if not await self._is_there(region, account, key, len(program)):
                await put(key, program)
                log.warning("mailbox.program_anew", region=region, text="it was gone")
        except Fault as fault:
            log.warning("mailbox.program_unseen", region=region, error=str(fault))
        else:
            self._seen[region] = now

    async def _is_there(self, region: Region, account: Account, key: str, size: int) -> bool:
        s3 = self._clients.s3(region)
        try:
            head = await self._clients.run(
                f"looking for {key} in {region}",
                lambda: s3.head_object(
                    Bucket=account.bucket(region), Key=key, ExpectedBucketOwner=account.id
                ),
            )
        except Missing:
            return False
        return head["ContentLength"] == size
