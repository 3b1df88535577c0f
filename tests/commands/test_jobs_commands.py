"""Jobs, exits and status through the real program, on a real EVM and a real journal."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from pathlib import Path

import pytest

from agent.config import load
from agent.journal.engines import open_file
from agent.journal.lines import Event
from agent.journal.orders import OrderKind, Orders
from agent.journal.writing import Journal
from agent.market.model import JobId, Price, Wei
from commands.agent_asked import require_same_file
from devnet.processes import free_port
from faults import Refused

from .conftest import POND, TYPE, World
from .program import answering, oyster_here

pytestmark = pytest.mark.integration

PROVIDER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


@pytest.fixture
def offered(world: World) -> World:
    """The provider has staked for five jobs and offers one type."""
    world.send(0, world.calls.approve(world.pond, Wei(500 * POND)))
    world.send(0, world.calls.stake(Wei(500 * POND)))
    world.send(0, world.calls.register(TYPE, Price.parse("0.17/h", 6)))
    return world


def test_jobs__assigned_then_started__list_and_show_say_it(offered: World) -> None:
    job = offered.request()
    (row,) = offered.ask("jobs", "list")
    assert (row["job"], row["state"], row["deadline_is"]) == (job, "bootstrapping", "slash point")
    assigned, due = (datetime.fromisoformat(row[name]) for name in ("assigned_at", "deadline"))
    assert (due - assigned).total_seconds() == 300

    offered.send(0, offered.calls.report_started(job, "198.51.100.7:1300"))
    offered.node.call("evm_increaseTime", 3600)
    offered.node.call("evm_mine")
    _write(offered, Event(1_000.0, "job.assigned", job, 1, text="c6a.xlarge\x1b[31m"))
    shown = offered.ask("jobs", "show", str(job))
    head = offered.node.call("eth_getBlockByNumber", "latest", False)
    served = int(head["timestamp"], 16) - offered.read("job", job)[10]
    assert served >= 3590
    assert int(shown["earned"]["units"]) == _price(offered) * served // 10**12
    assert shown["deadline_is"] == "escrow exhausted"
    assert [each["name"] for each in shown["timeline"]] == ["job.assigned"]
    plain = offered.run("jobs", "show", str(job)).stdout
    assert re.search(r"^state +running$", plain, re.MULTILINE)
    assert "\t" not in plain
    assert "job.assigned c6a.xlarge" in plain
    assert "\x1b" not in plain
    head = offered.run("jobs", "logs", str(job)).stdout.splitlines()[0]
    assert re.split(r" {2,}", head) == ["when (UTC)", "since", "what"]


def test_jobs_show__no_such_job__is_refused(world: World) -> None:
    done = world.run("jobs", "show", "999")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)


def test_jobs_list__all__has_past_jobs_too(offered: World) -> None:
    job = offered.request()
    _write(offered, Event(1_000.0, "job.assigned", job, 1))
    offered.send(1, offered.calls.request_stop(job))
    assert offered.ask("jobs", "list") == []
    (row,) = offered.ask("jobs", "list", "--all")
    assert (row["job"], row["state"]) == (job, "stopped")


def test_jobs_logs__followed__ends_with_the_jobs_end(offered: World) -> None:
    _write(offered, Event(1_000.0, "job.assigned", JobId(5), 1))
    _write(offered, Event(1_001.0, "job.ended", JobId(5), 1, text="user_request"))
    done = offered.run("jobs", "logs", "5", "--follow")
    assert done.returncode == 0, "it returns by itself"
    assert done.stdout.count("job.ended") == 1
    assert offered.run("jobs", "logs", "5", "--follow", "--json").returncode == 2


def test_jobs_logs__nothing_about_it__is_refused_as_show_does(world: World) -> None:
    done = world.run("jobs", "logs", "99")
    assert (done.returncode, done.stdout) == (3, "")
    assert "nothing about job 99" in done.stderr


def test_jobs_show__a_number_below_zero__is_said_as_such(world: World) -> None:
    done = world.run("jobs", "show", "-1")
    assert done.returncode == 2
    assert "-1 is no option" in done.stderr


@pytest.mark.parametrize("price", ["-0.17/h", "-.17/h", "-17"])
def test_offers_set__a_price_below_zero__is_named_whole(world: World, price: str) -> None:
    done = world.run("offers", "set", "us-east-1/c6a.xlarge", price)
    assert done.returncode == 2
    assert f"{price} is no option, and nothing here is below 0" in done.stderr


def test_jobs__the_window_passed__is_said_in_the_past(offered: World) -> None:
    job = offered.request()
    offered.node.call("evm_increaseTime", 400)
    offered.node.call("evm_mine")
    for words in (("list",), ("show", str(job))):
        said = offered.run("jobs", *words).stdout
        assert re.search(r"slash point passed 1 min \d+ s ago", said), said
    assigned = offered.read("job", job)[8]
    _write(
        offered,
        Event(assigned + 70.0, "job.assigned", job, 1, fields={"assigned_at": assigned}),
    )
    assert "+70.0 s" in offered.run("jobs", "logs", str(job)).stdout


def test_exit__one_job__leaves_an_order_for_the_agent(offered: World) -> None:
    job = offered.request()
    dry = offered.ask("exit", str(job), "--dry-run")
    assert (dry["order"], dry["jobs"], dry["dry_run"]) == (OrderKind.EXIT, [job], True)
    assert _orders(offered) == []
    done = offered.run("exit", str(job), "--yes")
    assert done.returncode == 4, "ordered, and nobody is there to do it"
    assert "nothing is done yet: no agent answers" in done.stderr
    assert " UTC" not in done.stdout, "no time that nobody can know"
    assert "serve, earn and stay liable for 2 min 0 s" in done.stdout
    assert _orders(offered) == [(OrderKind.EXIT, job)]
    assert offered.read("job", job)[7] == 1, "the command itself sends nothing"


def test_exit_advise__a_running_job__says_what_both_come_to_and_orders_nothing(
    offered: World,
) -> None:
    text = offered.config.read_text()
    offered.config.write_text(text.replace('price = "0.17/h"', 'price = "0.17/h"\ncost = "0.2/h"'))
    job = offered.request()
    offered.send(0, offered.calls.report_started(job, "198.51.100.7:1300"))
    (told,) = offered.ask("exit", str(job), "--advise")
    assert (told["job"], told["advice"]) == (job, "leave")
    assert told["why"].startswith("leaving saves 1.7")
    shown = offered.run("exit", "--all", "--advise").stdout
    assert f"job {job} ({TYPE}): 0.17 tUSD/h, costs 0.2 tUSD/h (configuration)" in shown
    assert "advice leave: leaving saves" in shown
    assert _orders(offered) == []


def test_exit__all_and_back__are_orders_too(offered: World) -> None:
    offered.request()
    assert offered.run("exit", "--all", "--yes").returncode == 4
    assert offered.run("exit", "--cancel", "--yes").returncode == 4
    again = offered.run("exit", "--cancel", "--yes")
    assert (again.returncode, "no `exit --all` is in force" in again.stderr) == (3, True)
    assert offered.run("jobs", "confirm-terminations", "--yes").returncode == 0
    assert [kind for kind, _ in _orders(offered)] == [
        OrderKind.EXIT_ALL, OrderKind.CANCEL_EXIT_ALL, OrderKind.CONFIRM_TERMINATIONS,
    ]  # fmt: skip


def test_pause_and_resume__without_an_agent__stand_until_one_starts(offered: World) -> None:
    nothing = offered.run("resume", "--yes")
    assert (nothing.returncode, "nothing is paused" in nothing.stderr) == (3, True)
    assert offered.ask("pause", "--dry-run") == {"order": "pause", "dry_run": True}
    for word in ("pause", "pause", "resume"):
        done = offered.run(word, "--yes")
        assert done.returncode == 4
        assert "carried out when one starts" in done.stderr
        listing = offered.run("offers", "list").stdout
        assert ("paused: nothing is listed" in listing) == (word == "pause")
    assert _orders(offered) == [(OrderKind.PAUSE, None), (OrderKind.RESUME, None)]


def test_pause__ordered_again__says_so_and_doctor_gives_no_other_advice(world: World) -> None:
    """Nothing of it is listed, and that is meant."""
    world.run("pause", "--yes")
    assert world.run("pause", "--yes").stdout.startswith("paused already; ")
    done = world.run("doctor", "--json")
    (offers,) = (each for each in json.loads(done.stdout) if each["check"] == "offers")
    assert (offers["verdict"], offers["found"]) == ("ok", f"paused: {TYPE} not listed")


def test_jobs_list__watched_while_no_node_answers__goes_on_watching(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    gone = {"OYSTER_CONFIG": str(world.config), "OYSTER_CHAIN__RPC_URLS": "http://127.0.0.1:9"}
    done = oyster_here("jobs", "list", "--watch", environ=gone)
    assert (done.returncode, done.stderr.count("looked at again in 2 s")) == (130, 2)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [(("exit",), 2, "leave what?"), (("exit", "1", "--all"), 2, "job 1 and --all"),
     (("exit", "--all", "--cancel"), 2, "give it alone"), (("exit", "1", "--cancel"), 2, "alone"),
     (("exit", "--cancel", "--advise"), 2, "--advise is about jobs"),
     (("exit", "77", "--yes"), 3, "not assigned"), (("exit", "0"), 2, ""),
     (("exit", "--all"), 2, "add --yes"), (("exit", "--cancel", "--yes"), 3, "in force")],
)  # fmt: skip
def test_exit__bad_input__orders_nothing(
    world: World, words: tuple[str, ...], code: int, said: str
) -> None:
    done = world.run(*words)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert _orders(world) == []


def test_status__nobody_there_or_somebody_else__is_exit_4(tmp_path: Path, world: World) -> None:
    environ = {"OYSTER_CONFIG": str(world.config)}
    nobody = f"127.0.0.1:{free_port()}"
    down = oyster_here("status", environ={**environ, "OYSTER_STATUS__LISTEN": nobody})
    assert (down.returncode, down.stderr.count("\n")) == (4, 1)
    assert "systemctl start" in down.stderr
    with answering(b'{"hello": 1}') as listen:
        other = oyster_here("status", environ={**environ, "OYSTER_STATUS__LISTEN": listen})
    assert other.returncode == 4
    assert "not the agent" in other.stderr


def test_status__an_agent_answers__is_told_in_words(world: World) -> None:
    view = {
        "now": 100.0, "stalled": True, "provider": "0xabc", "chain_id": 5, "version": "1",
        "started_at": 50.0, "notices": ["draining"],
        "health": {"word": "stalled", "parts": [
            {"grade": "fail", "line": "no progress for 70 s\x1b[31m"},
            {"grade": "ok", "line": "fine"}, {"grade": "warn", "line": "the file differs"},
        ]},
        "jobs": [{"state": "running"}],
        "counts": {"running": 2, "exiting": 0},
        "money": {"rate": "47222222222222", "decimals": 6, "symbol": "USDC"},
        "chain": {"head": 9, "head_at": 98.0, "endpoints": [
            {"name": "http://n", "healthy": False},
        ]},
    }  # fmt: skip
    with answering(json.dumps(view).encode()) as listen:
        done = oyster_here(
            "status",
            environ={"OYSTER_CONFIG": str(world.config), "OYSTER_STATUS__LISTEN": listen},
        )
    assert done.returncode == 4
    for said in (
        "state       stalled",
        "2 running",
        "0.1700 USDC/h",
        "http://n DOWN",
        "!  draining",
        "!! no progress for 70 s\ufffd[31m",
        "!  the file differs",
    ):
        assert said in done.stdout
    assert "stands still" in done.stderr


def test_config_check__several_things_are_wrong__says_all_of_them(world: World) -> None:
    assert world.ask("config", "check")["sound"] is True
    text = world.config.read_text()
    world.config.write_text(text.replace("chain_id = ", "chain_id = -").replace("0.17/h", "x"))
    done = world.run("config", "check")
    assert (done.returncode, len(done.stdout.splitlines())) == (2, 2)
    assert "2 to mend" in done.stderr


def test_config_diff__the_agent_goes_by_another__says_what(world: World) -> None:
    for lines, code in (([], 0), (["jobs.x: 1 in the file, 2 runs"], 3)):
        with answering(json.dumps({"jobs": [], "file": lines}).encode()) as listen:
            done = oyster_here(
                "config", "diff",
                environ={"OYSTER_CONFIG": str(world.config), "OYSTER_STATUS__LISTEN": listen},
            )  # fmt: skip
        assert done.returncode == code
        assert ("1 in the file" in done.stdout) == bool(lines)


@pytest.mark.parametrize(
    "words", [("config", "diff"), ("offers", "set", TYPE, "0.18/h", "--yes")], ids=["diff", "set"]
)
def test_file__that_the_agent_does_not_go_by__is_not_compared_or_written(
    world: World, tmp_path: Path, words: tuple[str, ...]
) -> None:
    """What is written into another one is lost at the agent's next start."""
    others, before = tmp_path / "others.toml", world.config.read_text()
    others.write_text(before)
    view = {
        "jobs": [], "file": [], "provider": PROVIDER, "registry": world.registry,
        "chain_id": world.node.evm.chain_id, "config": str(others),
    }  # fmt: skip
    with answering(json.dumps(view).encode()) as listen:
        environ = {"OYSTER_CONFIG": str(world.config), "OYSTER_STATUS__LISTEN": listen}
        done = oyster_here(*words, environ=environ)
    assert (done.returncode, f"goes by {others}, not by" in done.stderr) == (3, True), done.stderr
    assert world.config.read_text() == before


