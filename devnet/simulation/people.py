"""Everybody but the agent: users, auditors, a competitor, and the operator at his desk.

What users will do is drawn before the run; auditors and the competitor look at each block.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from agent.market.model import Address
from devnet.simulation.blocks import Block, BlockChain
from devnet.simulation.images import hash_of
from devnet.simulation.names import OTHER, US
from devnet.simulation.protocol import Job
from devnet.simulation.storm_cloud import StormCloud

UNIT = 10**12  # one base unit a second
AUDITORS = tuple(f"0xa{number:039d}" for number in range(2))
USERS = tuple(Address(f"0xb{number:039d}") for number in range(5))
DENIED = USERS[4]
TYPES = ("us-east-1/c6a.xlarge", "us-east-1/m6i.xlarge")
HOSTILE = "ipfs://hostile"
POOR = 200  # a deposit that ends before an enclave is up
LIVES = (620.0, 1500.0)  # seconds that a deposit lasts


@dataclass(frozen=True, slots=True)
class Request:
    """What one user will do: ask for a job, top it up, stop it. Seconds of the run; inf: never."""

    at: float
    user: Address
    instance_type: str
    url: str
    max_price: int
    deposit: int
    stops_at: float = float("inf")
    funds_at: float = float("inf")
    funds: int = 0
    leaves_at: float = float("inf")  # the operator orders the exit


def requests(
    seed: int, count: int, *, within: float, images: int = 12, stretch: float = 1.0
) -> list[Request]:
    """`count` requests, in order of time, a few of them such that they should not be served.
    `stretch`: how many times as long as usual all of it takes once it is asked for."""
    rng = random.Random(f"{seed}:people")
    drawn = (_request(rng, within, images) for _ in range(count))
    return sorted((_stretched(one, stretch) for one in drawn), key=lambda one: one.at)


def _stretched(one: Request, by: float) -> Request:
    def later(second: float) -> float:
        return one.at + (second - one.at) * by

    poor = one.deposit == POOR
    return replace(
        one,
        deposit=one.deposit if poor else int(one.deposit * by),
        stops_at=later(one.stops_at),
        funds_at=later(one.funds_at),
        funds=int(one.funds * by),
        leaves_at=later(one.leaves_at),
    )


def _request(rng: random.Random, within: float, images: int) -> Request:
    at, seconds = rng.uniform(1, within), rng.uniform(*LIVES)
    price = rng.choice([UNIT, 3 * UNIT, 7 * 10**11])
    owner = DENIED if rng.random() < 0.03 else rng.choice(USERS[:4])
    url = HOSTILE if rng.random() < 0.03 else f"ipfs://image{rng.randrange(images)}"
    poor = rng.random() < 0.03
    return Request(
        at=at,
        user=owner,
        instance_type=rng.choice(TYPES),
        url=url,
        max_price=price * 100,
        deposit=POOR if poor else int(seconds),
        stops_at=at + rng.uniform(10, 1500) if rng.random() < 0.3 else float("inf"),
        funds_at=at + rng.uniform(50, 1200) if rng.random() < 0.2 else float("inf"),
        funds=rng.randint(1, 500),
        leaves_at=at + rng.uniform(20, 1500) if rng.random() < 0.05 else float("inf"),
    )


@dataclass
class Auditors:
    """Two who look at every job now and then, and report what the protocol lets them report.

    A started enclave is reported when it was not found answering for `patience` seconds.
    """

    chain: BlockChain
    cloud: StormCloud
    patience: float
    silent_since: dict[tuple[int, int], float] = field(default_factory=dict)
    on_report: Callable[[Job, float], None] = lambda job, since: None

    def look(self, block: Block) -> None:
        self.cloud.pass_time(self.chain.clock.now())
        for job in block.state.jobs:
            if job.stop_reason:
                continue
            since = self._fault(job, block.ref.timestamp)
            if since is not None and not self._over(job, block.ref.timestamp):
                self.on_report(job, since)
                for auditor in AUDITORS:
                    if auditor not in job.voters:
                        self.chain.submit(auditor, "reportFault", job.id, job.generation)

    def _over(self, job: Job, now: int) -> bool:
        return any(second <= now for second, _ in self.chain.model.ends(job))

    def _fault(self, job: Job, now: int) -> float | None:
        """Since when it has been silent, when that is long enough to be reported."""
        terms = self.chain.model.terms
        if not job.started_at:
            late = now >= job.assigned_at + terms.job_bootstrapping + 30
            return float(job.assigned_at) if late else None
        key = (job.id, job.generation)
        if job.provider != US or self._serves(job, now):
            self.silent_since.pop(key, None)
            return None
        since = self.silent_since.setdefault(key, float(now))
        long = now - since >= self.patience and now >= job.assigned_at + terms.job_startup
        return since if long else None

    def _serves(self, job: Job, now: float) -> bool:
        """Any enclave of the job that proves itself: a replacement has another address."""
        sha256 = sha_of(job.enclave_url)
        return any(
            self.cloud.serves(machine, sha256, now)
            for machine in self.cloud.of_job(job.id)
            if machine.order.instance_type == job.instance_type.partition("/")[2]
        )


def sha_of(url: str) -> str:
    """The digest of the image behind a URL, as the model of images has it."""
    return f"{hash_of(url):064x}"


@dataclass
class Competitor:
    """Another provider: starts most of what it is given, and is slashed for the rest."""

    chain: BlockChain
    seed: int
    begun: set[tuple[int, int]] = field(default_factory=set)

    def look(self, block: Block) -> None:
        for job in block.state.jobs:
            if job.provider != OTHER or job.stop_reason:
                continue
            ends = self.chain.model.ends(job)
            if ends and block.ref.timestamp >= ends[0][0]:
                self.chain.submit(OTHER, "settle", job.id)
            key = (job.id, job.generation)
            if job.started_at or key in self.begun:
                continue
            self.begun.add(key)
            if random.Random(f"{self.seed}:other:{key}").random() < 0.7:
                self.chain.submit(OTHER, "reportStarted", job.id, "192.0.2.1:1300")


def timeline(wanted: Sequence[Request]) -> Iterator[tuple[float, int, str]]:
    """(second, number of the request, what) for everything that users and operator will do."""
    for number, one in enumerate(wanted):
        yield one.at, number, "request"
        for second, what in (
            (one.stops_at, "stop"),
            (one.funds_at, "fund"),
            (one.leaves_at, "leave"),
        ):
            if second != float("inf"):
                yield second, number, what
