"""One provider's view of MarketV1, as the agent's core asks for it (`agent.ports`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agent import ports
from agent.chain.head import HeadTracker
from agent.market.model import Address, BlockRef, Job, JobId, Price
from agent.market.terms import Abilities
from agent.markets.any_endpoint import by_any
from agent.markets.marketv1.reads import Market
from agent.markets.marketv1.terms import MarketV1Terms
from agent.markets.retry import later

# With the journal lost, a rate below this part of the card is taken for one that its user lowered.
# Above it, it may be the card that was raised since: what runs at an older one runs on.
FORGOTTEN_SHARE = 2


class ProviderMarketV1:
    """`ports.Market`. Faults that another endpoint might not have leave as RetryLater."""

    def __init__(self, market: Market, tracker: HeadTracker, provider: Address) -> None:
        self._market = market
        self._tracker = tracker
        self._provider = provider

    @property
    def abilities(self) -> Abilities:
        return MarketV1Terms.abilities

    async def blocks(self) -> ports.Blocks:
        with later():
            head = await self._tracker.poll()
        return ports.Blocks(head.block, head.finalized)

    async def terms(self, at: BlockRef) -> MarketV1Terms:
        return self._market.own_terms

    async def jobs(self, ids: Sequence[JobId], at: BlockRef) -> Mapping[JobId, Job]:
        return await by_any(self._market, lambda market: market.jobs(ids, at))

    async def active_jobs(self, at: BlockRef) -> Sequence[JobId]:
        """Those that are still paid for."""
        return await by_any(self._market, lambda market: market.served_jobs(self._provider, at))

    async def offer(self, instance_type: str, at: BlockRef) -> Price | None:
        """Nothing stands on this chain of what is offered: rate cards are asked for by HTTP."""
        return None

    def took(self, job: Job, *, bought: bool) -> Price | None:
        """Remembers the rate: the contract keeps the present one alone. One that was found running
        and of which nothing is remembered may have been lowered since it was taken, to 1 even."""
        taken = self._market.seen.taken
        if job.id in taken:
            return None
        card = self._market.own_terms.min_rates.get(job.instance_type, Price(0))
        least = Price(0) if bought else Price(card.raw // FORGOTTEN_SHARE)
        taken[job.id] = max(job.price, least)
        return taken[job.id]

    def forget(self, job: JobId) -> None:
        """An id is given once by the contract, but a lie or a fork may have come before."""
        self._market.seen.taken.pop(job, None)

    async def rival(self, instance_type: str, at: BlockRef) -> Price | None:
        """Nor of what others offer."""
        return None

    async def fixed(self, at: BlockRef) -> Mapping[str, str]:
        """The token that jobs are paid in, and the code behind the proxy."""
        with later():
            token = await self._market.payment_token(at)
            code = await self._market.implementation(at)
        return {"token": str(token.address), "code": str(code)}

    async def openings(self, at: BlockRef) -> None:
        """Jobs lock no stake."""
