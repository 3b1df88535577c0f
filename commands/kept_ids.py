"""Which ids of a market are this provider's, kept between commands where no chain lists them.

A market whose contract lists no provider's jobs is read id by id; a command that did so each time
would cost an exchange for a hundred jobs of anybody's. What was read is kept in the state directory
beside what the journal has, by the agent's own rules: ids that a fork may have given away since are
read again. Without a state directory that can be written, everything is read; nothing here is ever
needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import foreign_json
from agent.journal.reading import Reader
from agent.market.model import BlockRef, JobId
from agent.markets.marketv1.seen import MOST_JOBS, Mark, Seen
from agent.wiring.markets import memory_of_ids
from commands.context import Desk

FILE = "market-ids.json"
_SCHEMA = 1


async def own_jobs(desk: Desk, reader: Reader, at: BlockRef) -> list[JobId]:
    """The provider's jobs that are active, or still paid for. Raises RetryLater, TryElsewhere."""
    seen = memory_of_ids(desk.reads)
    if seen is None:
        return list((await desk.reads.listing(desk.provider, at))[0])
    path, whose = desk.config.state / FILE, _whose(desk)
    restore(seen, path, whose)
    seen.ours |= reader.assigned()
    ids, _ = await desk.reads.listing(desk.provider, at)
    keep(seen, path, whose)
    return list(ids)


def _whose(desk: Desk) -> str:
    return f"{desk.config.chain.chain_id}:{desk.registry}:{desk.provider}".lower()


def restore(seen: Seen, path: Path, whose: str) -> None:
    """Take up what was kept of this contract and provider; anything else is as nothing."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        kept = foreign_json.loads(path.read_bytes())
        if kept["schema"] == _SCHEMA and kept["whose"] == whose:
            marks = [Mark(*map(_number, mark)) for mark in kept["marks"]]
            ours = {JobId(_number(job)) for job in kept["ours"]}
            over = {JobId(_number(job)): _number(block) for job, block in kept["over"]}
            seen.marks[""], seen.over[""] = marks, over
            seen.ours |= ours


def _number(said: Any) -> int:
    if type(said) is not int or not 0 <= said <= MOST_JOBS:
        raise ValueError("no such number")
    return said


def keep(seen: Seen, path: Path, whose: str) -> None:
    """For the next command; a directory that is not there or can't be written is no fault."""
    marks = [[mark.block, mark.count, mark.proven] for mark in seen.marks.get("", [])]
    over = sorted(seen.over.get("", {}).items())
    said = {"schema": _SCHEMA, "whose": whose, "marks": marks, "ours": sorted(seen.ours),
            "over": over}  # fmt: skip
    with contextlib.suppress(OSError):
        handle, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=path.parent)
        try:
            with os.fdopen(handle, "w") as file:
                json.dump(said, file)
            Path(name).replace(path)
        finally:
            Path(name).unlink(missing_ok=True)
