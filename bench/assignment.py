"""From the block of JobAssigned to the RunInstances call: the agent's own loop over the real chain
side on the devnet's node, polling every 0.25 s; only AWS is a model, which notes when it is asked.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from functools import partial

import httpx
import structlog

from agent.chain.events import EventReader
from agent.chain.head import Finality, HeadFollower, HeadTracker, Pace
from agent.clock import SystemClock
from agent.deadline import Learner
from agent.fleet import Fleet
from agent.journal import Journal, Reader
from agent.lifecycle import LifecycleRules
from agent.loader import Sources
from agent.market.adapter import ChainWakes, ProviderMarket
from agent.market.model import Address
from agent.market.registry import changed_jobs, job_topics
from agent.memory import Memory
from agent.offering import Offering
from agent.offers import OfferRules
from agent.policy import PolicyRules
from agent.ports import Account
from agent.service import Agent, Rules
from agent.world import World
from bench.chain import Chain, node, prepared, reading, request
from bench.figure import Figure
from cloud.model import Region
from devnet.simulation.cloud import Machine, SimCloud, SimImages
from devnet.simulation.faults import Weather
from devnet.simulation.market import SimMarket
from devnet.simulation.world import new_engine

POLL_SECONDS = 0.25
ROUNDS = 20
WARM_ROUNDS = 4  # the first reads import and compile what is loaded lazily
CROWD = 100
PATIENCE_SECONDS = 60.0


class Stage:
    """One agent on one chain; `asked` collects when RunInstances was called, unix seconds."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain
        self.asked: list[float] = []
        clock = SystemClock()
        self.weather = Weather(clock)
        self.cloud = SimCloud(clock, self.weather, on_launch=self._launched)
        self.clock = clock

    def _launched(self, machine: Machine) -> None:
        self.asked.append(time.time())

    async def agent(self, market: ProviderMarket, wakes: ChainWakes) -> Agent:
        clock, engine = self.clock, new_engine()
        account = Account(self.chain.chain_id, self.chain.calls.registry, self.chain.provider)
        memory, fleet = Memory(), Fleet(self.cloud, self.cloud, clock, account)
        journal, sent = Journal(engine), SimMarket(clock, self.weather)
        world = World(
            cloud=self.cloud,
            mailbox=self.cloud,
            images=SimImages(clock, self.weather),
            attester=self.cloud,
            transactor=sent,
            clock=clock,
            journal=journal,
            memory=memory,
            fleet=fleet,
            learner=Learner(),
        )
        home = (Region("us-east-1"),)
        policy = PolicyRules(regions=frozenset(home), min_escrow_seconds=0)
        sources = Sources(account, market, None, self.cloud, fleet, memory, clock, home)
        offering = Offering(market, self.cloud, sent, clock, journal, {}, OfferRules(follow=False))
        rules = Rules(lifecycle=LifecycleRules(policy=policy))
        return Agent(sources, world, wakes, Reader(engine), offering, rules)


async def _latencies(chain: Chain, client: httpx.Client, crowd: int, rounds: int) -> list[float]:
    """Seconds from the moment the block is there to each launch call, over all rounds."""
    taken: list[float] = []
    async with reading(chain) as (endpoints, _events, registry):
        stage = Stage(chain)
        tracker = HeadTracker(endpoints, Finality(2))
        market = ProviderMarket(registry, tracker, Address(chain.provider))
        follower = HeadFollower(tracker, stage.clock, Pace(poll=POLL_SECONDS))
        jobs_in = partial(changed_jobs, provider=chain.provider)
        events = EventReader(endpoints, chain.calls.registry, job_topics(), jobs_in)
        agent = await stage.agent(market, ChainWakes(follower, events))
        running = asyncio.create_task(agent.run())
        while agent.progress.resynced_at is None:
            await asyncio.sleep(0.1)
        for number in range(-WARM_ROUNDS, rounds):
            await asyncio.sleep(0.05 * (1 + number % 5))
            before = len(stage.asked)
            size = crowd if number >= 0 else 1
            mined_at = await asyncio.to_thread(_mine, chain, client, size)
            await _until(stage.asked, before + size)
            if number >= 0:
                taken += [when - mined_at for when in stage.asked[before:]]
        agent.stop()
        await running
    return taken


def _mine(chain: Chain, client: httpx.Client, crowd: int) -> float:
    """Put `crowd` assignments into one block; when it was there."""
    chain.rpc(client, "evm_setAutomine", False)
    chain.send(client, *(request(chain) for _ in range(crowd)))
    chain.rpc(client, "evm_mine")
    mined_at = time.time()
    chain.rpc(client, "evm_setAutomine", True)
    return mined_at


async def _until(asked: Sequence[float], count: int) -> None:
    """Raises TimeoutError: a launch that never came must not be left out of the figures."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(asked) < count:
            await asyncio.sleep(0.02)


def run() -> list[Figure]:
    """p50 and p99 for one assignment in a block and for a hundred."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    figures: list[Figure] = []
    with node(None) as url, httpx.Client() as client:
        chain = prepared(url, client)
        for crowd, rounds in ((1, ROUNDS), (CROWD, 1)):
            taken = asyncio.run(_latencies(chain, client, crowd, rounds))
            note = f"{len(taken)} launches, py-evm, polling at {POLL_SECONDS} s"
            p50, p99 = statistics.median(taken), _quantile(taken, 0.99)
            name = f"block to RunInstances, {crowd} in a block"
            figures += [
                Figure(f"{name}, p50", p50, "s", 0.3, at_most=True, note=note),
                Figure(f"{name}, p99", p99, "s", 2.0, at_most=True, note=note),
            ]
    return figures


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
