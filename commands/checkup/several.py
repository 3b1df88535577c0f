"""What `doctor` says of several hosts: the journal's server, and whether all are alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from agent.config.model import Config
from commands.amounts import show_span
from commands.checkup.patient import Finding, Patient, no_journal

if TYPE_CHECKING:
    import sqlalchemy as sa

    from agent.journal.hosts import Leading, Standing

HEARD_SECONDS = 10.0
UP_SECONDS = 75.0  # what an enclave takes to come up at EC2's published boot times, or less


async def hosts(patient: Patient) -> list[Finding]:
    """Nothing where the journal is a file of one host."""
    from agent.journal.hosts import Hosts
    from agent.wiring.adapters import provider_address
    from agent.wiring.journal import config_digest, lease_name, open_engine

    config = patient.config
    if not config.journal.url_file:
        return []
    if none := no_journal("hosts", patient):
        return none
    engine = open_engine(config)
    try:
        read = Hosts(engine)
        name = lease_name(config, await provider_address(config))
        found = [_leading(read.leading(name)), *_alike(read.standings(), config_digest(config))]
        return [*found, *_durable(engine), *_bounds(patient, config)]
    finally:
        engine.dispose()


def _leading(leading: Leading | None) -> Finding:
    if leading is None or not leading.runs:
        return Finding("hosts", "warn", "no host leads", "systemctl start oyster-provider")
    since = show_span(leading.since_seconds)
    return Finding("hosts", "ok", f"{leading.holder} leads in term {leading.term}, for {since}")


def _alike(standings: list[Standing], digest: str) -> Iterator[Finding]:
    from agent.journal.hosts import Role

    heard = [one for one in standings if one.seconds_ago < HEARD_SECONDS]
    live = [one for one in heard if one.role is not Role.ENDS]
    twins = [one.member.host for one in live if one.twin]
    if twins:
        text = f"two hosts have the name {', '.join(twins)}"
        yield Finding("hosts' names", "fail", text, "give each host a journal.host of its own")
    elif len(live) < 2:
        yield Finding("standby", "warn", "no other host stands by", "start a second one")
    if live:
        yield _digests({one.member.host: one.member.config_digest for one in live}, digest)


def _digests(live: Mapping[str, str], here: str) -> Finding:
    """What runs on each host against this file. An order changes the file of the host where it was
    given, and what all of them ask: the others' files are behind then, and not the hosts."""
    others = sorted(host for host, digest in live.items() if digest != here)
    if not others:
        return Finding("hosts alike", "ok", f"{len(live)} heard, all configured as here")
    if len(others) == len(live) and len(set(live.values())) == 1:
        text = f"this file says otherwise than what runs on {', '.join(others)}"
        todo = "give this host the file that they have, then systemctl reload oyster-provider"
    else:
        text = f"configured differently: {', '.join(others)}"
        todo = "give all hosts the file that is right, then systemctl reload oyster-provider"
    return Finding("hosts alike", "fail", text, todo)


def _durable(engine: sa.Engine) -> Iterator[Finding]:
    """Raises RetryLater: the server went away since it was opened."""
    import sqlalchemy as sa

    from agent.journal.engines import asking

    with asking(engine) as connection:
        names = connection.scalar(sa.text("SHOW synchronous_standby_names"))
        waits = connection.scalar(sa.text("SHOW synchronous_commit"))
    if waits == "off":
        text = "a crash of the database forgets its last commits: synchronous_commit is off"
        todo = "ALTER ROLE … SET synchronous_commit = on, for the journal's own role"
        yield Finding("journal commits", "warn", text, todo)
    if not names:
        text = "a failover of the database may forget its last commits: no synchronous standby"
        todo = "set synchronous_standby_names, or use a managed multi-zone database"
        yield Finding("journal copies", "warn", text, todo)


def _bounds(patient: Patient, config: Config) -> Iterator[Finding]:
    """How long nobody may act, beside the market's window."""
    if patient.terms is None:
        return
    window, gap = patient.terms.params.job_bootstrapping, config.journal.lease_seconds + 0.5
    spare = window - UP_SECONDS
    away = show_span(max(0.0, spare))
    text = (
        f"a leader that dies is followed within {gap:g} s; a database that is away for "
        f"{away} costs the jobs of that time (a start has {show_span(window)})"
    )
    yield Finding("hosts' bounds", "ok" if spare > 120 else "warn", text)
