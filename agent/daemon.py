"""`oyster-provider run`: the agent as a process, with its signals, systemd and the status server.

It waits for a world that is away; READY=1 comes when everything is open and the chain was read;
WATCHDOG=1 follows turns of the loop, not time alone. SIGTERM ends within seconds and touches no
enclave, SIGHUP reads the configuration anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import structlog

from agent.apply.clock_by_aws import ClockByAws
from agent.clock import SystemClock
from agent.config import Config, load
from agent.loop.restore import restored
from agent.loop.service import Agent
from agent.loop.state import LoopState, Progress
from agent.ports import Clock
from agent.process import crashes, garbage
from agent.process.closing import closing_in_time
from agent.process.reloading import Reloading
from agent.process.waiting import ATTEMPT_SECONDS, opened
from agent.sd_notify import Notifier
from agent.status import Metrics, StatusServer, notify_send
from agent.status.agent_view import AgentView
from agent.status.books import Books
from agent.status.money import Money
from agent.status.tally import Tally
from agent.status.upkeep import Upkeep
from agent.status.waiting_room import WaitingRoom
from agent.wiring.agent import wired
from agent.wiring.wired import Wired
from faults import Bug, Fault, Fenced

log = structlog.get_logger()

Opening = Callable[[Config, Clock], AbstractAsyncContextManager[Wired]]
Follow: TypeAlias = Callable[[], Awaitable[None]]
"""What goes on beside the loop, until it is cancelled."""

_TURN_SECONDS = 0.0005
_ARENA_MAX, _MMAP_THRESHOLD = -8, -3  # M_ARENA_MAX and M_MMAP_THRESHOLD of glibc's malloc.h
_ENDS = (signal.SIGTERM, signal.SIGINT)
ASIDE_SECONDS = 60.0  # before what broke beside the loop begins anew
HAND_OVER_SECONDS = 3.0
STOP_SECONDS = 8.0  # a loop that does not end by then is left behind


def keep_to_itself() -> None:
    """This process alone reads what it writes, and no dump of its memory shows its key."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def few_heaps() -> None:
    """Have glibc keep two heaps, and take what is large from the kernel and give it back at once.

    By default each of the threads that talk to AWS has a heap of its own, and the answers they
    read leave holes in all of them (mallopt(3)). Before any thread; nothing elsewhere than glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_ARENA_MAX, 2)
        mallopt(_MMAP_THRESHOLD, 256 << 10)


def short_turns() -> None:
    """Have threads hand the interpreter over after half a millisecond, not five.

    The loop waits that long for each thread that computes (botocore's, at a launch), each time.
    """
    sys.setswitchinterval(_TURN_SECONDS)


async def serve(
    config: Config,
    path: Path | None,
    clock: Clock | None = None,
    opening: Opening = wired,
) -> None:
    """Run until SIGTERM or SIGINT. Raises MustStop when going on would do harm, Bug when a loop
    broke, UsageFault when the configuration can't be served."""
    few_heaps()
    short_turns()
    clock, notifier = ClockByAws(clock or SystemClock()), Notifier()
    starting = _Starting(config, Reloading(path, notifier))
    stack, code = AsyncExitStack(), 0
    stack.enter_context(garbage.set_aside())
    try:
        await _slowed(notifier, clock)
        room = WaitingRoom(config.status)
        try:
            begin = partial(_opening, opening, starting, clock)
            world = await opened(begin, stack, notifier, clock, room.say)
        finally:
            await room.leave()
        await _serve(world, starting.reloading, notifier, clock)
    except asyncio.CancelledError:
        if not starting.stopped:
            raise
    except Fault as fault:
        code = fault.exit_code
        raise
    finally:
        with closing_in_time(code):
            await stack.aclose()
    log.info("service.stopped")


def _opening(
    opening: Opening, starting: _Starting, clock: Clock
) -> AbstractAsyncContextManager[Wired]:
    """By the configuration as it is when it is tried."""
    starting.read_again()
    return opening(starting.config, clock)


async def _serve(world: Wired, reloading: Reloading, notifier: Notifier, clock: Clock) -> None:
    metrics, money = Metrics(), Money(world, clock)
    tally, upkeep = Tally(metrics, clock), Upkeep(world, reloading.path, clock)
    await restored(world.state.restoring, world.state.reader, [tally.restore])
    world.state.told_elsewhere.append(tally.restore)
    view = AgentView(world, money, tally, upkeep, clock)
    books = Books(world, money, upkeep, view.rows, clock)
    metrics.watch(view, clock)
    world.state.world.journal.told = tally.event
    world.state.world.learner.told = metrics.stage
    follows = _follows(world, money, upkeep, books, clock) | _notices(world, view, clock)
    async with StatusServer(world.config.status, view, books, metrics, clock) as server:
        provider = str(world.state.sources.account.provider)
        log.info("service.started", provider=provider, **server.addresses)
        _on_signals(world, reloading, upkeep)
        upkeep.note(world.config)
        world.agent.on_turn = _turns(notifier, metrics, world.state, reloading)
        announced = _announced(world, reloading, notifier, clock)
        try:
            async with _beside(follows, announced, clock):
                await _until_stopped(world.agent)
        finally:
            await _hand_over(world)
        notifier.stopping("stopping; enclaves run on")


def _follows(
    world: Wired, money: Money, upkeep: Upkeep, books: Books, clock: Clock
) -> dict[str, Follow]:
    """What goes on beside the loop, by name."""
    follows: dict[str, Follow] = {
        "money": lambda: _figures(world, money, clock),
        "upkeep": upkeep.follow,
        "history": partial(_once_leading, world, world.history.follow),
        "books": books.follow,
    }
    if world.chain.transactions is not None:
        others = world.chain.transactions.others
        follows["senders"] = partial(_once_leading, world, others.follow)
    if world.alike is not None:
        follows["alike"] = partial(world.alike.follow, clock)
    return follows


def _notices(world: Wired, view: AgentView, clock: Clock) -> dict[str, Follow]:
    """What tells people of trouble, if anybody is to be told."""
    told = notify_send.notifier_of(world.config)
    if told is None:
        return {}
    rules = notify_send.word_rules_of(world.config)
    return {"notify": partial(notify_send.follow, told, view, rules, clock)}


@asynccontextmanager
async def _beside(
    follows: Mapping[str, Follow], announced: Coroutine[None, None, None], clock: Clock
) -> AsyncIterator[None]:
    """All of them until the block ends."""
    tasks = [asyncio.create_task(_aside(*each, clock), name=each[0]) for each in follows.items()]
    tasks.append(asyncio.create_task(announced))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _announced(world: Wired, reloading: Reloading, notifier: Notifier, clock: Clock) -> None:
    """READY=1 once all jobs were read from the chain, or another host leads and this one has looked
    at the fleet; until then systemd is asked to wait."""
    while not _is_up(world.state):
        notifier.starting(ATTEMPT_SECONDS, reloading.words(world.state.in_words()))
        await clock.sleep(1.0)
    reloading.announce(world.state.in_words())


def _is_up(state: LoopState) -> bool:
    stands_by = state.leadership.stands_by and state.progress.finished_at > 0
    return state.progress.resynced_at is not None or stands_by


class _Starting:
    """Signals before there is an agent: an end ends the waiting, a reload is for the next try."""

    def __init__(self, config: Config, reloading: Reloading) -> None:
        self.config, self.reloading = config, reloading
        self.stopped = False
        self._task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in _ENDS:
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(
            signal.SIGHUP, lambda: reloading.again(self._take, lambda: "waiting to start")
        )

    def _stop(self) -> None:
        self.stopped = True
        if self._task is not None:
            self._task.cancel()

    def _take(self, config: Config) -> None:
        self.config = config

    def read_again(self) -> None:
        """While it waits somebody mends the file, or lists an offer: what is served at last is what
        the file says by then. One that is wrong changes nothing here; a restart would say why."""
        with contextlib.suppress(Fault):
            self.config = load(self.reloading.path)


async def _slowed(notifier: Notifier, clock: Clock) -> None:
    """Wait as long as a crash loop has to."""
    if pause := crashes.note_start(clock.now()):
        said = f"started too often in ten minutes; waits {pause:.0f} s"
        log.warning("service.slowed", seconds=pause)
        notifier.starting(pause + ATTEMPT_SECONDS, said)
        await clock.sleep(pause)


async def _once_leading(world: Wired, follow: Follow) -> None:
    """What writes lines of its own: a host that stands by writes none."""
    await world.state.leadership.leads.wait()
    await follow()


async def _aside(name: str, follow: Follow, clock: Clock) -> None:
    """What only shows things must end nothing: its bug is logged, and it begins anew."""
    while True:
        try:
            await follow()
        except Exception as broken:
            log.exception("aside.bug", aside=name, error=repr(broken))
        await clock.sleep(ASIDE_SECONDS)


async def _figures(world: Wired, money: Money, clock: Clock) -> None:
    """After the first look at all jobs: figures wait, and most of them are known by then."""
    while world.state.progress.resynced_at is None or not world.state.progress.turns:
        await clock.sleep(1.0)
    await money.follow()


async def _hand_over(world: Wired) -> None:
    """What was noted is stored and the lease is free, before what else is open is closed: whoever
    stands by goes on meanwhile. A server that hangs is left to the closing, which is bounded."""
    if world.kept is None:
        return
    with contextlib.suppress(Fenced, TimeoutError):  # Fenced: another leads already
        async with asyncio.timeout(HAND_OVER_SECONDS):
            await world.state.world.journal.caught_up()
            await asyncio.to_thread(world.kept.release)


async def _until_stopped(agent: Agent) -> None:
    """The agent's own end, at most STOP_SECONDS after it was asked for."""
    running = asyncio.create_task(agent.run(), name="agent")
    asked = asyncio.create_task(agent.stopped(), name="stop")
    await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    done, _ = await asyncio.wait({running}, timeout=STOP_SECONDS)
    if not done:
        running.cancel()
        raise Bug("the loop did not end in time; enclaves were not touched")
    with contextlib.suppress(asyncio.CancelledError):
        running.result()


def _on_signals(world: Wired, reloading: Reloading, upkeep: Upkeep) -> None:
    loop = asyncio.get_running_loop()
    for number in _ENDS:
        loop.add_signal_handler(number, world.agent.stop)

    def take(config: Config) -> None:
        world.reload(config)
        upkeep.note(config)

    loop.add_signal_handler(signal.SIGHUP, lambda: reloading.again(take, world.state.in_words))


def _turns(
    notifier: Notifier, metrics: Metrics, state: LoopState, reloading: Reloading
) -> Callable[[Progress], None]:
    """After each turn of the loop: the watchdog, the metrics, one line of words."""

    def turned(progress: Progress) -> None:
        notifier.alive()
        metrics.finished_pass(progress.turn_seconds)
        notifier.status(reloading.words(state.in_words()))

    return turned
