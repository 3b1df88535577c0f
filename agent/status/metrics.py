"""What Prometheus is told. A registry of our own; every label set is there from the start.

Two kinds: `Metrics` is handed to whoever does things and counts what happened; `ViewCollector`
turns the present view into gauges when it is scraped, so that they cannot go stale.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from agent.apply import actions as effects
from agent.decide.deadline import Stage
from agent.decide.lifecycle import OUTCOMES
from agent.decide.refusal import WEIGHTS
from agent.ports import Clock
from agent.status.health import KINDS, Grade, Health, behind_seconds
from agent.status.source import Census, JobState, View, ViewSource
from agent.status.traffic import REASONS

STAGES = tuple(stage.value for stage in Stage)
ENDS = (*OUTCOMES, "other")  # "other", here and below, for what is not listed
TRANSACTIONS = ("report_started", "settled", "exit_requested", "exit_finalized", "other")
TX_RESULTS = ("mined", "refused", "later")
LAUNCHES = ("asked", "launched", "nowhere", "later", "blocked", "spent", "refused", "other")
IMAGES = (
    "ready",
    "refused",
    "unavailable",
    "staged",
    "pinned",
    "not_staged",
    "not_released",
    "other",
)
REFUSALS = (*WEIGHTS, "other")
EFFECTS = (*(entry.name for entry in effects.EFFECTS.values()), "other")
HARMS = ("missed", "refused", "slashed")
REPAIRS = ("enclave_restart", "host_replace", "race")

# From a stage that is done at once to the 180 s nitro-cli waits, and the slow image beyond.
_STAGE_BUCKETS = (0.5, 1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600)


class Metrics:
    """Counters and histograms of one agent; names that are not listed above become "other"."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._stages = self._histogram("stage_seconds", "How long a stage took", "stage", STAGES)
        self._ends = self._counter("jobs_ended", "Jobs whose last trace is gone", outcome=ENDS)
        self._missed = self._counter("jobs_missed", "Jobs that were not reported started in time")
        self._slashed = self._counter("jobs_slashed", "Jobs for which stake of ours was slashed")
        self._harms = Gauge(
            "oyster_last_harm_seconds",
            "When a job was last missed, refused or slashed (noticed, unix seconds); 0: never",
            ("what",), registry=self.registry,
        )  # fmt: skip
        for what in HARMS:
            self._harms.labels(what)
        self._refused = self._counter("jobs_refused", "Jobs not served, by rule", rule=REFUSALS)
        self._repairs = self._counter("repairs", "Enclaves and hosts set right", kind=REPAIRS)
        self._launches = self._counter("launches", "Launches, by what came of them", phase=LAUNCHES)
        self._images = self._counter("images", "Images, by what came of them", result=IMAGES)
        self._transactions = self._counter(
            "transactions", "Transactions, by kind and end", kind=TRANSACTIONS, result=TX_RESULTS
        )
        self._bugs = self._counter("effect_bugs", "Effects that ended by a bug", effect=EFFECTS)
        self._gas = self._counter("gas_wei", "Coin spent on gas for jobs, wei")
        self._passes = self._counter("passes", "Passes of the loop that finished")
        self._pass_seconds = Histogram(
            "oyster_pass_seconds", "How long a pass of the loop took", registry=self.registry
        )

    def stage(self, name: str, seconds: float) -> None:
        """A stage of a job's bootstrapping ended well after `seconds`."""
        if name in STAGES:
            self._stages.labels(name).observe(seconds)

    def job_ended(self, outcome: str) -> None:
        """Nothing is left of a job in AWS."""
        self._ends.labels(_known(outcome, ENDS)).inc()

    def job_missed(self) -> None:
        """A job was not reported started before its slash point."""
        self._missed.inc()

    def job_slashed(self) -> None:
        """The contract took StakePerJob for a job of ours."""
        self._slashed.inc()

    def harmed(self, what: str, at: float) -> None:
        """One of HARMS happened, noticed at `at`."""
        self._harms.labels(what).set(at)

    def job_refused(self, rule: str) -> None:
        """The policy said no."""
        self._refused.labels(_known(rule, REFUSALS)).inc()

    def repair(self, kind: str) -> None:
        """An enclave was restarted, a host replaced, or a rival instance launched."""
        if kind in REPAIRS:
            self._repairs.labels(kind).inc()

    def launch(self, phase: str) -> None:
        """A launch was asked for, or its outcome became known."""
        self._launches.labels(_known(phase, LAUNCHES)).inc()

    def image(self, result: str) -> None:
        """A fetch or a staging ended."""
        self._images.labels(_known(result, IMAGES)).inc()

    def effect_bug(self, effect: str) -> None:
        """Something that the agent does ended in a way nobody foresaw."""
        self._bugs.labels(_known(effect, EFFECTS)).inc()

    def transaction(self, kind: str, result: str, *, gas_wei: int = 0) -> None:
        """A transaction came to its end, or to a wait."""
        self._transactions.labels(
            _known(kind, TRANSACTIONS), result if result in TX_RESULTS else "refused"
        ).inc()
        self._gas.inc(gas_wei)

    def finished_pass(self, seconds: float) -> None:
        """The loop went round once."""
        self._passes.inc()
        self._pass_seconds.observe(seconds)

    def watch(self, source: ViewSource, clock: Clock) -> None:
        """Show the present view as gauges at every scrape."""
        self.registry.register(ViewCollector(source, clock))

    def _counter(self, name: str, text: str, **labels: tuple[str, ...]) -> Counter:
        counter = Counter(f"oyster_{name}", text, tuple(labels), registry=self.registry)
        for values in _products(tuple(labels.values())) if labels else ():
            counter.labels(*values)
        return counter

    def _histogram(self, name: str, text: str, label: str, values: tuple[str, ...]) -> Histogram:
        histogram = Histogram(
            f"oyster_{name}", text, (label,), registry=self.registry, buckets=_STAGE_BUCKETS
        )
        for value in values:
            histogram.labels(value)
        return histogram


