"""How each trouble of a plan is brought about in a running storm."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import sqlalchemy as sa

from devnet.simulation.fault_plan import Kind, Trouble
from devnet.simulation.model_faults import Fit
from devnet.simulation.wire import fault_acts as wire
from faults import Fault, RetryLater

if TYPE_CHECKING:
    from devnet.simulation.storm import Storm


def begin(storm: Storm, trouble: Trouble) -> None:
    """Start one trouble; those that last end by themselves."""
    seconds = trouble.until - trouble.since
    later = asyncio.get_running_loop().call_later
    if trouble.kind in FITS:
        for fit in FITS[trouble.kind]:
            now = storm.clock.now()
            storm.weather.fits.append(replace(fit, since=now, until=now + seconds))
    elif trouble.kind in SWITCHES:
        switch = SWITCHES[trouble.kind]
        switch(storm, trouble, True)
        later(seconds, lambda: switch(storm, trouble, False))
    elif trouble.kind in wire.SWITCHES:
        wire_switch = wire.SWITCHES[trouble.kind]
        wire_switch(storm, trouble, True)
        later(seconds, lambda: wire_switch(storm, trouble, False))
    elif trouble.kind in wire.MOMENTS:
        wire.MOMENTS[trouble.kind](storm, trouble)
    elif trouble.kind is Kind.REORG:
        rng = random.Random(trouble.size)
        storm.chain.reorganise(rng.randint(1, storm.what.depth), rng)
    else:
        storm.lives.kill(trouble)


def _silent() -> Fault:
    return RetryLater("simulated: no answer")


def fits(*where: str, after: bool = False, times: int = 10**9) -> tuple[Fit, ...]:
    return tuple(Fit(one, _silent, after=after, times=times) for one in where)


FITS: dict[Kind, tuple[Fit, ...]] = {
    Kind.CHAIN_DOWN: fits("chain.read", "chain.send"),
    Kind.WITNESS_DOWN: fits("witness.read"),
    Kind.SEND_FAILS: fits("chain.send"),
    Kind.SEND_REPLY_LOST: fits("chain.send", after=True, times=3),
    Kind.LAUNCH_THROTTLED: fits("cloud.launch"),
    Kind.LAUNCH_REPLY_LOST: fits("cloud.launch", after=True, times=3),
    Kind.LIST_DOWN: fits("cloud.list"),
    Kind.TERMINATE_FAILS: fits("cloud.terminate"),
    Kind.TERMINATE_REPLY_LOST: fits("cloud.terminate", after=True, times=2),
    Kind.S3_DOWN: fits(
        "mailbox.reports", "mailbox.write", "mailbox.stage", "mailbox.forget", "mailbox.unstage"
    ),
    Kind.GATEWAYS_DOWN: fits("images.fetch"),
    Kind.BLIND: fits("attest"),
}

Switch = Callable[["Storm", Trouble, bool], None]


def _lag(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.chain.views.lag = (1 + trouble.size % 6) if on else 0


def _empty(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.chain.views.empty = on


def _lies(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.chain.views.lies = trouble.size if on else 0


def _deaf(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.chain.views.deaf = on


def _echo(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.chain.views.echo = on


def _halt(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.chain.frozen = on


def _sold_out(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.cloud.zones = {"a": 0, "b": 0} if on else {"a": 10**6, "b": 10**6}


def _quota(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.cloud.capacity = 0 if on else 10**6


def _list_empty(storm: Storm, trouble: Trouble, on: bool) -> None:
    storm.cloud.list_empty = on


def _stall(storm: Storm, trouble: Trouble, on: bool) -> None:
    if on:
        storm.images.stalled_until = storm.clock.now() + trouble.until - trouble.since


def _jump(storm: Storm, trouble: Trouble, on: bool) -> None:
    """Seconds mostly, an hour sometimes, either way."""
    rng = random.Random(trouble.size)
    far = rng.choice([2.0, 15.0, 25.0, 600.0, 3600.0])
    storm.agent_clock.skew_seconds = rng.choice([-far, far]) if on else 0.0


def _full(storm: Storm, trouble: Trouble, on: bool) -> None:
    """The journal's file can't grow: SQLite says that the disk is full."""
    storm.chain.disk_full = on
    with storm.lives.engine.connect() as connection:
        pages = connection.execute(sa.text("PRAGMA page_count")).scalar()
        connection.execute(sa.text(f"PRAGMA max_page_count = {pages if on else 2**30}"))


SWITCHES: dict[Kind, Switch] = {
    Kind.CHAIN_LAGS: _lag,
    Kind.CHAIN_EMPTY: _empty,
    Kind.CHAIN_LIES: _lies,
    Kind.EVENTS_LOST: _deaf,
    Kind.EVENTS_DOUBLED: _echo,
    Kind.NO_BLOCKS: _halt,
    Kind.SOLD_OUT: _sold_out,
    Kind.QUOTA: _quota,
    Kind.LIST_EMPTY: _list_empty,
    Kind.GATEWAYS_STALL: _stall,
    Kind.CLOCK_JUMPS: _jump,
    Kind.DISK_FULL: _full,
}
