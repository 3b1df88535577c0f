"""What the status server is told: one frozen view of the agent, made by the agent's core.

Money is in base units of its token; times are unix seconds; durations seconds. Nothing here may
hold a secret: endpoints come as their redacted names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from enum import StrEnum
from typing import Any, Protocol

from agent.markets.marketv1.cards import RateCard, TrafficRate
from agent.status.finding import Found, Query
from agent.status.health import Health


class JobState(StrEnum):
    """What a job is to its provider; the `state` label of the jobs metric."""

    BOOTSTRAPPING = "bootstrapping"  # assigned, not yet reported started
    RUNNING = "running"
    EXITING = "exiting"  # RequestToExitJob is on the chain, the cool-down is served
    ENDING = "ending"  # over on the chain, instances not yet confirmed gone
    ENDED = "ended"  # over, and nothing of it runs; looked at a little longer
    REFUSED = "refused"  # not served; the journal has the reason


@dataclass(frozen=True, slots=True)
class StageRow:
    """One stage of a job's way. `ended_at` None: it is going on."""

    name: str
    started_at: float
    ended_at: float | None = None


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job as people look at it. `deadline` is the next second that matters, `deadline_is` why.

    `earned` is what is due to the provider by now, settled or not; `escrow` what is left for the
    user. `usual_seconds` is how long the present stage usually takes, 0 when unknown.
    """

    id: int
    generation: int
    instance_type: str
    state: JobState
    stage: str
    since: float
    price: int
    earned: int = 0
    escrow: int = 0
    deadline: float | None = None
    deadline_is: str = ""
    usual_seconds: float = 0.0
    instance: str = ""
    zone: str = ""
    public_ip: str = ""
    attempt: int = 1
    image: str = ""
    note: str = ""
    stages: tuple[StageRow, ...] = ()

    @property
    def region(self) -> str:
        """The AWS region in the type."""
        return self.instance_type.partition("/")[0]


@dataclass(frozen=True, slots=True)
class TypeRow:
    """One type on offer: whether it is listed, and how many more jobs of it fit.

    `price` is the listing's, or what it is to be; `wanted` what the agent goes by (None: the type
    is not to be listed), `listing` what the chain shows under our key. While `ordered` a person
    waits for the two to agree; `trouble` says why they do not yet.
    """

    instance_type: str
    price: int
    listed: bool
    more: int
    limited_by: str
    vcpus: int = 0
    memory_mib: int = 0
    architecture: str = ""
    network_mbps: int = 0  # the instance's baseline; 0: not known
    hidden: bool = False  # its rate card is not shown: nothing more fits, or nothing new is taken
    blocked: str = ""  # why nothing of it can be launched now
    wanted: int | None = None
    listing: int | None = None
    ordered: bool = False
    trouble: str = ""
    cost: int | None = None  # what AWS asks for it, in price units; None: not known
    margin: float | None = None  # whole tokens an hour that the listing leaves
    rule: str = ""  # what the price's rule does just now, and why; empty: it has none


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One RPC node, by its redacted name."""

    name: str
    healthy: bool
    lag_blocks: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class ChainRow:
    """Where the chain is, as the best node says, polled whether there are jobs or not."""

    head: int = 0
    head_at: float = 0.0
    final: int = 0
    endpoints: tuple[EndpointRow, ...] = ()


@dataclass(frozen=True, slots=True)
class MoneyRow:
    """Earnings in the payment token, stake in POND, gas in the coin (all base units).

    `rate` is what all running jobs earn together, in price units (base units x 10^12 a second).
    """

    symbol: str = "USDC"
    decimals: int = 6
    earned_today: int = 0
    earned_total: int = 0
    rate: int = 0
    stake_total: int = 0
    stake_locked: int = 0
    stake_symbol: str = "POND"
    stake_decimals: int = 18
    coin_balance: int = 0
    gas_day: int = 0
    gas_day_budget: int = 0
    gas_jobs: float | None = None  # how many jobs' transactions the coin pays for, at fees of now
    window_seconds: int = 0  # how long a job may take to be up; 0: the market does not say
    goal_seconds: int = 0  # within which watchers look for it, where there is no window
    stake_jobs: int | None = None  # how many more jobs the stake allows


@dataclass(frozen=True, slots=True)
class MarketRow:
    """What the market has: stakes, offers on its chain, slashes. What it has not is not shown."""

    has_stake: bool = True
    lists_on_chain: bool = True
    slashes: bool = True


@dataclass(frozen=True, slots=True)
class CallRow:
    """How often AWS was asked one thing in one region since the start."""

    region: str
    call: str
    sent: int
    throttled: int