class ViewCollector(Collector):
    """The view as gauges, made anew for every scrape."""

    def __init__(self, source: ViewSource, clock: Clock) -> None:
        self._source = source
        self._clock = clock

    def collect(self) -> Iterable[Metric]:
        """All gauges of the present view."""
        view, now = self._source.summary(), self._clock.now()
        yield from _agent(view, now)
        yield from _jobs(self._source.census())
        yield from _types(view)
        yield from _chain(view, now)
        yield from _money(view)
        yield from _aws(view)

    def describe(self) -> Iterable[Metric]:
        """Empty: names are checked at the first scrape, not while the agent is still starting."""
        return ()


def _agent(view: View, now: float) -> Iterator[Metric]:
    build = {
        "version": view.version, "chain_id": str(view.chain_id), "registry": view.registry,
        "provider": view.provider,
    }  # fmt: skip
    yield InfoMetricFamily("oyster_build", "Program, market and provider", build)
    yield _gauge("progress_age_seconds", "Since the loop last finished", now - view.progress_at)
    yield _gauge("uptime_seconds", "Since the agent started", now - view.started_at)
    yield _gauge(
        "ready", "1 when nothing keeps the agent from serving", float(not view.health.fails)
    )
    yield _gauge("leads", "0 while this host stands by for another", float(not view.stands_by))
    yield _gauge("lease_term", "The term in which this host leads; 0: none, or alone", view.term)
    yield from _trouble(view.health)
    yield _gauge("breaker_held", "Terminations held for a confirmation", view.held)
    told = "Jobs of which RPC nodes tell different things"
    yield _gauge("endpoints_disagree", told, view.disputed)
    told = "Jobs that auditors report as silent, though they answer here"
    yield _gauge("jobs_reported", told, view.reported)


def _trouble(health: Health) -> Iterator[Metric]:
    """Every kind is there from the start, so that none goes from absent to bad."""
    grades = {Grade.OK: 0, Grade.WARN: 1, Grade.FAIL: 2}
    found = {(kind, ""): 0 for kind in KINDS}
    for part in health.parts:
        key = (part.kind, part.name)
        found[key] = max(found.get(key, 0), grades[part.grade])
    trouble = _labelled(
        "trouble", "What health says of each part: 0 well, 1 look, 2 not ready", "part", "name"
    )
    for labels, grade in found.items():
        trouble.add_metric(labels, grade)
    yield trouble


def _jobs(census: Census) -> Iterator[Metric]:
    jobs = _labelled("jobs", "Jobs, by state", "state")
    for state in JobState:
        jobs.add_metric([state], census.counts.get(state, 0))
    yield jobs
    drops = _labelled("packets_dropped", "Of the enclaves there are, told each 10 min", "reason")
    for reason in REASONS:
        drops.add_metric([reason], census.drops.get(reason, 0))
    yield drops
    yield _gauge(
        "nearest_deadline_share",
        "The same as a share of the job's own window; +Inf when nothing is bootstrapping",
        float("inf") if census.share is None else census.share,
    )
    yield _gauge(
        "nearest_deadline_seconds",
        "Time left to the nearest slash point; +Inf when nothing is bootstrapping",
        float("inf") if census.seconds is None else census.seconds,
    )


