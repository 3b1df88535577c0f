"""How each trouble of a plan is brought about in a running storm."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace

from devnet.simulation.lives import Lives
from devnet.simulation.model_faults import Fit
from devnet.simulation.opinions import Lie
from devnet.simulation.stage import Stage
from devnet.simulation.storm_troubles import Kind, Trouble
from devnet.simulation.wire import storm_trouble_acts as wire
from faults import Fault, RetryLater


def begin(stage: Stage, lives: Lives, trouble: Trouble) -> None:
    """Start one trouble; those that last end by themselves."""
    seconds = trouble.until - trouble.since
    later = asyncio.get_running_loop().call_later
    if trouble.kind in FITS:
        for fit in FITS[trouble.kind]:
            now = stage.clock.now()
            stage.weather.fits.append(replace(fit, since=now, until=now + seconds))
    elif trouble.kind in SWITCHES:
        switch = SWITCHES[trouble.kind]
        switch(stage, trouble, True)
        later(seconds, lambda: switch(stage, trouble, False))
    elif trouble.kind in wire.SWITCHES:
        wire_switch = wire.SWITCHES[trouble.kind]
        wire_switch(stage, trouble, True)
        later(seconds, lambda: wire_switch(stage, trouble, False))
    elif trouble.kind in wire.MOMENTS:
        wire.MOMENTS[trouble.kind](stage, trouble)
    elif trouble.kind is Kind.DISK_FULL:
        lives.fill_disk(True)
        later(seconds, lambda: lives.fill_disk(False))
    elif trouble.kind is Kind.KILLED_SENDING:
        lives.kill_as_it_sends(trouble)
    elif trouble.kind is Kind.REORG:
        rng = random.Random(trouble.size)
        stage.chain.reorganise(rng.randint(1, stage.what.depth), rng)
    else:
        lives.kill(trouble)


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

Switch = Callable[[Stage, Trouble, bool], None]


def _lag(stage: Stage, trouble: Trouble, on: bool) -> None:
    stage.chain.views.lag = (1 + trouble.size % 6) if on else 0


def _empty(stage: Stage, trouble: Trouble, on: bool) -> None:
    stage.chain.views.empty = on


def _lies(stage: Stage, trouble: Trouble, on: bool) -> None:
    stage.chain.views.lies = trouble.size if on else 0


UNDECIDED = frozenset({Lie.OTHER_IMAGE, Lie.COUNT_LOW})


def _liar(stage: Stage, trouble: Trouble, on: bool) -> None:
    """The first endpoint or the second, by the trouble's size, which says how, too."""
    views = (stage.chain.views, stage.second_views)[trouble.size % 2]
    ways = stage.ways()
    lie = ways[trouble.size // 2 % len(ways)]
    if lie in UNDECIDED and stage.what.plan.forgets(trouble.since, trouble.until):
        lie = Lie.ENDED  # which of two it is, nobody can say who forgot what was told before
    views.lie = lie if on else None
    views.since, views.size = stage.clock.now(), trouble.size
    if views.lie is not None:
        stage.note(f"endpoint {1 + trouble.size % 2} lies: {views.lie}")


def _deaf(stage: Stage, trouble: Trouble, on: bool) -> None:
    stage.chain.views.deaf = on


def _echo(stage: Stage, trouble: Trouble, on: bool) -> None:
    stage.chain.views.echo = on


def _halt(stage: Stage, trouble: Trouble, on: bool) -> None:
    stage.chain.frozen = on


def _sold_out(stage: Stage, trouble: Trouble, on: bool) -> None:
    stage.cloud.zones = {"a": 0, "b": 0} if on else {"a": 10**6, "b": 10**6}


def _quota(stage: Stage, trouble: Trouble, on: bool) -> None:
    stage.cloud.capacity = 0 if on else 10**6


def _list_empty(stage: Stage, trouble: Trouble, on: bool) -> None:
    stage.cloud.list_empty = on


def _lose_images(stage: Stage, trouble: Trouble, on: bool) -> None:
    """Expired, or taken by somebody with a console: hosts on their way up do not find them."""
    for region, sha256 in sorted(stage.cloud.bucket) if on else ():
        stage.cloud.lose(region, sha256)


def _stall(stage: Stage, trouble: Trouble, on: bool) -> None:
    if on:
        stage.images.stalled_until = stage.clock.now() + trouble.until - trouble.since


def _jump(stage: Stage, trouble: Trouble, on: bool) -> None:
    """Seconds mostly, an hour sometimes, either way."""
    rng = random.Random(trouble.size)
    far = rng.choice([2.0, 15.0, 25.0, 600.0, 3600.0])
    stage.agent_clock.skew_seconds = rng.choice([-far, far]) if on else 0.0


SWITCHES: dict[Kind, Switch] = {
    Kind.CHAIN_LAGS: _lag,
    Kind.CHAIN_EMPTY: _empty,
    Kind.CHAIN_LIES: _lies,
    Kind.EVENTS_LOST: _deaf,
    Kind.LIAR: _liar,
    Kind.EVENTS_DOUBLED: _echo,
    Kind.NO_BLOCKS: _halt,
    Kind.SOLD_OUT: _sold_out,
    Kind.QUOTA: _quota,
    Kind.LIST_EMPTY: _list_empty,
    Kind.IMAGES_LOST: _lose_images,
    Kind.GATEWAYS_STALL: _stall,
    Kind.CLOCK_JUMPS: _jump,
}
