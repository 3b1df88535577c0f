"""From the fault to its alert: what the agent's own metrics say, minute by minute, fires it.

Each fault happens to an agent that is well for five minutes; its page is read once a minute as
Prometheus would, and promtool says which alerts that ever fired: those that are named, and no
other. The rules alone, with causes written as series, are in `test_alerts_fire.py`.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.status.health import Disk, NodeSeen, OfferSeen, RegionSeen, Seen, judge
from agent.status.metrics import Metrics, ViewCollector
from agent.status.source import CallRow, Census, ChainRow, EndpointRow, MoneyRow, TypeRow, View
from tests.clocks import MovingClock

RULES = Path(__file__).parents[2] / "docs/monitoring/alerts.yml"
BEGINS, MINUTES = 5, 38
NAMED = frozenset(re.findall(r"\boyster_\w+", RULES.read_text()))
JOB = 'instance="a",job="oyster-provider"'

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed"),
]


@dataclass
class Agent:
    """One that is well until something is changed: `seen` is what its health is judged by, `view`
    what it shows beside."""

    clock: MovingClock = field(default_factory=lambda: MovingClock(0.0))
    metrics: Metrics = field(default_factory=Metrics)
    seen: dict[str, Any] = field(default_factory=dict)
    view: dict[str, Any] = field(default_factory=dict)
    jobs: Census = field(default_factory=Census)
    answers: bool = True

    def progress_at(self) -> float:
        return float(self.view.get("progress_at", self.clock.at - 1))

    def census(self) -> Census:
        return self.jobs

    def summary(self) -> View:
        now = self.clock.at
        well = Seen(
            now=now, progress_at=self.progress_at(), stall_seconds=60, started_at=-5000.0,
            head_at=now - 5, window_seconds=300, gas_jobs=500.0, stake_jobs=3,
            nodes=tuple(NodeSeen(name, True) for name in NODES),
            regions=tuple(RegionSeen(name, now - 9) for name in REGIONS),
            disk=Disk(2**40, 2**32),
        )  # fmt: skip
        shown = View(
            "0x", "0x", 1, "1", -5000.0, self.progress_at(), types=(TYPE,), money=MONEY,
            chain=ChainRow(9, now - 5, 3, tuple(EndpointRow(name, True) for name in NODES)),
            health=judge(replace(well, **self.seen)), regions=REGIONS,
            aws_calls=(CallRow("us-east-1", "RunInstances", 5, 0),), aws_ahead_seconds=0.4,
        )  # fmt: skip
        return replace(shown, **self.view)

    def page(self) -> dict[str, float]:
        """What a scrape reads, by the series' name, of what the rules ask for."""
        if not self.answers:
            return {f"up{{{JOB}}}": 0.0}
        counted = self.metrics.registry.restricted_registry(NAMED).collect()
        families = (*counted, *ViewCollector(self, self.clock).collect())
        samples = (sample for family in families for sample in family.samples)
        return {f"up{{{JOB}}}": 1.0} | {
            f"{one.name}{{{','.join((JOB, *_labels(one.labels)))}}}": one.value
            for one in samples
            if one.name in NAMED
        }


def _labels(labels: Mapping[str, str]) -> list[str]:
    return [f'{name}="{value}"' for name, value in labels.items()]


NODES, REGIONS = ("one", "two"), ("us-east-1", "eu-west-1")
TYPE = TypeRow("us-east-1/c6a.xlarge", 1, True, 3, "quota", margin=0.01)
MONEY = MoneyRow(gas_day=10**17, gas_day_budget=10**18, gas_jobs=500.0, window_seconds=300)
AWAY = tuple(RegionSeen(name, BEGINS * 60.0, "timed out") for name in REGIONS)
Hand = Callable[[Agent, int], None]  # what happens in a minute, counted from the fault on


def looks(view: Mapping[str, Any] | None = None, **seen: Any) -> Hand:
    """From the fault on it sees this, and shows that."""

    def hand(agent: Agent, _minute: int) -> None:
        agent.seen, agent.view = seen, dict(view or {})

    return hand


def counts(what: Callable[[Metrics], None], times: int = 1) -> Hand:
    """In the fault's minute this is counted."""

    def hand(agent: Agent, minute: int) -> None:
        for _ in range(times if minute == 0 else 0):
            what(agent.metrics)

    return hand


def harmed(what: str) -> Hand:
    return counts(lambda metrics: metrics.harmed(what, BEGINS * 60.0))


def _hangs(agent: Agent, _minute: int) -> None:
    at = BEGINS * 60.0
    agent.seen, agent.view = {"progress_at": at}, {"progress_at": at}


def _ends(agent: Agent, _minute: int) -> None:
    agent.answers = False


def _chain_away(agent: Agent, _minute: int) -> None:
    at, nodes = BEGINS * 60.0, tuple(EndpointRow(name, False, 0, "refused") for name in NODES)
    agent.seen = {"chain_error": "no node answers", "head_at": at}
    agent.view = {"chain": ChainRow(9, at, 3, nodes)}


def _node_away(agent: Agent, _minute: int) -> None:
    rows = (EndpointRow("one", True), EndpointRow("two", False, 0, "401"))
    agent.seen = {"nodes": (NodeSeen("one", True), NodeSeen("two", False, "401"))}
    agent.view = {"chain": ChainRow(9, agent.clock.at - 5, 3, rows)}


def _late(agent: Agent, minute: int) -> None:
    share = max(0.0, 0.6 - 0.2 * minute)
    agent.jobs = Census({}, share * 300, share)


def _leads_by_turns(agent: Agent, minute: int) -> None:
    agent.view = {"stands_by": minute % 2 == 1 and minute < 12}