def _types(view: View) -> Iterator[Metric]:
    more = _labelled("capacity_jobs", "How many more jobs of the type fit", "type", "limited_by")
    listed = _labelled("offer_listed", "1 while the type is listed on the market", "type")
    margin = _labelled(
        "offer_margin_per_hour", "What the listing leaves after cost, tokens", "type"
    )
    blocked = _labelled("launch_blocked", "1 while no instance of the type can be had", "type")
    for row in view.types:
        blocked.add_metric([row.instance_type], float(bool(row.blocked)))
        more.add_metric([row.instance_type, row.limited_by], row.more)
        listed.add_metric([row.instance_type], float(row.listed))
        if row.margin is not None:
            margin.add_metric([row.instance_type], row.margin)
    yield from (more, listed, margin, blocked)
    yield _gauge(
        "offers_closed",
        "1 while paused or leaving: nothing is to be listed",
        float(bool(view.closed)),
    )


def _chain(view: View, now: float) -> Iterator[Metric]:
    chain = view.chain
    yield _gauge("chain_head_block", "The newest block that was read", chain.head)
    yield _gauge("chain_final_block", "The last block that counts as final", chain.final)
    age = now - chain.head_at if chain.head_at else float("inf")
    yield _gauge("chain_head_age_seconds", "Age of the head block", age)
    window = view.money.window_seconds
    yield _gauge(
        "chain_head_age_limit_seconds", "From when on it is too old, by the market's window",
        behind_seconds(window),
    )  # fmt: skip
    healthy = _labelled("endpoint_healthy", "1 while the RPC node is used", "endpoint")
    lag = _labelled("endpoint_lag_blocks", "Blocks behind the best node", "endpoint")
    for row in chain.endpoints:
        healthy.add_metric([row.name], float(row.healthy))
        lag.add_metric([row.name], row.lag_blocks)
    yield from (healthy, lag)


def _money(view: View) -> Iterator[Metric]:
    money = view.money
    unit, stake = 10**money.decimals, 10**money.stake_decimals
    yield _gauge("earned_tokens", "Earned since the journal began", money.earned_total / unit)
    yield _gauge(
        "earning_tokens_per_hour", "What all running jobs earn", money.rate * 3600 / 1e12 / unit
    )
    yield _gauge("stake", "Stake on the market, whole POND", money.stake_total / stake)
    yield _gauge("stake_locked", "Stake locked for jobs, whole POND", money.stake_locked / stake)
    yield _gauge("coin_balance", "The provider's coin for gas, whole", money.coin_balance / 1e18)
    jobs_left = money.gas_jobs if money.gas_jobs is not None else float("nan")
    yield _gauge("gas_jobs_left", "Jobs whose transactions the coin pays for now", jobs_left)
    yield _gauge("gas_day", "Coin spent on gas in 24 hours, whole", money.gas_day / 1e18)
    yield _gauge("gas_day_budget", "The day's gas budget, whole coin", money.gas_day_budget / 1e18)


def _aws(view: View) -> Iterator[Metric]:
    sent = CounterMetricFamily("oyster_aws_calls", "Calls to AWS", labels=("region", "call"))
    throttled = CounterMetricFamily(
        "oyster_aws_throttled", "Calls that AWS throttled", labels=("region", "call")
    )
    for row in view.aws_calls:
        sent.add_metric([row.region, row.call], row.sent)
        throttled.add_metric([row.region, row.call], row.throttled)
    yield from (sent, throttled)
    ahead = float("nan") if view.aws_ahead_seconds is None else view.aws_ahead_seconds
    told = "By how much AWS's clock is ahead of this machine's; NaN: AWS has not told"
    yield _gauge("clock_offset_seconds", told, ahead)


def _gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"oyster_{name}", text, value)


def _labelled(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"oyster_{name}", text, labels=labels)


def _known(name: str, names: tuple[str, ...]) -> str:
    return name if name in names else "other"


def _products(lists: tuple[tuple[str, ...], ...]) -> Iterator[tuple[str, ...]]:
    if not lists:
        yield ()
        return
    for head in lists[0]:
        for rest in _products(lists[1:]):
            yield (head, *rest)
