"""`doctor` and `hosts` over a real journal that hosts share."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.config import Config
from agent.config.model import Chain, JournalPlace
from agent.config.template import render, write
from agent.journal.engines import open_file, open_server
from agent.journal.hosts import Hosts, LeaseRules, Member
from agent.journal.in_use import used
from agent.journal.lease import ServerLease
from agent.journal.lines import Event
from agent.journal.writing import Journal
from agent.market.model import Address, JobId
from agent.wiring.journal import config_digest, lease_name, open_engine
from commands.checkup import here
from commands.checkup.patient import Finding, Patient
from commands.checkup.several import hosts
from commands.hosts import row_of
from faults import MustStop
from tests import postgres

from .program import oyster_here

pytestmark = pytest.mark.integration

PROVIDER = "0x" + "11" * 20


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    yield from postgres.made()


@pytest.fixture
def config(server: postgres.Server, tmp_path: Path) -> Config:
    url = tmp_path / "url"
    url.write_text(server.database().reveal())
    url.chmod(0o600)
    chain = replace(Chain(), chain_id=31337, registry="0x" + "22" * 20, provider=PROVIDER)
    place = JournalPlace(url_file=str(url))
    return Config(chain=chain, journal=place, state_dir="state", base=tmp_path)


def looked(config: Config) -> dict[str, str]:
    found = asyncio.run(hosts(Patient(config, Path("c.toml"))))
    return {one.name: f"{one.verdict} {one.found}" for one in found}


def joins(config: Config, host: str, digest: str, *others: str) -> None:
    from agent.wiring.journal import server_of

    url = server_of(config)
    assert url is not None
    engine = open_server(url, 60_000)  # a busy machine's pause is no frozen host
    name = lease_name(config, Address(PROVIDER))
    leases = [
        ServerLease(engine, name, Member(each, "1.0", digest), LeaseRules(seconds=30.0))
        for each in (host, *others)
    ]
    for one in leases * 2:
        one.turn()
    engine.dispose()


def test_hosts__one_host_with_a_file__are_not_looked_at() -> None:
    assert looked(Config()) == {}


def test_hosts__none_started__is_said(config: Config) -> None:
    assert looked(config)["hosts"].startswith("warn no host leads")


def test_hosts__one_alone__wants_a_second(config: Config) -> None:
    joins(config, "a", config_digest(config))
    found = looked(config)
    assert found["hosts"].startswith("ok a leads in term 1")
    assert found["standby"].startswith("warn")
    assert "no synchronous standby" in found["journal copies"]


def test_hosts__a_database_that_commits_before_its_disk_does__is_said(config: Config) -> None:
    assert "journal commits" not in looked(config)
    engine = open_engine(config)
    with engine.begin() as connection:
        name = connection.engine.url.database
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET synchronous_commit = off")
    engine.dispose()
    assert "synchronous_commit is off" in looked(config)["journal commits"]


def test_hosts__configured_differently__fail_by_name(config: Config) -> None:
    joins(config, "a", config_digest(config))
    joins(config, "b", "another")
    assert looked(config)["hosts alike"] == "fail configured differently: b"


def test_hosts__that_all_ask_otherwise_than_this_file__are_not_what_is_behind(
    config: Config,
) -> None:
    """An order on one of them changed that one's file; this one would spread the old price."""
    joins(config, "a", "ordered")
    joins(config, "b", "ordered")
    said = "fail this file says otherwise than what runs on a, b"
    assert looked(config)["hosts alike"] == said


def test_host__that_was_killed_as_it_led__stands_by_for_nobody(config: Config) -> None:
    joins(config, "a", config_digest(config))
    joins(config, "b", config_digest(config))
    engine = open_engine(config)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE leases SET holder = 'b'")
    read = Hosts(engine)
    leading = read.leading(lease_name(config, Address(PROVIDER)))
    roles = {one.member.host: row_of(one, leading, "")["role"] for one in read.standings()}
    engine.dispose()
    assert roles == {"a": "ends", "b": "leads"}


def journal_of(config: Config) -> list[Finding]:
    patient = Patient(config, Path("c.toml"), provider=Address(PROVIDER))
    return asyncio.run(here.journal(patient))


