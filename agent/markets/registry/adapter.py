"""One provider's view of the market, as the agent's core asks for it (`agent.ports`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from agent import ports
from agent.chain.head import (
    HeadTracker,
)
from agent.market.model import Address, BlockRef, Job, JobId, Price
from agent.market.terms import Abilities
from agent.markets.any_endpoint import by_any
from agent.markets.registry.reads import Market
from agent.markets.registry.terms import RegistryTerms
from agent.markets.retry import later

log = structlog.get_logger()


class ProviderMarket:
    """`ports.Market`. Faults that another endpoint might not have leave as RetryLater."""

    @property
    def abilities(self) -> Abilities:
        return RegistryTerms.abilities

    def __init__(self, market: Market, tracker: HeadTracker, provider: Address) -> None:
        self._market = market
        self._tracker = tracker
        self._provider = provider

    async def blocks(self) -> ports.Blocks:
        with later():
            head = await self._tracker.poll()
        return ports.Blocks(head.block, head.finalized)

    async def terms(self, at: BlockRef) -> RegistryTerms:
        return await by_any(self._market, lambda market: market.params(at))

    async def jobs(self, ids: Sequence[JobId], at: BlockRef) -> Mapping[JobId, Job]:
        if not ids:
            return {}
        return await by_any(self._market, lambda market: market.jobs(ids, at))

    async def active_jobs(self, at: BlockRef) -> Sequence[JobId]:
        return await by_any(self._market, lambda market: market.jobs_of(self._provider, at))

    async def offer(self, instance_type: str, at: BlockRef) -> Price | None:
        return await by_any(
            self._market, lambda market: market.offer(self._provider, instance_type, at)
        )

    def took(self, job: Job, *, bought: bool) -> Price | None:
        """Its price stays as it is."""
        return None

    def forget(self, job: JobId) -> None:
        """Nothing was taken down."""

    async def rival(self, instance_type: str, at: BlockRef) -> Price | None:
        with later():
            return await self._market.rival(self._provider, instance_type, at)

    async def fixed(self, at: BlockRef) -> Mapping[str, str]:
        """Nobody can change tokens, parameters or code of the registry."""
        return {}

    async def openings(self, at: BlockRef) -> int:
        terms = await self.terms(at)
        with later():
            stake = await self._market.stake_of(self._provider, at)
        return stake.unlocked // max(terms.stake_per_job, 1)
