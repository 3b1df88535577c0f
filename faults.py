"""Errors named by what to do about them.

Vendor exceptions do not leave their adapter: each adapter turns what it catches into one of
these, and whoever decides what happens next reads the class, never the text. A message says
what happened, to which job or file, and what to do. The CLI exits with `exit_code`.
"""

from __future__ import annotations


class Fault(Exception):
    """The common base; raise one of its subclasses."""

    exit_code = 1


class UsageFault(Fault):
    """The command or the configuration was written wrong; the person who wrote it can fix it."""

    exit_code = 2


class Refused(Fault):
    """The input is bad or not allowed, and will be next time: give up on this job or file."""

    exit_code = 3


class MustStop(Fault):
    """Going on would do harm (wrong chain, wrong account, a broken journal): stop the agent."""

    exit_code = 3


class Bug(Fault):
    """Nobody foresaw it: this process ends, with its trace in the log, and a fresh one goes on."""

    exit_code = 1


class Fenced(MustStop):
    """Another host leads by now: end this process, which stands by when it is started again."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h: a service manager starts it anew


class RetryLater(Fault):
    """Nothing is wrong with the request; the same one may succeed after `after_seconds`."""

    exit_code = 4

    def __init__(self, message: str, *, after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class TryElsewhere(Fault):
    """This place (zone, gateway, endpoint) can't; another one may, at once."""

    exit_code = 4


def printable(text: str, but: str = "") -> str:
    """`text` without what moves a cursor or ends a line: strangers write some of what is shown."""
    return "".join(char if char.isprintable() or char in but else "\ufffd" for char in text)
