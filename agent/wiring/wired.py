"""The agent that was put together, and what the service shows and reloads beside it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.config import Config
from agent.config.compare import RELOADED
from agent.history.earnings import Earnings
from agent.history.slashes import SlashHistory
from agent.journal.lease import ServerLease
from agent.load.costs import CostBook
from agent.loop.service import Agent
from agent.loop.state import LoopState
from agent.wiring.adapters import offered_prices
from agent.wiring.alike import Alike
from agent.wiring.cards import CardFiles, card_files
from agent.wiring.chain import Chain
from agent.wiring.costs import price_rules, pricing_rules_of, told_costs
from agent.wiring.markets import ask_for
from agent.wiring.rules import offer_rules_of, rules_of
from cloud.aws import Aws
from cloud.model import Region


@dataclass(slots=True)
class CardBook:
    """Rate cards of files, for whoever shows them; a reload reads them anew."""

    files: CardFiles


@dataclass(slots=True)
class Loaded:
    """What runs: the configuration of the start, with what reloads took up since."""

    config: Config

    def take(self, config: Config) -> None:
        """What a reload takes up, and no more."""
        fresh = {name: getattr(config, name) for name in RELOADED}
        self.config = replace(self.config, **fresh)


@dataclass(frozen=True, slots=True)
class Wired:
    """The agent and what the service shows and reloads beside it."""

    agent: Agent
    state: LoopState
    chain: Chain
    config: Config
    regions: tuple[Region, ...]
    aws: Aws
    history: SlashHistory  # of what events alone tell, in blocks that nobody watched
    loaded: Loaded
    costs: CostBook
    cards: CardBook
    earnings: Earnings | None = None
    kept: ServerLease | None = None
    alike: Alike | None = None  # where there are several hosts

    def reload(self, config: Config) -> None:
        """Policy, prices, deadlines and cadences; chain, wallet and AWS need a restart."""
        decimals, pricing = self.chain.payment.decimals, self.state.pricing
        files = card_files(config)
        self.costs.told = told_costs(config, decimals)
        kept = (
            pricing.take(price_rules(config, decimals), pricing_rules_of(config)) if pricing else {}
        )
        self.state.offering.prices = {**offered_prices(config, decimals), **kept}
        self.cards.files, self.state.offering.bulk = files, files.bulk()
        ask_for(self.chain.market, self.state.offering.asks, config)
        self.state.offering.rules = offer_rules_of(config)
        rules = rules_of(config, decimals)
        policy = replace(
            rules.lifecycle.policy,
            regions=frozenset(self.regions),
            prices=self.state.offering.asks,
        )
        self.state.take(replace(rules, lifecycle=replace(rules.lifecycle, policy=policy)))
        self.loaded.take(config)
        if self.alike is not None:
            self.alike.reloaded()
