"""`oyster-provider hosts ...`: who leads among several hosts, who stands by, and handing over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from commands.terminal import ConfigOption, JsonOption, print_json, print_table, say
from faults import Refused, RetryLater

if TYPE_CHECKING:
    from agent.config import Config
    from agent.journal.hosts import Hosts, Leading, Standing

app = typer.Typer(no_args_is_help=True, help="Several hosts with one journal: who leads.")

GONE_SECONDS = 10.0  # a member writes once a second
YIELD_SECONDS = 30  # others look twice a second; a standby's start takes longer than its taking


@app.command("list")
def list_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Who leads and since when, who stands by, and whose configuration differs."""
    from commands.looking import looking

    with _shared(looking(config)) as (hosts, name, digest):
        leading, standings = hosts.leading(name), hosts.standings()
    rows = [row_of(each, leading, digest) for each in standings]
    if as_json:
        told = zip(rows, standings, strict=True)
        print_json([in_seconds(row, each, leading) for row, each in told])
        return
    columns = ("host", "role", "term", "since", "heard", "version", "configuration")
    shown = [tuple(row[key] if row[key] is not None else "-" for key in _KEYS) for row in rows]
    print_table(columns, shown, empty="no host has been started yet")
    for row in rows:
        if row["twin"]:
            say(f"two hosts have the name {row['host']}: give each a journal.host of its own")


_KEYS = ("host", "role", "term", "leads_for", "heard_ago", "version", "configuration")


@app.command("yield")
def yield_(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Have the host that leads hand over to another; for upgrades. Waits until another leads."""
    import time

    from agent.config import load
    from agent.journal.orders import OrderKind
    from commands.journal import order

    loaded = load(config)
    with _shared(loaded) as (hosts, name, _digest):
        before = hosts.leading(name)
        if before is None or not before.runs:
            raise RetryLater("no host leads just now; start one")
        if not [one for one in hosts.standings() if _stands_by(one, before)]:
            raise Refused(f"no other host stands by; {_leads_on(before, hosts.standings())}")
        order(loaded, time.time(), OrderKind.YIELD, None, {"term": str(before.term)})
        after = _wait(hosts, name, before)
    if as_json:
        print_json({"from": before.holder, "to": after.holder, "term": after.term})
    else:
        say(f"{after.holder} leads in term {after.term}; {before.holder} handed over")


def _stands_by(one: Standing, leading: Leading) -> bool:
    from agent.journal.hosts import Role

    there = one.seconds_ago < GONE_SECONDS and one.role is Role.STANDS_BY
    return there and one.member.host != leading.holder


def _leads_on(leading: Leading, standings: list[Standing]) -> str:
    twins = [one for one in standings if one.twin and one.member.host == leading.holder]
    why = ", and two hosts have that name: give each a journal.host of its own" if twins else ""
    return f"{leading.holder} goes on leading{why}"


def _wait(hosts: Hosts, name: str, before: Leading) -> Leading:
    import time

    for _ in range(YIELD_SECONDS * 2):
        now = hosts.leading(name)
        if now is not None and now.runs and now.term > before.term:
            return now
        time.sleep(0.5)
    raise RetryLater(f"{before.holder} was told to hand over; nobody else leads yet")


def row_of(one: Standing, leading: Leading | None, digest: str) -> dict[str, Any]:
    """One host for people; `digest` is of the configuration here."""
    member = one.member
    leads = leading is not None and leading.runs and leading.holder == member.host
    same = "as here" if member.config_digest == digest else "differs from here"
    return {
        "host": member.host,
        "twin": one.twin,
        "role": _role(one, leads),
        "term": leading.term if leads and leading else None,
        "leads_for": _span(leading.since_seconds) if leads and leading else None,
        "heard_ago": _span(one.seconds_ago),
        "version": member.version,
        "configuration": same,
    }


def _role(one: Standing, leads: bool) -> str:
    """The lease's word, then the clock's, then its own: who said that it leads, and does not, was
    killed, or ends."""
    from agent.journal.hosts import Role

    if leads:
        return Role.LEADS
    if one.seconds_ago > GONE_SECONDS:
        return "gone"
    return one.role if one.role is Role.STANDS_BY else Role.ENDS


def in_seconds(row: dict[str, Any], one: Standing, leading: Leading | None) -> dict[str, Any]:
    """The row for programs: spans as numbers."""
    told = {name: value for name, value in row.items() if name not in ("leads_for", "heard_ago")}
    leads = leading is not None and row["role"] == "leads"
    since = round(leading.since_seconds, 3) if leads and leading else None
    return {**told, "leads_for_seconds": since, "heard_seconds_ago": round(one.seconds_ago, 3)}


def _span(seconds: float) -> str:
    from commands.amounts import show_span

    return show_span(max(0.0, seconds))


def _require_several(loaded: Config) -> None:
    if not loaded.journal.url_file:
        text = (
            "this host is alone: its journal is a file; journal.url_file names a server for several"
        )
        raise Refused(text)


@contextmanager
def _shared(loaded: Config) -> Iterator[tuple[Hosts, str, str]]:
    """The hosts, the lease's name, and this configuration's digest."""
    import asyncio

    from agent.journal.hosts import Hosts
    from agent.wiring.adapters import provider_address
    from agent.wiring.journal import config_digest, lease_name, open_engine, refuse_another_s

    _require_several(loaded)
    engine = open_engine(loaded)
    try:
        provider = asyncio.run(provider_address(loaded))
        refuse_another_s(engine, loaded, provider)
        yield Hosts(engine), lease_name(loaded, provider), config_digest(loaded)
    finally:
        engine.dispose()