def _throttles(agent: Agent, minute: int) -> None:
    row = CallRow("us-east-1", "RunInstances", 5 + 60 * minute, 30 * minute)
    agent.view = {"aws_calls": (row,)}


FAULTS: dict[str, tuple[Hand, set[str]]] = {
    "nothing": (looks(), set()),
    "it ends": (_ends, {"AgentDown"}),
    "its loop stands still": (_hangs, {"NoProgress", "NotReady"}),
    "no node answers": (_chain_away, {"NotReady", "ChainBehind", "NodeDown"}),
    "one node refuses": (_node_away, {"NodeDown"}),
    "AWS is away": (looks(regions=AWAY), {"AwsAway", "NotReady"}),
    "the clock is wrong": (looks({"aws_ahead_seconds": -90.0}, aws_ahead=-90.0), {"ClockWrong"}),
    "AWS tells no time": (looks({"aws_ahead_seconds": None}), set()),
    "the token has expired": (
        looks(regions=tuple(replace(one, denied=True) for one in AWAY)),
        {"Credentials", "NotReady"},
    ),
    "the journal can't be written": (looks(journal="disk I/O error"), {"JournalFails", "NotReady"}),
    "the disk is full": (looks(disk=Disk(2**20, 2**32)), {"DiskFull", "NotReady"}),
    "an offer can never be served": (
        looks(offers=(OfferSeen("us-east-1/t3.micro", "1/h", "1/h", never="no enclaves"),)),
        {"OfferUnservable", "NotReady"},
    ),
    "the file is not what runs": (looks(file=("jobs.min_escrow: 1, 2 runs",)), {"FileNotReloaded"}),
    "another agent has the key": (looks(other_agent_at=BEGINS * 60.0), {"SecondAgent"}),
    "a crowd of ends is held": (looks({"held": 4}, held=4), {"TerminationsHeld", "NotReady"}),
    "nodes tell of jobs otherwise": (looks({"disputed": 1}), {"EndpointsDisagree"}),
    "auditors report a job": (looks({"reported": 1}), {"JobReported"}),
    "coin for few jobs": (looks({"money": replace(MONEY, gas_jobs=9.0)}), {"GasLow"}),
    "gas of a day": (looks({"money": replace(MONEY, gas_day=9 * 10**17)}), {"GasBudget"}),
    "it stands by alone": (looks({"stands_by": True}), {"NoLeader"}),
    "leaders change": (_leads_by_turns, {"LeadersChange"}),
    "no machine of the type": (looks({"types": (replace(TYPE, blocked="x"),)}), {"LaunchesFail"}),
    "listed below its cost": (looks({"types": (replace(TYPE, margin=-1),)}), {"PriceBelowCost"}),
    "nothing more fits": (looks({"types": (replace(TYPE, more=0),)}), {"NoCapacity"}),
    "taken off the market": (looks({"types": (replace(TYPE, listed=False),)}), {"NotListed"}),
    "a job comes up late": (_late, {"DeadlineNear"}),
    "a job is missed": (harmed("missed"), {"JobMissed"}),
    "stake is slashed": (harmed("slashed"), {"JobSlashed"}),
    "a job is refused": (harmed("refused"), {"JobRefused"}),
    "the contract refuses": (
        counts(lambda metrics: metrics.transaction("settled", "refused")),
        {"TransactionsRefused"},
    ),
    "hosts die": (counts(lambda metrics: metrics.repair("host_replace"), 5), {"HostsReplaced"}),
    "no source has the image": (
        counts(lambda metrics: metrics.image("unavailable"), 9),
        {"ImagesUnavailable"},
    ),
    "an effect has a bug": (
        counts(lambda metrics: metrics.effect_bug("FetchImage")),
        {"EffectBug"},
    ),
    "AWS throttles": (_throttles, {"AwsThrottled"}),
}


def lived(hand: Hand) -> dict[str, str]:
    """Each series over the minutes, as promtool takes them; `_` is a scrape without it."""
    agent, pages = Agent(), list[dict[str, float]]()
    for minute in range(MINUTES):
        agent.clock.at = minute * 60.0
        if minute >= BEGINS:
            hand(agent, minute - BEGINS)
        pages.append(agent.page())
    names = {name: None for page in pages for name in page}
    return {name: " ".join(_shown(page.get(name)) for page in pages) for name in names}


def _shown(value: float | None) -> str:
    if value is None:
        return "_"
    return repr(value).replace("inf", "Inf").replace("nan", "NaN").replace("+", "")


def test_fault__through_the_agents_own_metrics__fires_its_alert_and_no_other(
    tmp_path: Path,
) -> None:
    ever = f'group by (alertname) (max_over_time(ALERTS{{alertstate="firing"}}[{MINUTES}m]))'
    cases = [
        {
            "name": fault,
            "interval": "1m",
            "input_series": [{"series": k, "values": v} for k, v in lived(hand).items()],
            "promql_expr_test": [
                {
                    "expr": ever,
                    "eval_time": f"{MINUTES}m",
                    "exp_samples": [
                        {"labels": f'{{alertname="Oyster{alert}"}}', "value": 1}
                        for alert in sorted(alerts)
                    ],
                }
            ],
        }
        for fault, (hand, alerts) in FAULTS.items()
    ]
    file = tmp_path / "tests.yml"
    whole = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": cases}
    file.write_text(yaml.dump(whole, Dumper=yaml.CSafeDumper))
    words = ["promtool", "test", "rules", str(file)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_alerts__every_one__is_the_alert_of_a_fault() -> None:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    fired = {f"Oyster{alert}" for _, alerts in FAULTS.values() for alert in alerts}
    assert {rule["alert"] for rule in group["rules"]} == fired
