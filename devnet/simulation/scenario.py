"""What a seed says before anything happens: size and shape of a run, its first state, its rules.

All of it is drawn from the seed, but for the number of jobs.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from agent.decide.lifecycle import LifecycleRules
from agent.decide.refusal import PolicyRules
from agent.loop.state import Rules, ServiceRules
from agent.market.model import Price, address
from devnet.simulation import loop, people
from devnet.simulation.machine import Lengths
from devnet.simulation.names import OTHER, US
from devnet.simulation.people import AUDITORS, DENIED, UNIT, USERS, Request
from devnet.simulation.protocol import Model, Terms
from devnet.simulation.storm_troubles import Plan, draw, draw_wire

DAY_SECONDS = 86_400
LONGEST = 2.5 * 3600.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """The size and shape of a run, all of it drawn from the seed but the number of jobs."""

    seed: int
    jobs: int
    terms: Terms
    block_seconds: float
    depth: int
    witness: bool
    image_seconds: float
    lengths: Lengths
    others_price: int
    requests: tuple[Request, ...]
    plan: Plan
    latency: float
    within: float  # seconds in which users ask
    wire: bool = False  # the agent speaks JSON-RPC with nodes
    longest: float = LONGEST  # seconds; a run that is not done by then never will be


def scenario(seed: int, jobs: int = 100, *, wire: bool = False, days: float = 0.0) -> Scenario:
    """What the seed says. `days`: jobs live so long at most, most of it in peace; as many things
    go wrong as else, over all that time."""
    stretch = max(1.0, days * DAY_SECONDS / people.LIVES[1])
    rng = random.Random(f"{seed}:scenario")
    within, witness = rng.uniform(300, 1200), rng.random() < 0.6
    draws = draw_wire if wire else draw
    bootstrapping = rng.choice([240, 300, 420, 600])
    return Scenario(
        seed=seed,
        jobs=jobs,
        terms=Terms(1000, bootstrapping, bootstrapping + 120, rng.choice([300, 900]), 2),
        block_seconds=rng.choice([4.0, 6.0, 12.0]),
        depth=rng.choice([3, 6, 12]),
        witness=witness,
        image_seconds=rng.choice([2.0, 15.0, 45.0]),
        lengths=Lengths(listed=900.0, visible=rng.choice([0.0, 3.0, 15.0])),
        others_price=rng.choice([UNIT * 2, UNIT * 2, UNIT // 2]),
        requests=tuple(people.requests(seed, jobs, within=within, stretch=stretch)),
        plan=draws(seed, length=within + 1500 * stretch, witness=witness),
        latency=rng.choice([0.05, 0.3, 1.0]),
        within=within,
        wire=wire,
        # The other provider asks half the price, and a third may be paid in besides.
        longest=LONGEST + 3 * days * DAY_SECONDS,
    )


def rules() -> Rules:
    """As configured by default, for two types, with one user denied."""
    policy = PolicyRules(
        prices={kind: Price(UNIT) for kind in people.TYPES},
        deny_owners=frozenset({DENIED, address(DENIED)}),  # nodes' answers carry checksums
    )
    lifecycle = replace(LifecycleRules(), policy=policy)
    return Rules(lifecycle=lifecycle, service=ServiceRules(orders_seconds=5.0))


def genesis(what: Scenario) -> Model:
    """The market before the first block: staked, listed, everybody has tokens."""
    model = Model(what.terms, AUDITORS, int(loop.START))
    for who in (US, OTHER, *USERS):
        model.state.pond[who] = model.state.money[who] = 10**9
    for who, price in ((US, UNIT), (OTHER, what.others_price)):
        model.call(who, "stake", 10**6)
        for kind in people.TYPES:
            model.call(who, "register", kind, price)
    return model
