"""100,000 blocks with 5,000 events of ours, read from a cursor before them, on anvil.

The market has a handful of jobs while the blocks are made: anvil hashes the whole state for each.
"""

from __future__ import annotations

import asyncio

import httpx

from bench.chain import (
    BACKLOG_BLOCKS,
    BACKLOG_EVENTS,
    SAMPLES,
    backlog,
    find_anvil,
    node,
    prepared,
    request,
)
from bench.figure import Figure, NotRun

INSTALL = "npm install --no-save --prefix .ci/anvil @foundry-rs/anvil@1.7.1"
TARGET_SECONDS = 60.0


def run() -> list[Figure]:
    """Raises NotRun where anvil is not installed."""
    anvil = find_anvil()
    if anvil is None:
        raise NotRun(f"anvil is not installed: {INSTALL}")
    with node(anvil) as url, httpx.Client() as client:
        chain = prepared(url, client)
        chain.send(client, *(request(chain) for _ in range(SAMPLES)))
        chain.wait(client)
        found = asyncio.run(backlog(chain, client))
    name = f"backlog of {found['blocks']:,.0f} blocks with {BACKLOG_EVENTS:,} events of ours"
    note = f"{found['jobs']} jobs named in {found['calls']} turns; anvil"
    short = found["blocks"] < BACKLOG_BLOCKS or found["events"] < BACKLOG_EVENTS
    if short or found["jobs"] != SAMPLES:
        raise RuntimeError(f"the backlog is not what was asked for: {found}")
    return [Figure(name, found["seconds"], "s", TARGET_SECONDS, None, True, note)]
