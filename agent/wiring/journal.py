"""Opens the journal where the configuration says, with the lease of whoever may write to it."""

from __future__ import annotations

import hashlib
import json
import socket
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from agent.aside import Aside, OnThread, at_once, in_thread
from agent.config.model import Config
from agent.config.secrets import locate
from agent.journal.engines import (
    BUSY_MILLISECONDS,
    LOOP_MILLISECONDS,
    ODD_PASSWORD,
    bring_up_to_date,
    open_file,
    open_server,
)
from agent.journal.hosts import Alone, Hosts, Lease, LeaseRules, Member, claim
from agent.journal.in_use import used
from agent.journal.lease import ServerLease
from agent.journal.orders import Orders
from agent.journal.reading import Reader
from agent.journal.spots import SharedSpots
from agent.journal.transactions import TxJournal
from agent.journal.writing import Journal
from agent.market.model import Address
from agent.secret import SecretUrl, read_plain
from agent.wiring.adapters import contract_of
from faults import MustStop, RetryLater, UsageFault

if TYPE_CHECKING:
    import sqlalchemy as sa

SCHEMES = ("postgresql+psycopg",)
LEASE_MILLISECONDS = 2_000  # a renewal that takes longer is one that failed
# One read of the history of years takes a server tens of seconds (2 million lines: 22 on a busy
# machine), and who gave it up would begin anew, for ever, and act on nothing. Nobody waits for it.
HISTORY_MILLISECONDS = 600_000
# What hosts of one journal must agree on; a host's own paths, nodes and keys may differ.
_SHARED = ("offers", "listing", "jobs", "deadlines", "keepalive", "breaker", "enclave", "aws")


@dataclass(frozen=True, slots=True)
class OpenJournal:
    """The writer, what the loop reads and records through, and the lease of both.

    `aside` is where the loop's reads are made, `recording` where transactions are: on threads where
    there is a server. `restoring` is where the whole history is read, at a start or a takeover.
    """

    journal: Journal
    reader: Reader
    record: TxJournal
    kept: ServerLease | None  # None: this host is alone
    spots: SharedSpots | None  # None: a folder of this host
    last_order: int = 0  # when this process began
    aside: Aside = at_once
    recording: Aside = at_once
    restoring: Aside = in_thread


def server_of(config: Config) -> SecretUrl | None:
    """The journal's server; None: it is a file. Raises UsageFault: the URL's file is missing, or
    holds none."""
    if not config.journal.url_file:
        return None
    try:
        text = read_plain(locate(config.journal.url_file, config.base))
    except UsageFault as wrong:
        raise UsageFault(f"journal.url_file: {wrong}") from None
    try:
        return SecretUrl(text, SCHEMES)
    except UsageFault as wrong:
        raise UsageFault(f"journal.url_file: {wrong}; {ODD_PASSWORD}") from None


def open_engine(config: Config, milliseconds: int = BUSY_MILLISECONDS) -> sa.Engine:
    """An engine on the journal, wherever it is. Raises what opening it does."""
    url = server_of(config)
    return (
        open_file(config.journal_file, milliseconds)
        if url is None
        else open_server(url, milliseconds)
    )


def lease_name(config: Config, provider: Address) -> str:
    """One lease for each provider of a contract."""
    return f"{config.chain.chain_id}:{contract_of(config)}:{provider}".lower()


def config_digest(config: Config) -> str:
    """The same on all hosts that would decide alike."""
    config = replace(config, offers=tuple(sorted(config.offers, key=lambda one: one.type)))
    shared = {name: asdict_of(getattr(config, name)) for name in _SHARED}
    return hashlib.sha256(json.dumps(shared, sort_keys=True, default=str).encode()).hexdigest()[:12]


def asdict_of(section: object) -> object:
    """A section, or several of them, as plain values."""
    if isinstance(section, tuple):
        return [asdict(one) for one in section]
    return asdict(section)  # type: ignore[call-overload] # sections are dataclasses


def host_name(config: Config) -> str:
    """This host's name among those that share a journal."""
    return config.journal.host or socket.gethostname()


def open_journal(
    config: Config, provider: Address, version: str, stack: AsyncExitStack
) -> OpenJournal:
    """For an agent; closed by `stack`, the lease last: what is flushed at the end is fenced too.
    Raises RetryLater, too, where the state directory can't be had: a disk may be mounted late, and
    its owner be set right."""
    try:
        return _open_journal(config, provider, version, stack)
    except OSError as error:
        place = error.filename or config.state
        raise RetryLater(
            f"the journal can't be opened: {place}: {error.strerror}; whoever runs this has to own "
            f"the state directory {config.state}"
        ) from None


def _open_journal(
    config: Config, provider: Address, version: str, stack: AsyncExitStack
) -> OpenJournal:
    url = server_of(config)
    kept = None if url is None else _open_lease(config, url, provider, version, stack)
    lease: Lease = kept or Alone()
    if kept is None:
        stack.enter_context(used(config.journal_file.parent))
    journal = Journal(open_engine(config), lease)
    stack.callback(journal.close)
    if kept is None:
        refuse_another_s(journal.engine, config, provider)
        claim(journal.engine, lease_name(config, provider))
    engine = open_engine(config, LOOP_MILLISECONDS if kept is None else BUSY_MILLISECONDS)
    stack.callback(engine.dispose)
    record, last = TxJournal(engine, lease), Orders(engine).last()
    opened = OpenJournal(journal, Reader(engine), record, kept, None, last)
    if kept is None:
        return opened
    history = open_engine(config, HISTORY_MILLISECONDS)
    stack.callback(history.dispose)
    aside, recording = OnThread("journal-reads"), OnThread("transactions")
    stack.callback(aside.close)
    stack.callback(recording.close)
    spots = SharedSpots(journal.engine, lease)
    return replace(
        opened,
        reader=Reader(history), spots=spots, aside=aside, recording=recording, restoring=aside,
    )  # fmt: skip


def _open_lease(
    config: Config, url: SecretUrl, provider: Address, version: str, stack: AsyncExitStack
) -> ServerLease:
    engine = open_server(url, LEASE_MILLISECONDS)
    stack.callback(engine.dispose)
    refuse_another_s(engine, config, provider)
    member = Member(host_name(config), version, config_digest(config))
    rules = LeaseRules(seconds=config.journal.lease_seconds)
    up = partial(bring_up_to_date, url)
    kept = ServerLease(engine, lease_name(config, provider), member, rules, bring_up=up)
    stack.callback(partial(kept.release))
    return kept


def refuse_another_s(engine: sa.Engine, config: Config, provider: Address) -> None:
    """Nonces and jobs are told apart by their numbers alone. Raises MustStop: with those of another
    chain, contract or provider among them the next transaction would wait for ever behind nonces
    that this account never used, and what ended there would have ended here."""
    name = lease_name(config, provider)
    others = [one for one in Hosts(engine).names() if f"{one}:".partition(f"{name}:")[0]]
    if others:
        where, todo = f"the journal {config.journal_file}", "name another state_dir for each"
        if server_of(config) is not None:
            where, todo = "the journal's database", "make one for each, by createdb"
        text = f"{where} is another provider's: {others[0]}, and not {name}"
        raise MustStop(f"{text} (chain, contract, provider); {todo}")