def test_journal__of_this_host_s_own_time__is_told_until_it_is_copied(config: Config) -> None:
    open_file(config.journal_file).dispose()
    (found,) = journal_of(config)
    assert (found.verdict, "journal copy" in found.todo) == ("warn", True)
    engine = open_engine(config)
    journal = Journal(engine)
    journal.event(Event(1.0, "job.assigned", JobId(1)))
    assert journal.flush()
    journal.close()
    (found,) = journal_of(config)
    assert (found.verdict, found.found) == ("ok", "opens, 1 job in it")


def test_journal__that_is_another_provider_s__is_refused_by_doctor_and_hosts(
    config: Config,
) -> None:
    joins(config, "a", config_digest(config))
    other = replace(config, chain=replace(config.chain, registry="0x" + "33" * 20))
    with pytest.raises(MustStop, match="another provider's"):
        journal_of(other)


def test_journal__that_is_not_reached__is_said_once(config: Config) -> None:
    patient = Patient(config, Path("c.toml"), failed={"journal"})
    for check in (hosts, here.bugs):
        (found,) = asyncio.run(check(patient))
        assert (found.verdict, found.found) == ("skip", "the journal was not reached")


def test_bugs__on_a_host_that_never_served_alone__are_looked_for(config: Config) -> None:
    (found,) = asyncio.run(here.bugs(Patient(config, Path("c.toml"))))
    assert found.verdict == "ok"


def test_hosts__alike__are_well(config: Config) -> None:
    for host in ("a", "b"):
        joins(config, host, config_digest(config))
    found = looked(config)
    assert found["hosts alike"] == "ok 2 heard, all configured as here"
    assert "standby" not in found


def test_hosts__of_one_name__fail_instead_of_wanting_a_second(config: Config) -> None:
    joins(config, "a", config_digest(config), "a")
    found = looked(config)
    assert found["hosts' names"] == "fail two hosts have the name a"
    assert "standby" not in found


def test_hosts_yield__to_one_of_the_same_name__is_refused_with_the_reason(
    config: Config, tmp_path: Path
) -> None:
    joins(config, "a", config_digest(config), "a")
    file = tmp_path / "config.toml"
    answers: dict[str, dict[str, Any]] = {
        "": {"state_dir": str(tmp_path / "state")},
        "chain": {
            "chain_id": 31337, "registry": "0x" + "22" * 20, "rpc_urls": ["http://127.0.0.1:9"],
            "provider": PROVIDER,
        },
        "wallet": {"key_file": "key"},
        "aws": {"regions": ["us-east-1"]},
        "journal": {"url_file": config.journal.url_file},
    }  # fmt: skip
    write(file, render(answers))
    environ = {"OYSTER_CONFIG": str(file)}
    refused = oyster_here("hosts", "yield", environ=environ)
    assert (refused.returncode, "two hosts have that name" in refused.stderr) == (3, True)
    listed = oyster_here("hosts", "list", environ=environ)
    assert "two hosts have the name a: give each a journal.host" in listed.stdout


def test_journal_copy__by_the_program__moves_it_once_and_refuses_a_running_agent(
    config: Config, tmp_path: Path
) -> None:
    state, file = tmp_path / "state", tmp_path / "config.toml"
    open_file(state / "journal.sqlite").dispose()
    answers: dict[str, dict[str, Any]] = {
        "": {"state_dir": str(state)},
        "chain": {
            "chain_id": 31337, "registry": "0x" + "22" * 20, "rpc_urls": ["http://127.0.0.1:9"],
        },
        "wallet": {"key_file": "key"},
        "aws": {"regions": ["us-east-1"]},
        "journal": {"url_file": config.journal.url_file},
    }  # fmt: skip
    write(file, render(answers))
    words, environ = ("journal", "copy"), {"OYSTER_CONFIG": str(file)}
    with used(state):
        done = oyster_here(*words, environ=environ)
        assert (done.returncode, "an agent runs" in done.stderr) == (3, True)
    done = oyster_here(*words, "--json", environ=environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["timeline"] == 0
    missing = oyster_here(*words, "--from", str(tmp_path / "none"), environ=environ)
    assert (missing.returncode, "there is no journal" in missing.stderr) == (2, True)