@dataclass(frozen=True, slots=True)
class View:
    """The agent at one moment, without its jobs: what it costs to make does not grow with them.
    `health` says what is the matter, `notices` what was ordered."""

    provider: str
    registry: str
    chain_id: int
    version: str
    started_at: float
    progress_at: float
    health: Health = field(default_factory=Health)
    notices: tuple[str, ...] = ()
    types: tuple[TypeRow, ...] = ()
    chain: ChainRow = field(default_factory=ChainRow)
    money: MoneyRow = field(default_factory=MoneyRow)
    regions: tuple[str, ...] = ()
    aws_calls: tuple[CallRow, ...] = ()
    aws_ahead_seconds: float | None = None  # by AWS's clock, of this machine's
    held: int = 0  # terminations that the breaker holds
    reported: int = 0  # jobs that auditors report, and that answer here
    disputed: int = 0  # jobs of which RPC nodes tell different things
    file: tuple[str, ...] = ()  # how the file differs from what runs, a setting a line
    config: str = ""  # where the file is
    stands_by: bool = False  # another host leads
    term: int = 0  # of the lease, while this host holds it; 0: it is alone, or stands by
    closed: str = ""  # why nothing is listed at all: draining, paused; empty: offers are open
    market: MarketRow = field(default_factory=MarketRow)
    explorer: str = ""  # where links to the chain lead; empty: there are none


@dataclass(frozen=True, slots=True)
class Crowd:
    """One page of the jobs that were asked for; of all jobs, how many there are in each state and
    the nearest slash point or goal of one that is coming up."""

    page: Found[JobRow]
    counts: Mapping[JobState, int]
    nearest: float | None


@dataclass(frozen=True, slots=True)
class Census:
    """How many jobs there are in each state; of those that come up, the least time left to a slash
    point or goal, in seconds and as a share of its job's own window; None: nothing comes up.
    `drops`: packets of the instances there are that did not pass, by `traffic.REASONS`."""

    counts: Mapping[JobState, int] = field(default_factory=dict)
    seconds: float | None = None
    share: float | None = None
    drops: Mapping[str, int] = field(default_factory=dict)


class ViewSource(Protocol):
    """The agent as a whole; every method answers from memory, at once."""

    def progress_at(self) -> float:
        """When the loop last finished a pass, unix seconds."""
        ...

    def summary(self) -> View:
        """The agent now."""
        ...

    def census(self) -> Census:
        """Its jobs, counted: a look at each, and no more."""
        ...


class StatusSource(ViewSource, Protocol):
    """And its jobs. Implemented by the agent's core."""

    def find(self, query: Query) -> Crowd:
        """The jobs that are asked for."""
        ...

    def job(self, number: int) -> JobRow | None:
        """One of them; what it costs does not grow with their number."""
        ...

    def jobs(self) -> Iterator[JobRow]:
        """All that are there at the first one, each as it is when it is taken: whoever takes them
        lets others run in between."""
        ...

    def card_files(self) -> tuple[Sequence[RateCard], Sequence[TrafficRate]]:
        """Of files that rate cards are in: those of which another job may fit, and what traffic
        costs by region."""
        ...


_JOB = tuple(each.name for each in fields(JobRow))
# Of money what is no amount.
_COUNTS = ("decimals", "stake_decimals", "window_seconds", "goal_seconds", "stake_jobs")


def view_json(view: View, now: float, stall_seconds: float) -> dict[str, Any]:
    """The view for programs and the page; amounts as texts, since they exceed 2^53. Jobs come
    beside it (`job_json`)."""
    data = asdict(view)
    data["types"] = [_type_json(row) for row in view.types]
    data["money"] = {
        key: str(value) if isinstance(value, int) and key not in _COUNTS else value
        for key, value in asdict(view.money).items()
    }
    data["health"] = {
        "word": view.health.word,
        "parts": [{**asdict(part), "line": part.line} for part in view.health.parts],
    }
    return {"now": now, "stalled": now - view.progress_at > stall_seconds, **data}


def _type_json(row: TypeRow) -> dict[str, Any]:
    data = asdict(row)
    amounts = {key: data[key] for key in ("price", "wanted", "listing", "cost")}
    return {**data, **{key: None if raw is None else str(raw) for key, raw in amounts.items()}}


def job_json(job: JobRow) -> dict[str, Any]:
    """One job, its amounts as texts."""
    data = {name: getattr(job, name) for name in _JOB}  # asdict copies deeply, which takes longest
    data |= {key: str(data[key]) for key in ("price", "earned", "escrow")}
    return {**data, "stages": [asdict(stage) for stage in job.stages]}
