"""How far AWS's clock is from this machine's, by the `Date` of what AWS answers.

Documents of enclaves carry AWS's time. The header is in whole seconds, cut (RFC 9110, 6.6.1), and
was written at some moment between the request and the end of its answer, so that of a slow answer
less can be said: only what no delay explains counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Any

import structlog

FAR_SECONDS = 30.0  # half of the minute by which a document may seem to be of the future
_SENT = "oyster_sent_at"

log = structlog.get_logger()


def ahead_of(date: float, sent: float, received: float) -> float:
    """The least that the other clock is ahead (behind: below 0), all in unix seconds."""
    least, most = date - received, date + 1.0 - sent
    return max(least, 0.0) or min(most, 0.0)


class ClockOfAws:
    """Listens to clients of boto3. What was heard goes on by a clock that nobody sets, so that a
    jump of this machine's is seen at once, and one that was set right is believed again."""

    def __init__(
        self, now: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._now, self._steady = now, steady
        self._heard: tuple[float, float, float] | None = None  # as `ahead_of`'s, but steady ones
        self._told = False

    @property
    def ahead(self) -> float | None:
        """Seconds, by the newest answer; None before there is one."""
        if self._heard is None:
            return None
        date, sent, received = self._heard
        set_by = self._now() - self._steady()
        return ahead_of(date, sent + set_by, received + set_by)

    def listen(self, client: Any) -> None:
        """Refusals are heard, too: a clock that is far off has its requests refused."""
        client.meta.events.register("before-call", self._sent)
        client.meta.events.register("after-call", self._hear)

    def _sent(self, context: dict[str, Any], **_: object) -> None:
        context[_SENT] = self._steady()

    def _hear(self, parsed: dict[str, Any], context: dict[str, Any], **_: object) -> None:
        date = parsed.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
        received = self._steady()
        with suppress(ValueError, TypeError):
            said = parsedate_to_datetime(date).timestamp()
            self._heard = (said, context.get(_SENT, received), received)
            self._tell(self.ahead or 0.0)

    def _tell(self, ahead: float) -> None:
        """Once, and again when it was right in between."""
        far = abs(ahead) > FAR_SECONDS
        if far and not self._told:
            log.error("clock.wrong", aws_is_ahead_seconds=round(ahead, 1))
        self._told = far
