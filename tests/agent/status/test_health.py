"""One answer to "is all well?": each thing that can be the matter, and what is named once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.status.health import (
    KINDS,
    CallSeen,
    Disk,
    Grade,
    NodeSeen,
    OfferSeen,
    RegionSeen,
    Seen,
    behind_seconds,
    judge,
)

pytestmark = pytest.mark.unit

NOW = 10_000.0
WELL = Seen(
    now=NOW, progress_at=NOW - 1, stall_seconds=60, started_at=NOW - 5000, head_at=NOW - 5,
    window_seconds=300, nodes=(NodeSeen("one", True),), regions=(RegionSeen("us-east-1", NOW - 9),),
    offers=(OfferSeen("us-east-1/a", "0.1/h", "0.1/h", margin=0.01),), disk=Disk(2**40, 2**32),
    gas_jobs=50.0, stake_jobs=3,
)  # fmt: skip
SILENT = RegionSeen("eu-west-1", NOW - 61, "timed out")
HELD = CallSeen("report(7)", "no node takes it: blocked", 12.0, urgent=True)
WAITS = CallSeen("settle(2)", "the budget is spent", 90.0, urgent=False)
DENIED = RegionSeen("eu-west-1", NOW - 5, "the token has expired", denied=True)


def test_health__all_is_well__serves() -> None:
    health = judge(WELL)
    assert (health.word, health.fails, health.warns) == ("serving", (), ())
    assert {part.kind for part in health.parts} <= set(KINDS)


@pytest.mark.parametrize(
    ("change", "kind", "grade", "said"),
    [
        ({"progress_at": NOW - 61}, "loop", "fail", "no progress for 61 s"),
        ({"resynced": False}, "start", "fail", "first resync"),
        ({"chain_error": "refused"}, "chain", "fail", "can't be read: refused"),
        ({"head_at": NOW - 76}, "chain", "fail", "76 s old"),
        ({"head_at": NOW - 121, "window_seconds": 0}, "chain", "fail", "121 s old"),
        ({"final_at": NOW - 3606}, "chain", "warn", "final block is 60 min older"),
        ({"nodes": (NodeSeen("one", True), NodeSeen("two", False, "401"))}, "node", "warn", "401"),
        ({"regions": (SILENT,)}, "region", "fail", "not seen for 61 s (timed out)"),
        ({"regions": (RegionSeen("x", None),)}, "region", "fail", "no answer"),
        ({"regions": (DENIED,)}, "credentials", "fail", "the token has expired"),
        ({"aws_ahead": 31.0}, "clock", "warn", "31 s behind AWS's"),
        ({"aws_ahead": -300.0}, "clock", "warn", "300 s ahead of AWS's"),
        ({"held_up": (WAITS, HELD)}, "wallet", "fail", "report(7) does not get out"),
        ({"held_up": (WAITS,)}, "wallet", "warn", "out for 90 s: the budget"),
        ({"wanting": ("a", "b")}, "effects", "warn", "a"),
        ({"unended": {"i-1": 7, "i-2": 4}}, "effects", "warn",
         "i-1 (and 1 more) runs and costs on, though EC2 said 7 times"),
        ({"nameless": ("i-1", "i-2")}, "effects", "warn",
         "i-1 (and 1 more) runs and costs on, and lacks tags"),
        ({"journal": "disk full"}, "journal", "fail", "disk full"),
        ({"journal_gone": True}, "journal", "fail", "was moved or deleted"),
        ({"disk": Disk(2**20, 2**32)}, "disk", "fail", "0.0 GiB free"),
        ({"disk": Disk(2**31, 2**32)}, "disk", "warn", "two images need more"),
        ({"file": ("jobs.x: 1 in the file, 2 runs", "y")}, "file", "warn", "(and 1 more)"),
        ({"offers": (OfferSeen("t", "1/h", "1/h", never="no enclaves"),)}, "offer", "fail",
         "can't be served: no enclaves"),
        ({"offers": (OfferSeen("t", "1/h", "", full="quota"),)}, "offer", "warn", "fits (quota)"),
        ({"offers": (OfferSeen("t", "1/h", "", blocked="no launch passes: X"),)}, "offer",
         "warn", "no launch passes: X"),
        ({"offers": (OfferSeen("t", "1/h", ""),)}, "offer", "warn", "not on the market"),
        ({"offers": (OfferSeen("t", "2/h", "1/h", trouble="reverts"),)}, "offer", "warn",
         "reverts"),
        ({"offers": (OfferSeen("t", "1/h", "1/h", margin=-0.03),)}, "offer", "warn",
         "0.0300/h below cost"),
        ({"recent": {"missed": 2, "refused": 0}}, "jobs", "warn", "2 missed within the hour"),
        ({"stake_jobs": 0}, "jobs", "warn", "stake is used up"),
        ({"held": 4}, "terminations", "fail", "4 ends or exits are held"),
        ({"other_agent_at": NOW - 60}, "wallet", "warn", "second agent"),
        ({"gas_jobs": 0.5}, "wallet", "fail", "one job"),
        ({"bugs": ("job 5: KeyError",)}, "effects", "warn", "KeyError"),
        ({"leadership": "the journal's server is away: refused"}, "leadership", "fail",
         "away: refused; see `lease.server_away` in the log, and `oyster-provider runbook no-le"),
    ],
)  # fmt: skip
def test_health__one_thing_is_the_matter__is_named_and_nothing_else(
    change: dict[str, object], kind: str, grade: str, said: str
) -> None:
    health = judge(replace(WELL, **change))  # type: ignore[arg-type]  # by field name
    bad = [part for part in health.parts if part.grade is not Grade.OK and "see credentials" not in
           part.text]  # fmt: skip
    assert [(part.kind, str(part.grade)) for part in bad] == [(kind, grade)]
    assert said in bad[0].line
    expected = {"warn": "look", "fail": "stalled" if kind == "loop" else "not ready"}
    assert health.word == expected[grade]


STANDBY = replace(
    WELL, stands_by=True, resynced=False,
    offers=(OfferSeen("t", "1/h", ""), OfferSeen("u", "", "", trouble="cost + 20 %")),
)  # fmt: skip


def test_health__of_a_host_that_stands_by__misses_nothing_that_only_a_leader_does() -> None:
    health = judge(STANDBY)
    assert (health.word, health.warns) == ("stands by", ())
    assert [part.line for part in health.fails] == [
        "stands by: another host leads; `oyster-provider hosts list` says which"
    ]
    assert {part.text for part in health.parts if part.kind == "offer"} == {
        "left to the host that leads"
    }


def test_health__of_a_host_that_stands_by_and_sees_no_aws__is_not_well() -> None:
    health = judge(replace(STANDBY, regions=(SILENT,)))
    assert (health.word, health.fails[0].kind) == ("not ready", "region")


def test_health__of_a_host_that_stands_by_without_the_server__is_one_fault() -> None:
    health = judge(replace(STANDBY, leadership="the journal's server is away: refused"))
    assert (health.word, [part.kind for part in health.fails]) == ("not ready", ["leadership"])


def test_health__credentials_fail_everywhere__is_one_cause() -> None:
    regions = tuple(replace(DENIED, name=name) for name in ("a", "b", "c"))
    (cause,) = judge(replace(WELL, regions=regions)).fails
    assert cause.text.startswith("a, b, c: ")


def test_health__what_the_market_lists_was_not_read_yet__advises_no_listing() -> None:
    """Right after a start `status` said to list what was listed."""
    offers = (OfferSeen("t", "1/h", "", unread=True),)
    assert [part.line for part in judge(replace(WELL, offers=offers)).warns] == []


def test_health__paused_on_purpose__is_no_trouble() -> None:
    offers = (OfferSeen("t", "1/h", "", trouble="paused"),)
    health = judge(replace(WELL, offers=offers, closed="paused"))
    assert (health.word, health.warns) == ("paused", ())


def test_nodes__none_answers__nobody_is_said_to_serve_meanwhile() -> None:
    away = (NodeSeen("n.one", False, "n.one did not answer in 10 s"), NodeSeen("n.two", False))
    health = judge(replace(WELL, nodes=away, head_at=NOW - 40, window_seconds=0))
    assert [part.line for part in health.fails] == [
        "no node answers, and no block was read for 40 s; see each of chain.rpc_urls"
    ]
    assert [part.line for part in health.warns] == [
        "n.one: did not answer in 10 s", "n.two: does not answer, or lags",
    ]  # fmt: skip
    begun = replace(WELL, nodes=away, head_at=0.0, started_at=NOW - 40)
    assert judge(begun).fails == health.fails, "nor had it read any block"
    assert judge(replace(WELL, nodes=away)).fails == (), "a moment's silence is none yet"


@given(st.integers(0, 100_000))
def test_behind__any_window__leaves_most_of_it(window: int) -> None:
    assert behind_seconds(window) <= max(30, window / 4) or window == 0


def test_wallet__without_a_key__is_well_and_says_so() -> None:
    (wallet,) = [part for part in judge(replace(WELL, signs=False)).parts if part.kind == "wallet"]
    assert (wallet.grade, "nothing is settled" in wallet.text) == (Grade.OK, True)


def test_health__no_node_answers__is_not_said_again_of_each_call() -> None:
    health = judge(replace(WELL, nodes=(NodeSeen("one", False, "401"),), held_up=(HELD,)))
    assert not any("report(7)" in part.text for part in health.parts)
