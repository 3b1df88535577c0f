"""Each alert fires for what it is named after, and none while all is well: by promtool's own tests.

`promtool` comes with Prometheus (Debian: the package prometheus). A sample a minute; `_` is a
scrape that failed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docs" / "monitoring" / "alerts.yml"

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed"),
]

ON = 'instance="a",job="oyster-provider"'
WELL = {
    f"up{{{ON}}}": "1x60",
    f'oyster_build_info{{{ON},version="1"}}': "1x60",
    f"oyster_ready{{{ON}}}": "1x60",
    f"oyster_leads{{{ON}}}": "1x60",
    f"oyster_progress_age_seconds{{{ON}}}": "1x60",
    f"oyster_nearest_deadline_share{{{ON}}}": " ".join(["+Inf"] * 60),
    **{
        f'oyster_last_harm_seconds{{{ON},what="{what}"}}': "0x60"
        for what in ("missed", "refused", "slashed")
    },
    f"oyster_breaker_held{{{ON}}}": "0x60",
    f"oyster_clock_offset_seconds{{{ON}}}": "0.4x60",
    f"oyster_endpoints_disagree{{{ON}}}": "0x60",
    f"oyster_jobs_reported{{{ON}}}": "0x60",
    f"oyster_chain_head_age_seconds{{{ON}}}": "12x60",
    f"oyster_chain_head_age_limit_seconds{{{ON}}}": "75x60",
    **{
        f'oyster_trouble{{{ON},part="{part}",name="{name}"}}': "0x60"
        for part, name in (
            ("region", "us-east-1"), ("credentials", ""), ("journal", ""), ("disk", ""),
            ("offer", "r/t"), ("file", ""), ("wallet", ""),
        )
    },
    f'oyster_offer_margin_per_hour{{{ON},type="r/t"}}': "0.01x60",
    f'oyster_offer_listed{{{ON},type="r/t"}}': "1x60",
    f'oyster_launch_blocked{{{ON},type="r/t"}}': "0x60",
    f"oyster_offers_closed{{{ON}}}": "0x60",
    f'oyster_capacity_jobs{{{ON},type="r/t",limited_by="quota"}}': "3x60",
    f"oyster_gas_jobs_left{{{ON}}}": "500x60",
    f"oyster_gas_day{{{ON}}}": "0.1x60",
    f"oyster_gas_day_budget{{{ON}}}": "0.5x60",
    f'oyster_transactions_total{{{ON},kind="other",result="refused"}}': "2x60",
    f'oyster_endpoint_healthy{{{ON},endpoint="n"}}': "1x60",
    f'oyster_aws_throttled_total{{{ON},region="r",call="c"}}': "5x60",
    f'oyster_repairs_total{{{ON},kind="host_replace"}}': "9x60",
    f'oyster_images_total{{{ON},result="unavailable"}}': "9x60",
    f'oyster_effect_bugs_total{{{ON},effect="other"}}': "9x60",
}  # fmt: skip
HARM = f'oyster_last_harm_seconds{{{ON},what="%s"}}'
TROUBLE = f'oyster_trouble{{{ON},part="%s",name="%s"}}'


# alert, what is brought about, the minute at which it has to fire.
FIRES: list[tuple[str, dict[str, str | None], int]] = [
    ("AgentDown", {f"up{{{ON}}}": "1x5 0x55", f'oyster_build_info{{{ON},version="1"}}': "1x5"}, 9),
    # Another name for the job in Prometheus is no way around it.
    ("AgentDown", {f"up{{{ON}}}": None, f'oyster_build_info{{{ON},version="1"}}': None}, 4),
    ("NoLeader", {f"oyster_leads{{{ON}}}": "1x5 0x55"}, 7),
    ("LeadersChange", {f"oyster_leads{{{ON}}}": "1 0 1 0 1 0 1 0 1x50"}, 20),
    ("NoProgress", {f"oyster_progress_age_seconds{{{ON}}}": "61x60"}, 2),
    ("NotReady", {f"oyster_ready{{{ON}}}": "0x60"}, 3),
    ("DeadlineNear", {f"oyster_nearest_deadline_share{{{ON}}}": "0.5 0.2x60"}, 1),
    ("JobMissed", {HARM % "missed": "0x9 600x50"}, 10),
    # Missed while no agent ran for half an hour, and before the first start of all: the gauge is
    # seen at its new value first, of which increase() says nothing.
    ("JobMissed", {HARM % "missed": "0x4 _x30 2100x20"}, 36),
    ("JobMissed", {HARM % "missed": "_x20 1260x20"}, 22),
    ("JobSlashed", {HARM % "slashed": "_x20 1260x20"}, 22),
    ("JobRefused", {HARM % "refused": "0x9 600x50"}, 10),
    ("TerminationsHeld", {f"oyster_breaker_held{{{ON}}}": "4x60"}, 1),
    ("EndpointsDisagree", {f"oyster_endpoints_disagree{{{ON}}}": "0x4 1x50"}, 7),
    ("JobReported", {f"oyster_jobs_reported{{{ON}}}": "0x4 1x50"}, 5),
    # A short window needs a chain that is read sooner; a long one is left in peace.
    ("ChainBehind", {f"oyster_chain_head_age_seconds{{{ON}}}": "80x60"}, 2),
    ("AwsAway", {TROUBLE % ("region", "us-east-1"): "0x4 2x50"}, 6),
    ("ClockWrong", {f"oyster_clock_offset_seconds{{{ON}}}": "-31x60"}, 3),
    ("ClockWrong", {f"oyster_clock_offset_seconds{{{ON}}}": "0x5 300x50"}, 9),
    ("Credentials", {TROUBLE % ("credentials", ""): "2x60"}, 2),
    ("JournalFails", {TROUBLE % ("journal", ""): "2x60"}, 2),
    ("DiskFull", {TROUBLE % ("disk", ""): "1x60"}, 6),
    ("OfferUnservable", {TROUBLE % ("offer", "r/t"): "2x60"}, 2),
    ("LaunchesFail", {f'oyster_launch_blocked{{{ON},type="r/t"}}': "0x4 1x50"}, 6),
    ("PriceBelowCost", {f'oyster_offer_margin_per_hour{{{ON},type="r/t"}}': "-0.03x60"}, 6),
    ("FileNotReloaded", {TROUBLE % ("file", ""): "1x60"}, 16),
    ("SecondAgent", {TROUBLE % ("wallet", ""): "0x5 1x50"}, 7),
    ("GasLow", {f"oyster_gas_jobs_left{{{ON}}}": "9x60"}, 6),
    ("GasBudget", {f"oyster_gas_day{{{ON}}}": "0.45x60"}, 6),
    ("TransactionsRefused",
     {f'oyster_transactions_total{{{ON},kind="other",result="refused"}}': "2x5 3x50"}, 7),
    ("NodeDown", {f'oyster_endpoint_healthy{{{ON},endpoint="n"}}': "0x60"}, 11),
    ("NoCapacity", {f'oyster_capacity_jobs{{{ON},type="r/t",limited_by="quota"}}': "0x60"}, 31),
    ("NotListed", {f'oyster_offer_listed{{{ON},type="r/t"}}': "0x60"}, 31),
    ("AwsThrottled", {f'oyster_aws_throttled_total{{{ON},region="r",call="c"}}': "0+60x60"}, 21),
    ("HostsReplaced", {f'oyster_repairs_total{{{ON},kind="host_replace"}}': "0x5 5x50"}, 10),
    ("ImagesUnavailable", {f'oyster_images_total{{{ON},result="unavailable"}}': "0x5 9x50"}, 10),
    ("EffectBug", {f'oyster_effect_bugs_total{{{ON},effect="other"}}': "9x5 10x50"}, 7),
]  # fmt: skip
# What must not fire, and why.
QUIET: list[tuple[str, dict[str, str | None]]] = [
    ("all is well", {}),
    ("paused on purpose",
     {f'oyster_offer_listed{{{ON},type="r/t"}}': "0x60", f"oyster_offers_closed{{{ON}}}": "1x60"}),
    ("a loss that is not on the market",
     {f'oyster_offer_margin_per_hour{{{ON},type="r/t"}}': "-1x60",
      f'oyster_offer_listed{{{ON},type="r/t"}}': "0x60",
      f"oyster_offers_closed{{{ON}}}": "1x60"}),
    ("a time that AWS has not told",
     {f"oyster_clock_offset_seconds{{{ON}}}": " ".join(["NaN"] * 60)}),
    ("fees that are not known", {f"oyster_gas_jobs_left{{{ON}}}": " ".join(["NaN"] * 60)}),
    ("a restart a quarter of an hour after a miss", {HARM % "missed": "60x4 _x2 60x54"}),
]  # fmt: skip


def _series(change: dict[str, str | None]) -> list[dict[str, str]]:
    return [
        {"series": name, "values": values}
        for name, values in (WELL | change).items()
        if values is not None
    ]


def _expect(alert: str, minute: int, *, fires: bool) -> dict[str, Any]:
    which = f'alertname="Oyster{alert}",' if alert else ""
    firing = f'count(ALERTS{{{which}alertstate="firing"}})'
    samples = [{"labels": "{}", "value": 1}] if fires else []
    return {"expr": firing, "eval_time": f"{minute}m", "exp_samples": samples}


def _run(folder: Path, tests: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
    file = folder / "tests.yml"
    cases = [{"interval": "1m", **test} for test in tests]
    file.write_text(
        yaml.safe_dump(
            {"rule_files": [str(RULES)], "evaluation_interval": "30s", "tests": cases}
        )
    )  # fmt: skip
    return subprocess.run(
        ["promtool", "test", "rules", str(file)], capture_output=True, text=True, check=False
    )


def test_alerts__each_cause_brought_about__fires_its_alert(tmp_path: Path) -> None:
    done = _run(
        tmp_path,
        [
            {"input_series": _series(change),
             "promql_expr_test": [_expect(alert, minute, fires=True)]}
            for alert, change, minute in FIRES
        ],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_alerts__what_is_no_trouble__fires_none(tmp_path: Path) -> None:
    minutes = (25, 59)
    done = _run(
        tmp_path,
        [
            {"input_series": _series(change),
             "promql_expr_test": [_expect("", minute, fires=False) for minute in minutes]}
            for _why, change in QUIET
        ],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_alerts__every_one__is_brought_about_here() -> None:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    assert {rule["alert"] for rule in group["rules"]} == {f"Oyster{name}" for name, *_ in FIRES}
