"""One life of the agent over JSON-RPC: the chain's side is opened first, as the daemon does.

What `agent.wiring.agent` makes of a configuration, over transports that lead to a storm's nodes.
The process is dead when it was killed: what it still would ask ends the task that asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.chain.endpoints import Endpoints
from agent.chain.events import EventReader
from agent.chain.fees import FeePolicy
from agent.chain.head import Finality, HeadFollower, HeadTracker, Pace
from agent.chain.rpc import Json
from agent.chain.transaction_log import TxRecord
from agent.chain.transactions import Patience, Transactions
from agent.config.model import Gas
from agent.journal.reading import Reader
from agent.journal.transactions import TxJournal
from agent.load.fault_claims import FaultClaims
from agent.market.model import Wei
from agent.markets.registry.reads import fault_vote
from agent.markets.second_endpoint import SecondEndpoint
from agent.markets.transactor import MarketTransactor
from agent.markets.wakes import ChainWakes
from agent.ports import Clock, Witness
from agent.wiring.markets import AnyMarket, calls_of, events_of, provider_view
from devnet.simulation.names import US
from devnet.simulation.process import ChainSide, HeardJournal, Life, Manner, Rest
from devnet.simulation.wire.chain import CHAIN_ID
from devnet.simulation.wire.node import Node
from devnet.simulation.wire.signing import StormSigner
from faults import RetryLater

POLL_SECONDS = 1.0
MAX_LAG_SECONDS = 60.0


@dataclass
class Line:
    """A `Transport` of one life to one node. `sends` is told around each broadcast."""

    node: Node
    alive: Callable[[], bool] = lambda: True
    sends: Callable[[str], None] = lambda when: None

    def __post_init__(self) -> None:
        self.url = self.node.url

    async def close(self) -> None:
        """Nothing is open."""

    async def exchange(self, body: Json) -> Json:
        """As the node answers, while this life lasts."""
        if not self.alive():
            raise asyncio.CancelledError  # kill -9 ends the tasks that nobody holds, too
        broadcast = isinstance(body, dict) and body["method"] == "eth_sendRawTransaction"
        if broadcast:
            self.sends("before")
        answer = await self.node.exchange(body)
        if broadcast:
            self.sends("after")
        return answer


class MortalTxJournal(TxJournal):
    """Of a process that can be killed."""

    def __init__(self, journal: HeardJournal) -> None:
        super().__init__(journal.engine)
        self._journal = journal

    def add(self, record: TxRecord) -> None:
        self._alive()
        super().add(record)

    def change(self, record: TxRecord) -> None:
        self._alive()
        super().change(record)

    def _alive(self) -> None:
        if self._journal.dead:
            raise RetryLater("this process is dead")


@dataclass(frozen=True)
class Wire:
    """What a life finds of the chain: its nodes, and what the operator configured."""

    nodes: Sequence[Node]
    finality: Finality
    sends: Callable[[str], None]
    market: Callable[[Endpoints], AnyMarket]


class WireLife(Life):
    """Opens the chain, then runs. Ends with RetryLater when no node answers at the start."""

    def __init__(self, rest: Rest, wire: Wire, manner: Manner) -> None:
        super().__init__(manner)
        self.task = asyncio.create_task(self._run(rest, wire), name="agent")

    async def _run(self, rest: Rest, wire: Wire) -> None:
        lines = [Line(node, lambda: not self.journal.dead, wire.sends) for node in wire.nodes]
        endpoints = await Endpoints.over(
            lines, rest.clock, chain_id=CHAIN_ID, max_lag_seconds=MAX_LAG_SECONDS
        )
        chain = _wired(rest.clock, wire, endpoints, self.journal)
        agent = self.begin(rest, chain)
        self._heed_auditors(chain.witness, rest.clock, endpoints.count)
        await agent.run()

    def _heed_auditors(self, witness: Witness | None, clock: Clock, endpoints: int) -> None:
        if self.state is not None and isinstance(witness, SecondEndpoint):
            claims = FaultClaims(
                self.state.world.memory, fault_vote, clock, self.journal.event,
                self.state.agenda.wake, endpoints,
            )  # fmt: skip
            witness.heard = claims.heard


def _wired(clock: Clock, wire: Wire, endpoints: Endpoints, journal: HeardJournal) -> ChainSide:
    """The chain over JSON-RPC, as `agent.wiring` puts it together for that market."""
    market, finality = wire.market(endpoints), wire.finality
    events = events_of(market, US, clock, journal.event)
    for read in events.restores:
        read(Reader(journal.engine))()
    second = SecondEndpoint(market, endpoints, US, finality, events.jobs_in)
    follower = HeadFollower(HeadTracker(endpoints, finality), clock, Pace(poll=POLL_SECONDS))
    logs = EventReader(endpoints, market.contract, events.topics, events.jobs_in)
    return ChainSide(
        market=provider_view(market, HeadTracker(endpoints, finality), US),
        wakes=ChainWakes(follower, logs),
        transactor=_transactor(clock, market, endpoints, wire, journal),
        witness=second if endpoints.count > 1 else None,
    )


def _transactor(
    clock: Clock, market: AnyMarket, endpoints: Endpoints, wire: Wire, journal: HeardJournal
) -> MarketTransactor:
    gas = Gas()
    transactions = Transactions(
        endpoints, StormSigner(), MortalTxJournal(journal), clock,
        policy=FeePolicy(
            cap_per_gas=Wei(gas.max_fee_wei),
            per_job=Wei(gas.per_job_wei),
            per_day=Wei(gas.per_day_wei),
        ),
        finality=wire.finality,
        patience=Patience(replace=gas.replace_seconds),
    )  # fmt: skip
    return MarketTransactor(transactions, calls_of(market), clock)
