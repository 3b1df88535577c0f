"""Where each type on offer stands against the market: asked of the chain, decides nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from agent.market.model import Address, BlockRef, Offer
from agent.status.cockpit import RankRow


class Offers(Protocol):
    """A market whose offers stand on the chain."""

    async def offers(self, instance_type: str, at: BlockRef) -> list[Offer]: ...


async def ranks(
    market: Offers, provider: Address, kinds: Iterable[str], at: BlockRef
) -> tuple[RankRow, ...]:
    """One row a type. Raises RetryLater, TryElsewhere."""
    return tuple([rank_of(kind, await market.offers(kind, at), provider) for kind in sorted(kinds)])


def rank_of(kind: str, offers: Sequence[Offer], provider: Address) -> RankRow:
    """Offers as the chain matches them: cheapest first, the earlier listing before the later."""
    own = next((n for n, offer in enumerate(offers, 1) if offer.provider == provider), None)
    others = [offer.price.raw for offer in offers if offer.provider != provider]
    price = None if own is None else offers[own - 1].price.raw
    return RankRow(kind, own, len(offers), price, others[0] if others else None)
