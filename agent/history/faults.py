"""Auditors' reports of blocks that nobody watched, as each endpoint tells them.

A report never expires: one that was made while no agent ran counts towards a slash as any other,
and is read at the next start from the final block that the journal noted last. What one endpoint
alone tells counts as little as elsewhere (`agent.load.fault_claims`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from agent.chain.endpoints import Endpoints
from agent.chain.events import MAX_RANGE_BLOCKS, Cursor, EventReader, Log
from agent.chain.head import MOST_SECONDS, Head, block_ref, block_request
from agent.chain.rpc import NodeRefused, Rpc, integer
from agent.load.fault_claims import MOST_AUDITORS, FaultClaims
from agent.market.model import Address
from agent.market.testimony import VOICES
from faults import RetryLater

log = structlog.get_logger()

MOST_BLOCKS = MOST_AUDITORS  # of which the time is asked, of one endpoint


class FaultHistory:
    """Of one contract's one event, `topic`."""

    def __init__(
        self,
        endpoints: Endpoints,
        contract: Address,
        topic: str,
        claims: FaultClaims,
        max_range_blocks: int = MAX_RANGE_BLOCKS,
    ) -> None:
        self._endpoints = endpoints
        self._contract = contract
        self._topic = topic
        self._claims = claims
        self._range = max_range_blocks

    async def read(self, cursor: Cursor, head: Head) -> None:
        """Everything since the cursor. Raises RetryLater: too few endpoints told."""
        count = self._endpoints.count

        async def told_by(rpc: Rpc) -> bool:
            return await self._told_by(rpc, cursor, head)

        told = sum(await self._endpoints.voices(told_by, count))
        if told < min(VOICES, count):
            raise RetryLater(f"{told} of {count} endpoints tell of auditors' reports")

    async def _told_by(self, rpc: Rpc, cursor: Cursor, head: Head) -> bool:
        """Whether the endpoint told all of it."""
        found: list[Log] = []
        events = EventReader(rpc, self._contract, [self._topic], lambda logs: (), self._range)
        events.heard = found.extend
        try:
            changes = await events.changes(cursor, head)
            ours = [each for each in found if self._claims.concerns(each)]
            times = await _times(rpc, ours)
        except RetryLater as later:
            log.info("history.no_voice", endpoint=str(rpc.url), error=str(later))
            return False
        for each in ours:
            self._claims.heard(str(rpc.url), [each], times.get(_number(each)))
        return changes.as_of >= head.finalized.number


async def _times(rpc: Rpc, logs: Sequence[Log]) -> Mapping[int | None, float]:
    """When the blocks of these logs were: from the logs where the node says it there."""
    times: dict[int | None, float] = {}
    for each in logs:
        try:
            times[_number(each)] = float(integer(each.get("blockTimestamp"), MOST_SECONDS))
        except NodeRefused:
            continue
    numbers = {number for each in logs if (number := _number(each)) is not None}
    missing = sorted(numbers - times.keys())[-MOST_BLOCKS:]
    if missing:
        blocks = await rpc.batch([block_request(number) for number in missing])
        times |= {block_ref(one).number: float(block_ref(one).timestamp) for one in blocks}
    return times


def _number(each: Log) -> int | None:
    try:
        return integer(each.get("blockNumber"))
    except NodeRefused:
        return None
