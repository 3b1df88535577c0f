"""`oyster-provider run`: the agent, until it is told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from commands.terminal import ConfigOption
from faults import Bug, Fault, Fenced, MustStop, RetryLater, TryElsewhere, UsageFault

if TYPE_CHECKING:
    from pathlib import Path

# What a service manager reads: systemd.exec(5) has names for these, and others for the codes that
# the rest of the command line ends with (4 is NOPERMISSION there). What is none of them is a bug.
SERVICE_CODES: dict[type[Fault], int] = {
    UsageFault: 78,  # EX_CONFIG
    Fenced: Fenced.exit_code,  # another host leads: started again, this one stands by
    MustStop: MustStop.exit_code,
    RetryLater: 69,  # EX_UNAVAILABLE
    TryElsewhere: 69,
}


def run(config: ConfigOption = None) -> None:
    """Serve jobs until SIGTERM; SIGHUP reloads policy and prices. Enclaves outlive the agent.

    Ends with 0 when told to, 78 when the configuration is wrong, 3 when going on would do harm, 69
    when something is unavailable that waiting does not bring, 1 for a bug.
    """
    from agent.process.log import say_error

    try:
        _run(config)
    except Fault as fault:
        say_error(str(fault))
        raise SystemExit(service_code(fault)) from None


def service_code(fault: Fault) -> int:
    """The exit code that says to a service manager what this fault means for a restart."""
    codes = (code for kind, code in SERVICE_CODES.items() if isinstance(fault, kind))
    return next(codes, Bug.exit_code)


def _run(config: Path | None) -> None:
    import asyncio

    import structlog

    from agent.config import load
    from agent.daemon import keep_to_itself, serve
    from agent.process.log import configure_log

    log = structlog.get_logger()
    loaded = load(config)
    keep_to_itself()
    configure_log(loaded)
    try:
        asyncio.run(serve(loaded, config))
    except Fault:
        raise
    except Exception as broken:
        log.exception("service.bug", error=repr(broken))
        raise Bug(f"the agent broke: {broken!r}; its trace is in the log") from None
