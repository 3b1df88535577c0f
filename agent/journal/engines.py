"""The journal's database: a file of SQLite's, or a server with PostgreSQL for several hosts.

All that the two do differently is here; tables, reads and writes are the same statements. Each of
them goes through `asking` or `changing`, which say as faults what the driver raises. psycopg is
imported by SQLAlchemy when a server is named, and never otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import sqlalchemy as sa
from sqlalchemy.exc import DatabaseError, InternalError, OperationalError, SQLAlchemyError
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random

from agent.journal.limits import Limits, is_pooled, limit, limits_of, of_migrations
from agent.journal.migrating import is_behind, is_current, migrate
from agent.journal.refusals import as_fault, at_the_door, first_line, holds_file, of_the_disk
from agent.secret import SecretUrl
from faults import Fault, MustStop, RetryLater

BUSY_MILLISECONDS = 5_000  # how long a writer waits for another process's commit
LOOP_MILLISECONDS = 100  # the same for who sits on the agent's loop: then it is asked again later
CONNECT_SECONDS = 2  # a server that takes no connection in this time is away
SILENT_MILLISECONDS = 3_000  # a session ends that leaves sent bytes unacknowledged for so long
WAY_SECONDS = 2.0  # beyond a statement's time at the server, for its answer to come
MIGRATION_SECONDS = 3_600.0  # an index of years of lines takes longer than any statement may

ODD_PASSWORD = "in a password @ / ? # % are written %40 %2F %3F %23 %25"  # noqa: S105 - a word of help

_ONLY_READS = "25006"  # read_only_sql_transaction
_ENCODINGS = (
    "UTF8",
    "SQL_ASCII",
    None,
)  # the second stores bytes as they come; a proxy may not say

Fence: TypeAlias = Callable[[sa.Connection], None]
"""First in a writing transaction; raises Fenced where another host leads."""


def open_file(path: Path, busy_milliseconds: int = BUSY_MILLISECONDS) -> sa.Engine:
    """An engine on the journal's file, its schema current.

    Raises RetryLater while another process holds the file, or its disk refuses it (full, only to
    be read, another's), MustStop when it is damaged, or no journal.
    """
    _own(path)
    engine = sa.create_engine(f"sqlite:///{path}")
    sa.event.listen(engine, "connect", partial(_prepare_file, busy_milliseconds))
    try:
        migrate(engine)
    except DatabaseError as broken:
        engine.dispose()
        if broken.orig and holds_file(broken.orig):
            raise RetryLater(f"another process holds the journal {path}: {broken.orig}") from None
        text = f"the journal {path} can't be opened: {broken.orig}"
        if todo := of_the_disk(broken):
            raise RetryLater(f"{text}; {todo}") from None
        raise MustStop(f"{text}; move it away") from None
    return engine


def open_server(url: SecretUrl, patience_milliseconds: int = BUSY_MILLISECONDS) -> sa.Engine:
    """An engine on the journal's PostgreSQL, its schema current.

    `patience_milliseconds` bounds each statement; one that is not answered a little later closes
    its connection. Raises RetryLater while the server does not answer, can't be trusted or takes no
    connection of ours (it starts, is full, or does not know the password, which may be the next
    one's), MustStop when this user may not use it or the URL is none.
    """
    answer_seconds = patience_milliseconds / 1000 + WAY_SECONDS
    engine = _server(url, limits_of(patience_milliseconds), answer_seconds)
    try:
        with _at_the_door(url):
            if not _is_current(engine):
                _migrate_server(url, patience_milliseconds)
    except Fault:
        engine.dispose()
        raise
    return engine


def bring_up_to_date(url: SecretUrl) -> None:
    """Migrate a journal that its server forgot a migration of: a copy that followed too late took
    its place, or an older state was restored. Where there is none it is not made anew, empty.
    Raises what `open_server` does."""
    engine = _server(url, of_migrations(BUSY_MILLISECONDS), MIGRATION_SECONDS)
    try:
        with _at_the_door(url):
            with engine.connect() as connection:
                behind = is_behind(connection)
            if behind:
                migrate(engine)
    finally:
        engine.dispose()


def _is_current(engine: sa.Engine) -> bool:
    with engine.connect() as connection:
        return is_current(connection)


def _migrate_server(url: SecretUrl, patience_milliseconds: int) -> None:
    engine = _server(url, of_migrations(patience_milliseconds), MIGRATION_SECONDS)
    try:
        migrate(engine)
    finally:
        engine.dispose()


@contextmanager
def _at_the_door(url: SecretUrl) -> Iterator[None]:
    try:
        yield
    except (OperationalError, InternalError) as away:
        raise at_the_door(f"the journal's server {url}", away) from None
    except DatabaseError as broken:
        raise MustStop(f"the journal on {url} can't be opened: {first_line(broken)}") from None


def _server(url: SecretUrl, limits: Limits, answer_seconds: float) -> sa.Engine:
    try:
        engine = sa.create_engine(
            url.reveal(),
            pool_pre_ping=True,
            pool_size=4,
            isolation_level="READ COMMITTED",  # what the fence is made for, whatever is the default
            connect_args={
                "connect_timeout": CONNECT_SECONDS,
                "tcp_user_timeout": SILENT_MILLISECONDS,
                "client_encoding": "utf8",  # also of a database that was made without one
                "prepare_threshold": None,  # a pooler may give each transaction another backend
            },
        )
    except (sa.exc.ArgumentError, ImportError) as wrong:
        said = "psycopg is not installed: pip install 'oyster-provider[several]'"
        text = (
            said if isinstance(wrong, ImportError) else "write postgresql+psycopg://HOST/DATABASE"
        )
        raise MustStop(f"the journal's URL can't be used: {text}") from None
    if _reads_in_two_ways(url.reveal(), engine.url.host):
        raise MustStop(f"the journal's URL can't be used: {ODD_PASSWORD}")
    from agent.journal.patient import connect_by

    sa.event.listen(engine, "do_connect", connect_by(answer_seconds))
    sa.event.listen(engine, "connect", _refuse_encoding)
    limit(engine, limits)
    sa.event.listen(engine, "handle_error", _leave_copy)
    return engine


def _reads_in_two_ways(url: str, host: str | None) -> bool:
    """Whether a part of the password may be taken for the host: it would be shown, or asked for.
    What follows the host has no sign of a password's in it."""
    parts = urlsplit(url)
    behind = url.partition("://")[2].removeprefix(parts.netloc)
    return (host or "").lower() != parts.hostname or "@" in behind or "#" in behind


def _leave_copy(context: sa.engine.ExceptionContext) -> None:
    """A connection to a server that only reads stays well for as long as that is a copy, and the
    name may lead to the one that writes by now: the next statement connects anew."""
    if getattr(context.original_exception, "sqlstate", None) == _ONLY_READS:
        context.is_disconnect = True


def _own(path: Path) -> None:
    """The file is its owner's alone, whoever makes it first and whatever umask that one has; what
    SQLite puts beside it gets the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _prepare_file(busy_milliseconds: int, connection: Any, _record: object) -> None:
    """WAL, so that readers and the agent do not wait for each other. NORMAL syncs at checkpoints:
    what a power cut takes back, chain and tags still know. What they don't know is `synced`."""
    connection.execute(f"PRAGMA busy_timeout={busy_milliseconds}")
    _waiting(busy_milliseconds)(connection.execute, "PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _waiting(busy_milliseconds: int) -> Retrying:
    """For the change of a new file to WAL: SQLite does not wait there, whatever `busy_timeout`
    says, and who opened the file beside us was told that it is held."""
    return Retrying(
        retry=retry_if_exception(holds_file),
        stop=stop_after_delay(busy_milliseconds / 1000),
        wait=wait_random(0.001, 0.02),
        reraise=True,
    )


def _refuse_encoding(connection: Any, _record: object) -> None:
    """Raises MustStop: a row with any other letter would be refused, and what waits for it."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in _ENCODINGS:
        connection.close()
        raise MustStop(
            f"the journal's database has the encoding {encoding}, which lacks letters that jobs"
            " have; make one with createdb --encoding UTF8 --template template0"
        )


@contextmanager
def asking(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A connection for reads. Raises RetryLater while the journal can't be read, MustStop when its
    file is damaged."""
    with _told("the journal can't be read"), engine.connect() as connection:
        if engine.dialect.name != "sqlite" and not is_pooled(connection):
            # Each statement sees what is committed by then, as in a transaction of PostgreSQL's
            # default level: to begin and to end one would be two more round trips.
            connection.execution_options(isolation_level="AUTOCOMMIT")
        yield connection


@contextmanager
def changing(
    engine: sa.Engine, what: str, fence: Fence = lambda connection: None
) -> Iterator[sa.Connection]:
    """A transaction that is on the disk at its end, behind the fence. Raises Fenced; RetryLater
    and MustStop that begin with `what`; of a row that can't be stored what the driver raises."""
    with _told(what), _synced(engine) as connection:
        fence(connection)
        yield connection


@contextmanager
def noting(engine: sa.Engine, fence: Fence) -> Iterator[sa.Connection]:
    """The same where a power cut may take the end back; raises what the driver does, for who keeps
    the rows and writes them again."""
    with engine.begin() as connection:
        fence(connection)
        yield connection


@contextmanager
def _told(what: str) -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        fault = as_fault(error, what)
        if fault is None:
            raise
        raise fault from None


@contextmanager
def _synced(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that is on the disk at its end, whatever happens to the machine then."""
    if engine.dialect.name != "sqlite":
        with engine.begin() as connection:  # PostgreSQL's commit waits for its log by itself
            yield connection
        return
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA synchronous=FULL")
        try:
            yield connection
            connection.commit()
        finally:
            connection.rollback()
            connection.exec_driver_sql("PRAGMA synchronous=NORMAL")


@contextmanager
def alone(connection: sa.Connection) -> Iterator[None]:
    """A statement that may fail without taking others of its transaction with it. SQLite takes a
    failed statement back by itself; PostgreSQL needs a savepoint."""
    if connection.dialect.name == "sqlite":
        yield
        return
    with connection.begin_nested():
        yield


def storable(text: str) -> str:
    """`text` with what a database's text can't hold spelt out: half surrogates, which are no UTF-8,
    and NUL, which PostgreSQL refuses."""
    if text.isascii() and "\x00" not in text:
        return text
    return text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")


def storable_json(value: Any) -> Any:
    """The same of every text in a value that JSON can hold."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable_json(key): storable_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(one) for one in value]
    return value