def test_same_file__by_a_link_or_of_another_machine__is_no_other(tmp_path: Path) -> None:
    file, link = tmp_path / "config.toml", tmp_path / "link.toml"
    file.touch()
    link.symlink_to(file)
    for place in (str(file), "/of/a/container.toml", "", "\0"):
        require_same_file({"config": place}, link)
    (tmp_path / "other.toml").touch()
    with pytest.raises(Refused, match="goes by"):
        require_same_file({"config": str(tmp_path / "other.toml")}, link)


def test_runbook__by_either_name__is_the_guides_section() -> None:
    one, other = (oyster_here("runbook", name).stdout for name in ("gas-low", "OysterGasLow"))
    assert one == other
    assert one.startswith("Gas low\n")
    assert oyster_here("runbook", "nothing").returncode == 2
    assert '"gas-low"' in oyster_here("runbook", "--json").stdout
    assert oyster_here("runbook", "gas-low", "--json").returncode == 0


def _price(world: World) -> int:
    """The provider's price on the chain, base units a second times 10^12."""
    raw: int = world.read("offer", PROVIDER, TYPE)
    return raw


def _write(world: World, event: Event) -> None:
    journal = Journal(open_file(load(world.config, {}).journal_file))
    journal.event(event)
    journal.close()


def _orders(world: World) -> list[tuple[str, JobId | None]]:
    engine = open_file(load(world.config, {}).journal_file)
    try:
        return [(each.kind, each.job) for each in Orders(engine).after()]
    finally:
        engine.dispose()
