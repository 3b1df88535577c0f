"""`oyster-provider journal ...`: moving the journal from a file to the server that hosts share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.terminal import ConfigOption, JsonOption, print_json, print_table, say, waiting

if TYPE_CHECKING:
    import sqlalchemy as sa

    from agent.config import Config

STATEMENT_MILLISECONDS = 60_000  # a thousand rows at once, on a server that may be far and small

app = typer.Typer(no_args_is_help=True, help="The journal: moving it to a server.")


@app.command()
def copy(
    file: Annotated[
        Path | None,
        typer.Option("--from", help="The journal's file; that of state_dir when left out."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the journal of this host's file to journal.url_file's server, once: all or nothing."""
    from agent.config import load
    from agent.journal.copying import copy as copy_all
    from agent.journal.in_use import alone
    from cloud.ec2.spots import LaunchMemory
    from faults import Refused

    loaded = load(config)
    if not loaded.journal.url_file:
        raise Refused("journal.url_file names no server to copy to: see docs/several-hosts.md")
    source = file or loaded.journal_file
    with alone(_folder_of(source)), _engines(loaded, source) as (old, new):
        sent = LaunchMemory.within(source.parent / loaded.cloud_state.name).rows()
        waiting(f"copying {source}")
        copied = copy_all(old, new, sent)
    if as_json:
        print_json(copied)
        return
    rows = [(name, str(count)) for name, count in copied.items()]
    print_table(("table", "rows copied"), rows, empty="")
    say(f"{source} stays as it was; agents use the server from now on")


def _folder_of(source: Path) -> Path:
    from faults import UsageFault

    if not source.is_file():
        raise UsageFault(f"{source}: there is no journal; name it with --from")
    return source.parent


@contextmanager
def _engines(loaded: Config, source: Path) -> Iterator[tuple[sa.Engine, sa.Engine]]:
    """Both with their newest schema, so that their tables are the same."""
    from agent.journal.engines import open_file
    from agent.wiring.journal import open_engine

    with (
        _closing(open_file(source)) as old,
        _closing(open_engine(loaded, STATEMENT_MILLISECONDS)) as new,
    ):
        yield old, new


@contextmanager
def _closing(engine: sa.Engine) -> Iterator[sa.Engine]:
    try:
        yield engine
    finally:
        engine.dispose()
