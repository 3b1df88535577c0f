"""`doctor` and `capacity` through the real program, with the world in pieces."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from agent.config import load
from agent.journal.engines import open_file
from agent.journal.lines import Event
from agent.journal.writing import Journal
from agent.market.model import JobId
from devnet.ipfs.blocks import RAW_TYPE, Blocks, Gateway, Refusal

from .conftest import World
from .program import oyster_here

pytestmark = pytest.mark.integration

NOBODY = "http://127.0.0.1:9"


def test_doctor__nothing_is_set_up__names_each_thing_and_what_to_do(world: World) -> None:
    done = oyster_here("doctor", "--json", environ=_environ(world, OYSTER_IMAGES__GATEWAYS=NOBODY))
    assert done.returncode == 3
    found = {each["check"]: each for each in json.loads(done.stdout)}
    verdicts = {name: each["verdict"] for name, each in found.items()}
    assert verdicts["key"] == verdicts["chain id"] == verdicts["contract"] == "ok"
    assert verdicts["stake"] == verdicts["AWS identity"] == verdicts["images"] == "fail"
    assert verdicts["nodes"] == "warn"
    assert "oyster-provider stake" in found["stake"]["todo"]
    assert all(each["todo"] for each in found.values() if each["verdict"] == "fail")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_doctor__no_node_answers__still_looks_at_the_rest(world: World) -> None:
    node = "http://127.0.0.1:7"
    environ = _environ(world, OYSTER_CHAIN__RPC_URLS=node, OYSTER_IMAGES__GATEWAYS=NOBODY)
    done = oyster_here("doctor", "--json", environ=environ)
    verdicts = {each["check"]: each["verdict"] for each in json.loads(done.stdout)}
    assert verdicts[node] == "fail"
    for name in ("chain id", "contract", "clock", "stake"):
        assert verdicts[name] == "skip", "one cause is told once"
    assert verdicts["key"] == verdicts["disk"] == "ok"
    assert verdicts["AWS identity"] == "fail", "AWS is looked at all the same"


def test_doctor__proxies_of_the_environment__says_who_is_asked_through_which(world: World) -> None:
    environ = _environ(
        world, OYSTER_IMAGES__GATEWAYS=NOBODY, OYSTER_CHAIN__RPC_URLS="http://node.invalid",
        http_proxy="http://user:hidden@127.0.0.1:9", https_proxy="", no_proxy="", all_proxy="socks5://x:1",
    )  # fmt: skip
    done = oyster_here("doctor", "--json", environ=environ)
    found = {each["check"]: each for each in json.loads(done.stdout)}
    assert found["http_proxy"]["verdict"] == "fail"
    assert "127.0.0.1:9 takes no connections" in found["http_proxy"]["found"]
    assert "through it: http://node.invalid, AWS; images never" in found["http_proxy"]["found"]
    assert "asked through http_proxy's 127.0.0.1:9" in found["http://node.invalid"]["found"]
    assert found["all_proxy"]["verdict"] == found["no_proxy"]["verdict"] == "warn"
    assert "169.254.169.254" in found["no_proxy"]["todo"]
    assert "through no proxy" in found["images"]["todo"]
    assert "hidden" not in done.stdout


@pytest.mark.parametrize("given", ["socks5://127.0.0.1:1", "http://127.0.0.1:99999"])
def test_doctor__a_proxy_that_is_none__is_named_by_its_variable(world: World, given: str) -> None:
    environ = _environ(world, OYSTER_IMAGES__GATEWAYS=NOBODY, http_proxy=given, no_proxy="")
    done = oyster_here("doctor", "--json", environ=environ)
    found = {each["check"]: each for each in json.loads(done.stdout)}
    assert "names no http:// or https:// proxy" in found["http_proxy"]["found"]


def test_doctor__the_key_is_gone__still_looks_at_chain_and_aws(world: World) -> None:
    (world.config.parent / "key").unlink()
    world.node.call("evm_mine")  # the chain is as old as the session
    environ = _environ(world, OYSTER_IMAGES__GATEWAYS=NOBODY)
    done = oyster_here("doctor", "--json", environ=environ)
    found = {each["check"]: each for each in json.loads(done.stdout)}
    verdicts = {name: each["verdict"] for name, each in found.items()}
    assert verdicts["key"] == verdicts["AWS identity"] == "fail"
    assert verdicts["chain id"] == verdicts["contract"] == verdicts["clock"] == "ok"
    for name in ("gas", "stake", "offers"):
        assert (verdicts[name], found[name]["found"]) == ("skip", "the key cannot be opened")


def test_doctor__sources_of_images__each_is_asked_as_a_fetch_asks_it(world: World) -> None:
    """With a name for who asks, exactly, and in each one's own words."""

    class Withholds(Gateway):
        def turns_away(self, path: str) -> Refusal:
            return Refusal(403, b"not pinned here")

    class Packs(Gateway):
        def turns_away(self, path: str) -> Refusal:
            return Refusal(200, b"x", {"Content-Type": RAW_TYPE, "Content-Encoding": "gzip"})

    blocks = Blocks()
    blocks.add_directory({})
    with Gateway(blocks) as good, Withholds(blocks) as withholds, Packs(blocks) as packs:
        urls = (NOBODY, withholds.url, packs.url, good.url.replace("127.0.0.1", "localhost"))
        settings = {"GATEWAYS": ",".join(urls), "KUBO_API": NOBODY}
        environ = _environ(world, **{f"OYSTER_IMAGES__{key}": v for key, v in settings.items()})
        done = oyster_here("doctor", "--json", environ=environ)
    found = {each["check"]: each for each in json.loads(done.stdout)}
    assert (found["images"]["verdict"], found["images"]["found"]) == ("ok", "1 of 5 sources serve")
    assert "403 (it refuses): not pinned here" in found[withholds.url]["found"]
    assert "compresses what must be exact" in found[packs.url]["found"]
    assert "does not take connections" in found[NOBODY]["found"]
    assert found["kubo:/ip4/127.0.0.1/tcp/9/http"]["verdict"] == "warn"
    assert all(each["todo"] for each in found.values() if each["verdict"] == "warn")


