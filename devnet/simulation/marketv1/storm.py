"""One seed, one run on MarketV1: its model, its owners, and the agent over JSON-RPC between.

The cloud, its troubles, the chain's forks and the agent's lives are those of `devnet.simulation`.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.chain.endpoints import Endpoints
from agent.load.remembered import JobMemory
from agent.market.model import JobId, Price
from agent.markets.marketv1.reads import Market
from agent.markets.marketv1.terms import MarketV1Terms
from agent.ports import Call, Order
from agent.wiring.markets import AnyMarket
from devnet.simulation import people
from devnet.simulation.blocks import Block, BlockChain
from devnet.simulation.marketv1.asked import mark
from devnet.simulation.marketv1.invariants import MarketV1Invariants
from devnet.simulation.marketv1.model import MarketV1, job_id
from devnet.simulation.marketv1.owners import Act, Wish, draw_owners, timeline
from devnet.simulation.marketv1.told import WAYS, WORDS, MarketV1Told
from devnet.simulation.marketv1.truth import Truth
from devnet.simulation.names import OTHER, REGISTRY, US
from devnet.simulation.opinions import Lie, Views
from devnet.simulation.people import UNIT, USERS
from devnet.simulation.storm import Storm
from devnet.simulation.watch import Watch
from devnet.simulation.wire.chain import WireChain
from devnet.simulation.wire.contract import Told

WAIT_SECONDS = 300  # of a rate that was announced
PRICES = {kind: Price(UNIT) for kind in people.TYPES}


def order_of(function: str, args: tuple[Any, ...]) -> Order:
    """The order behind the one call that a provider sends here."""
    return Order(function, Call.SETTLE, job=JobId(int.from_bytes(args[0], "big")))


@dataclass
class MarketV1Storm(Storm):
    """Always over JSON-RPC: what this market's reads remember of ids is the agent's own."""

    def __post_init__(self) -> None:
        self.drawn = draw_owners(
            self.what.seed, self.what.jobs, within=self.what.within, wait_seconds=WAIT_SECONDS
        )

    def _chain(self) -> BlockChain:
        model = MarketV1(int(self.clock.now()), WAIT_SECONDS)
        for who in (US, OTHER, *USERS):
            model.state.money[who] = 2**200
        return WireChain(
            self.clock, self.weather, model, self.what.block_seconds, self.what.depth,
            words=WORDS, order_of=order_of,
        )  # fmt: skip

    def _told(self, views: Views) -> Told:
        return MarketV1Told(views, WORDS, wait_seconds=WAIT_SECONDS)

    def _market(self, endpoints: Endpoints) -> AnyMarket:
        return Market(endpoints, REGISTRY, MarketV1Terms(PRICES))

    def ways(self) -> Sequence[Lie]:
        return WAYS

    def _watch(self) -> Watch:
        self.ledger = None
        return MarketV1Invariants(*self._watched(), truth=Truth(self.drawn.meanings))

    def _block(self, block: Block) -> None:
        self.cloud.pass_time(self.clock.now())
        self.watch.block(block)

    # Its people.

    def _users(self) -> Coroutine[Any, Any, None]:
        return self._owners()

    async def _owners(self) -> None:
        for second, index, act in timeline(self.drawn.wishes):
            await self.until(second)
            self._do(self.drawn.wishes[index], act)

    def _do(self, wish: Wish, act: Act | None) -> None:
        if act is None:
            args = (wish.metadata, wish.provider, wish.rate, wish.balance)
            self.chain.submit(wish.owner, "jobOpen", *args)
        elif (number := self._number(wish)) is not None:
            self.chain.submit(wish.owner, act.function, job_id(number), *act.args)

    def _number(self, wish: Wish) -> int | None:
        """The id that a wish has on the chain of now; a fork may give it another. A text that lost
        its mark is of nobody's wish any more."""
        marked = mark(wish.number)
        jobs = self.chain.head.state.jobs.items()
        return next((n for n, job in jobs if marked in job.metadata), None)

    # Its end.

    def _last_request(self) -> float:
        steps = timeline(self.drawn.wishes)
        return steps[-1][0] if steps else 0.0

    def _memory(self) -> Mapping[JobId, JobMemory]:
        """Of jobs that are over: what is refused and pays on, a little, has to be remembered."""
        watch = self.watch
        assert isinstance(watch, MarketV1Invariants)
        known = super()._memory()
        return {number: one for number, one in known.items() if not watch.waiting(number)}

    def _pending(self) -> bool:
        """Whether somebody is to be served, or something is to be settled."""
        watch = self.watch
        assert isinstance(watch, MarketV1Invariants)
        jobs = self.chain.head.state.jobs
        return any(watch.paid(number) for number in jobs) or bool(watch.unsettled())
