"""What several endpoints say of a market, asked one by one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol

import structlog

from agent.chain.endpoints import Endpoints
from agent.chain.events import Log
from agent.chain.head import Finality, block_ref, block_request
from agent.chain.rpc import NodeRefused, Reader, Rpc
from agent.market.model import Address, BlockNumber, BlockRef, Job, JobId, Price
from agent.market.terms import Terms
from agent.market.testimony import VOICES, Listing, Story, Testimony, alike, compare
from agent.markets.retry import later
from faults import RetryLater

log = structlog.get_logger()

MOST_LOGS = 1_000  # blocks that are compared at once: 33 minutes of 2 s each


class Readable(Protocol):
    """A market's reads, through all endpoints or a single one."""

    def through(self, reader: Reader) -> Readable:
        """The same market as another reader sees it."""
        ...

    async def terms(self, at: BlockRef) -> Terms: ...

    async def jobs(self, ids: Sequence[JobId], at: BlockRef) -> Mapping[JobId, Job]: ...

    async def listing(
        self, provider: Address, at: BlockRef
    ) -> tuple[Collection[JobId], int | None]:
        """The provider's active jobs, and how many the stake is for (None: none is locked)."""
        ...

    async def offer(self, provider: Address, instance_type: str, at: BlockRef) -> Price | None:
        """The provider's listing of one type; None when it is not listed."""
        ...

    async def job_logs(self, first: int, at: BlockRef) -> list[Log]:
        """The events that speak of jobs, from block `first` up to `at`. Raises NodeRefused."""
        ...


class SecondEndpoint:
    """`ports.Witness`: what different endpoints say, so that one is not the one that claimed it.

    Only for `endpoints.count >= 2`; with one endpoint there is no witness. `jobs_in` names the jobs
    that logs speak of, as for the reader of events; `heard` is told which endpoint has which logs.
    """

    def __init__(
        self,
        market: Readable,
        endpoints: Endpoints,
        provider: Address,
        finality: Finality,
        jobs_in: Callable[[Sequence[Log]], Collection[JobId]],
    ) -> None:
        self._market = market
        self._endpoints = endpoints
        self._provider = provider
        self._finality = finality
        self._jobs_in = jobs_in
        self.heard: Callable[[str, Sequence[Log]], None] = lambda endpoint, logs: None
        self._logs_from: int | None = None  # the block after those that were compared

    async def testify(self, ids: Sequence[JobId], at: BlockRef) -> Testimony:
        """Two are asked; where they differ, all are."""

        async def story(rpc: Rpc) -> Story:
            return await self._story(rpc, ids, at)

        count = self._endpoints.count
        with later():
            told = compare(at, ids, await self._endpoints.voices(story), count)
            if told.disputed and count > VOICES:
                told = compare(at, ids, await self._endpoints.voices(story, count), count)
            return told

    async def _story(self, rpc: Rpc, ids: Sequence[JobId], at: BlockRef) -> Story:
        depth, market = self._finality.depth, self._market.through(rpc)
        tag = "finalized" if depth is None else "latest"
        block, final = await rpc.batch([block_request(at.number), block_request(tag)])
        number = BlockNumber(block_ref(final).number - (depth or 0))
        jobs = await market.jobs(ids, at) if ids else {}
        return Story(block_ref(block), number, await market.terms(at), jobs)

    async def offer(self, instance_type: str, at: BlockRef) -> Price | None:
        """Two are asked, all where they differ."""

        async def told(rpc: Rpc) -> Price | None:
            return await self._market.through(rpc).offer(self._provider, instance_type, at)

        with later():
            found = await self._endpoints.voices(told)
            if len(set(found)) > 1 and self._endpoints.count > VOICES:
                found = await self._endpoints.voices(told, self._endpoints.count)
        return alike(found, f"the listing of {instance_type} at block {at}")

    async def lists(self) -> Sequence[Listing]:
        with later():
            found = await self._endpoints.voices(self._listing, self._endpoints.count)
        if not found:
            raise RetryLater("no RPC endpoint lists this provider's jobs")
        if len(found) < VOICES:
            # It may be the one that jobs are not read from: who hides a job there is silent here.
            log.info("witness.one_list", jobs=len(found[0].active))
            return found
        # From the lowest head on again: what another one hid in its newest blocks is seen then.
        self._logs_from = min(listing.at.number for listing in found) + 1
        return found

    async def _listing(self, rpc: Rpc) -> Listing:
        market = self._market.through(rpc)
        at = block_ref((await rpc.batch([block_request("latest")]))[0])
        active, most = await market.listing(self._provider, at)
        return Listing(at, frozenset(active), await self._named(rpc, at), most)

    async def _named(self, rpc: Rpc, at: BlockRef) -> frozenset[JobId]:
        """The jobs of the logs since the last comparison; none of a range that is too wide: what
        matters of them is in the list of jobs, too."""
        first = at.number if self._logs_from is None else min(self._logs_from, at.number)
        try:
            logs = await self._market.through(rpc).job_logs(max(first, at.number - MOST_LOGS), at)
        except NodeRefused as refused:
            log.info("witness.no_logs", endpoint=str(rpc.url), error=str(refused))
            return frozenset()
        self.heard(str(rpc.url), logs)
        return frozenset(self._jobs_in(logs))
