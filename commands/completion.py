"""What a shell offers after TAB: the words that this configuration knows; quick, and no error.

Only files are read (the configuration, the journal): a TAB asks no node and no cloud.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from agent.config import Config

MOST = 200
POLICIES = ("agent", "boundary", "host", "operator")


def _safely(words: Callable[[Config], Iterable[str]]) -> Callable[[typer.Context, str], list[str]]:
    """Of the configuration that counts, named on the line before or not, those that begin as what
    was typed; none where it can't be read."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        from agent.config import load
        from faults import Fault

        given = ctx.params.get("config")
        try:
            config = load(Path(given) if given else None)
            return [word for word in words(config) if word.startswith(incomplete)]
        except (Fault, OSError):
            return []

    return complete


def _types(config: Config) -> Iterable[str]:
    return [offer.type for offer in config.offers]


def _regions(config: Config) -> Iterable[str]:
    return config.aws.regions


def _begun_types(config: Config) -> Iterable[str]:
    """Offered types, and the regions with a slash for a new one."""
    return [*_types(config), *(f"{region}/" for region in config.aws.regions)]


def _jobs(config: Config) -> Iterable[str]:
    """The newest of the journal."""
    from commands.journal import open_reader

    with open_reader(config) as reader:
        return [str(job) for job in reader.jobs(MOST)]


def _policies(incomplete: str) -> list[str]:
    return [name for name in POLICIES if name.startswith(incomplete)]


offered_types = _safely(_types)
types = _safely(_begun_types)
regions = _safely(_regions)
jobs = _safely(_jobs)
policies = _policies