def test_doctor__aws_is_away__is_one_cause_and_the_rest_is_skipped(world: World) -> None:
    environ = _environ(
        world, AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_MAX_ATTEMPTS="1",
        OYSTER_AWS__ENDPOINT_URL=NOBODY, OYSTER_IMAGES__GATEWAYS=NOBODY,
    )  # fmt: skip
    done = oyster_here("doctor", "--json", environ=environ)
    of_aws = [
        each for each in json.loads(done.stdout)
        if each["check"].startswith(("AWS", "permissions", "quotas", "capacity", "us-east-1"))
    ]  # fmt: skip
    assert [each["check"] for each in of_aws if each["verdict"] == "fail"] == ["AWS identity"]
    assert "check this machine's network" in of_aws[0]["todo"]
    assert {each["verdict"] for each in of_aws[1:]} == {"skip"}


def test_doctor__no_agent_answers__is_told(world: World) -> None:
    environ = _environ(world, OYSTER_STATUS__LISTEN="127.0.0.1:9", OYSTER_IMAGES__GATEWAYS=NOBODY)
    found = _found(oyster_here("doctor", "--json", environ=environ).stdout)
    assert found["agent"]["verdict"] == "warn"
    assert "no agent answers on 127.0.0.1:9" in found["agent"]["found"]


def test_doctor__a_state_folder_that_can_t_be_made__fails(world: World) -> None:
    environ = _environ(world, OYSTER_STATE_DIR="/proc/nope", OYSTER_IMAGES__GATEWAYS=NOBODY)
    found = _found(oyster_here("doctor", "--json", environ=environ).stdout)
    assert found["disk"]["verdict"] == "fail"
    assert "nothing can be made below /proc" in found["disk"]["found"]


def _found(stdout: str) -> dict[str, dict[str, str]]:
    return {each["check"]: each for each in json.loads(stdout)}


def test_doctor__an_effect_that_ended_by_a_bug__is_told(world: World) -> None:
    config = load(world.config)
    journal = Journal(open_file(config.journal_file))
    now = time.time()
    journal.event(Event(now - 90_000, "effect.bug", JobId(6), level=40, text="long ago"))
    text = "fetch-image ended by a bug: TypeError('x')"
    journal.event(Event(now - 60, "effect.bug", JobId(7), level=40, text=text))
    journal.close()
    done = oyster_here("doctor", "--json", environ=_environ(world, OYSTER_IMAGES__GATEWAYS=NOBODY))
    found = {each["check"]: each for each in json.loads(done.stdout)}
    assert found["bugs"]["verdict"] == "warn"
    assert found["bugs"]["found"] == f"1 job in a day, the last job 7: {text}"


def test_doctor__wrong_configuration__lists_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[chian]\n[log]\nlevel = "loud"\n')
    done = oyster_here("doctor", "--config", file)
    assert done.returncode == 3
    assert "did you mean chain?" in done.stdout
    assert "'loud' is none of" in done.stdout


def _environ(world: World, **more: str) -> dict[str, Any]:
    keys = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_MAX_ATTEMPTS": "1"}
    return {
        "OYSTER_CONFIG": str(world.config), "OYSTER_AWS__ENDPOINT_URL": NOBODY, **keys, **more,
    }  # fmt: skip
