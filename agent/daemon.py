"""`oyster-provider run`: the agent as a process, with its signals, systemd and the status server.

READY=1 comes when everything is open; WATCHDOG=1 follows turns of the loop, not time alone.
SIGTERM ends within seconds and touches no enclave, SIGHUP reads the configuration anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import structlog

from agent.clock import SystemClock
from agent.config import Config, load
from agent.loop.service import Agent
from agent.loop.state import LoopState, Progress
from agent.ports import Clock
from agent.sd_notify import Notifier
from agent.status import Metrics, StatusServer
from agent.status.agent_view import AgentView
from agent.status.money import Money
from agent.status.tally import Tally
from agent.status.upkeep import Upkeep
from agent.wiring.agent import Wired, wired
from faults import Fault, MustStop, printable

log = structlog.get_logger()

_TURN_SECONDS = 0.0005
_ARENA_MAX, _MMAP_THRESHOLD = -8, -3  # M_ARENA_MAX and M_MMAP_THRESHOLD of glibc's malloc.h
STOP_SECONDS = 8.0  # a loop that does not end by then is left behind


def configure_log(config: Config) -> None:
    """Structured lines on standard error: colours on a terminal, else key=value, or JSON."""
    style = config.log.format
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    if style == "json":
        shared += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
    elif style == "auto" and sys.stderr.isatty():
        shared.append(structlog.dev.ConsoleRenderer())
    else:
        order = ["timestamp", "level", "event", "job"]
        shared += [
            structlog.processors.format_exc_info,
            _on_one_line,
            structlog.processors.LogfmtRenderer(key_order=order, drop_missing=True),
        ]
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[config.log.level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )


def _on_one_line(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """No user's, node's or host's words end a line or move the cursor of who reads the log."""
    return {
        name: value if isinstance(value, int | float) else printable(str(value), but="\n")
        for name, value in event.items()
    }


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


async def serve(config: Config, path: Path | None, clock: Clock | None = None) -> None:
    """Run until SIGTERM or SIGINT. Raises MustStop when going on would do harm."""
    few_heaps()
    short_turns()
    clock = clock or SystemClock()
    notifier = Notifier()
    async with wired(config, clock) as world:
        metrics = Metrics()
        money = Money(world, clock)
        tally = Tally(metrics, clock)
        tally.restore(world.state.reader)
        upkeep = Upkeep(world, path, clock)
        view = AgentView(world, money, tally, upkeep, clock)
        metrics.watch(view, clock)
        world.state.world.journal.told = tally.event
        world.state.world.learner.told = metrics.stage
        async with StatusServer(config.status, view, metrics, clock) as server:
            provider = str(world.state.sources.account.provider)
            log.info("service.started", provider=provider, **server.addresses)
            _on_signals(world, path, notifier)
            world.agent.on_turn = _turns(notifier, metrics, world.state)
            asides = [
                asyncio.create_task(_keep_figures(world, money, clock), name="money"),
                asyncio.create_task(upkeep.follow(), name="upkeep"),
            ]
            if world.slashes is not None:
                asides.append(asyncio.create_task(world.slashes.follow(), name="slashes"))
            notifier.ready("started")
            try:
                await _until_stopped(world.agent)
            finally:
                for aside in asides:
                    aside.cancel()
            notifier.stopping()
    log.info("service.stopped")


async def _keep_figures(world: Wired, money: Money, clock: Clock) -> None:
    """After the first look at all jobs: figures wait, and most of them are known by then."""
    while world.state.progress.resynced_at is None or not world.state.progress.turns:
        await clock.sleep(1.0)
    await money.follow()


async def _until_stopped(agent: Agent) -> None:
    """The agent's own end, at most STOP_SECONDS after it was asked for."""
    running = asyncio.create_task(agent.run(), name="agent")
    asked = asyncio.create_task(agent.stopped(), name="stop")
    await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    done, _ = await asyncio.wait({running}, timeout=STOP_SECONDS)
    if not done:
        running.cancel()
        raise MustStop("the loop did not end in time; enclaves were not touched")
    with contextlib.suppress(asyncio.CancelledError):
        running.result()


def _on_signals(world: Wired, path: Path | None, notifier: Notifier) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, world.agent.stop)
    loop.add_signal_handler(signal.SIGHUP, lambda: reload(world, path, notifier))


def reload(world: Wired, path: Path | None, notifier: Notifier) -> None:
    """Read the file again. A file that is wrong changes nothing, and the log says so."""
    notifier.reloading()
    try:
        world.reload(load(path))
        log.info("service.reloaded")
    except Fault as fault:
        log.error("service.reload_refused", error=str(fault))
    notifier.ready("reloaded")


def _turns(notifier: Notifier, metrics: Metrics, state: LoopState) -> Callable[[Progress], None]:
    """After each turn of the loop: the watchdog, the metrics, one line of words."""
    said = ""

    def turned(progress: Progress) -> None:
        nonlocal said
        notifier.alive()
        metrics.finished_pass(progress.turn_seconds)
        words = state.in_words()
        if words != said:
            said = words
            notifier.status(words)

    return turned
