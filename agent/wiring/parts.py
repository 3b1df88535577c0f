"""What is open before an agent is put together of it."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from agent.config import Config
from agent.market.model import Address
from agent.markets.second_endpoint import SecondEndpoint
from agent.ports import Account, Clock, Market, Witness
from agent.wiring.adapters import finality_of, provider_of
from agent.wiring.chain import Chain
from agent.wiring.cloud import open_cloud
from agent.wiring.journal import OpenJournal
from agent.wiring.markets import Events, events_of, provider_view
from cloud.aws import Aws
from cloud.model import Region
from faults import UsageFault


@dataclass(frozen=True, slots=True)
class Parts:
    """One provider's account on one chain and in AWS, and what hears of it."""

    config: Config
    clock: Clock
    account: Account
    regions: tuple[Region, ...]
    chain: Chain
    opened: OpenJournal
    aws: Aws
    market: Market
    watched: Events
    endpoints_apart: SecondEndpoint

    @property
    def witness(self) -> Witness | None:
        """All endpoints against each other; None where there is one alone."""
        return self.endpoints_apart if self.chain.endpoints.count > 1 else None

    @property
    def decimals(self) -> int:
        """Of the token that jobs are paid in."""
        return self.chain.payment.decimals


async def open_parts(
    config: Config, chain: Chain, opened: OpenJournal, clock: Clock, stack: AsyncExitStack
) -> Parts:
    """Opens AWS beside the chain. Raises what `open_cloud` does, and UsageFault: the wallet is not
    the provider's where the provider itself has to sign."""
    provider = provider_of(config, chain.signer)
    account = Account(chain.endpoints.chain_id, chain.market.contract, provider)
    regions = tuple(Region(name) for name in config.aws.regions)
    aws = await open_cloud(config, account, opened, regions, clock, stack)
    market = provider_view(chain.market, chain.tracker, provider)
    if market.abilities.reports_start:
        _signs_itself(chain, provider)
    staked = (chain.pond.symbol, chain.pond.decimals) if chain.pond else ()
    watched = events_of(chain.market, provider, clock, opened.journal.event, staked)
    apart = SecondEndpoint(
        chain.market, chain.endpoints, provider, finality_of(config), watched.jobs_in
    )
    return Parts(config, clock, account, regions, chain, opened, aws, market, watched, apart)


def _signs_itself(chain: Chain, provider: Address) -> None:
    signs = chain.signer.address if chain.signer else None
    if provider != signs:
        text = f"chain.provider is {provider}, the wallet's account {signs}"
        raise UsageFault(f"{text}: on this market the provider itself has to sign; leave it out")
