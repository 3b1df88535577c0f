"""Structured lines on standard error, in the form that whoever reads them wants.

On a terminal they have colours, in a file key=value or JSON. Where standard error is systemd's
journal each line begins with its level, as sd-daemon(3) has it, so that `journalctl -p err` finds
what is one; the journal knows the time itself.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from functools import partial
from typing import Any, TextIO, cast

import structlog

from agent.config import Config
from agent.process.log_stream import LogStream
from faults import printable

# syslog(3)'s numbers.
PRIORITIES: Mapping[str, int] = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def configure_log(config: Config) -> None:
    """From here on every line of structlog is of this form, from the configured level on."""
    style, journal, out = config.log.format, is_journal(sys.stderr), _out()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        partial(_tell_of_lost, out),
        *([] if journal else [structlog.processors.TimeStamper(fmt="iso", utc=True)]),
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
        processors=[_levelled(shared)] if journal else shared,
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[config.log.level.upper()]
        ),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, out)),
        cache_logger_on_first_use=True,
    )


def _out() -> LogStream | TextIO:
    """Standard error; as it is where it is no file (closed, or a test's)."""
    try:
        return LogStream(sys.stderr)
    except (OSError, ValueError, AttributeError):
        return sys.stderr


def _tell_of_lost(
    out: LogStream | TextIO, _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """How many lines before this one were left out, since nobody took them."""
    if lost := getattr(out, "lost", 0):
        event["lines_lost_before"] = lost
    return event


def _on_one_line(
    _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """No user's, node's or host's words end a line or move the cursor of who reads the log."""
    return {
        name: value if isinstance(value, int | float) else printable(str(value), but="\n")
        for name, value in event.items()
    }


def is_journal(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the stream is the journal's own: systemd.exec(5), JOURNAL_STREAM."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file at all
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def prefixed(text: str, level: str) -> str:
    """`text` with the level before each of its lines."""
    mark = f"<{PRIORITIES.get(level, PRIORITIES['info'])}>"
    return mark + text.replace("\n", f"\n{mark}")


def say_error(text: str) -> None:
    """The last words of a process, in one line, also when no log is set up."""
    line = printable(f"error: {' '.join(text.split())}")
    _out().write(f"{prefixed(line, 'error') if is_journal(sys.stderr) else line}\n")


def _levelled(processors: list[structlog.typing.Processor]) -> structlog.typing.Processor:
    """All of them, and the level before what they make of an event."""

    def run(logger: Any, method: str, event: structlog.typing.EventDict) -> str:
        made: Any = event
        for processor in processors:
            made = processor(logger, method, made)
        return prefixed(str(made), method)

    return run
