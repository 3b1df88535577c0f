"""Sends word of trouble to mail, chat and webhooks, by apprise's URLs; decides nothing.

apprise (https://github.com/caronc/apprise) is an extra: `pip install 'oyster-provider[notify]'`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import structlog

from agent.config import Config
from agent.config.secrets import locate
from agent.ports import Clock
from agent.secret import listed, read_secret
from agent.status.health import Grade
from agent.status.notify_when import Message, Word, WordRules
from agent.status.source import StatusSource
from faults import RetryLater, UsageFault

log = structlog.get_logger()

EVERY_SECONDS = 10.0


class Notifier:
    """The places of `notify.urls_file`. Raises UsageFault at once: apprise is not installed, or a
    line is no URL that it knows; no message shows a URL, which holds a token."""

    def __init__(self, lines: Sequence[str]) -> None:
        if find_spec("apprise") is None:
            raise UsageFault(
                "[notify] needs apprise: pip install 'oyster-provider[notify]', or empty urls_file"
            )
        import apprise

        # A message that follows a redirect arrives without its text, and counts as taken.
        asset = apprise.AppriseAsset(http_redirects=False)
        self._places: dict[int, Any] = {}
        for number, url in listed("\n".join(lines)):
            place = self._places[number] = apprise.Apprise(asset=asset)
            if not place.add(url):
                text = f"line {number} of notify.urls_file is no URL that apprise knows"
                plain = url.lower().startswith(("http://", "https://"))
                raise UsageFault(f"{text}{_WEBHOOK if plain else ''}")
        self.count = len(self._places)

    async def send(self, message: Message) -> None:
        """To every place. Raises RetryLater: some did not take it, by their lines, and why."""
        refused = await asyncio.to_thread(self._refused, message)
        if refused:
            raise RetryLater(f"notify.urls_file: not taken by {', '.join(refused)}")

    def _refused(self, message: Message) -> list[str]:
        """One after the other, so that what apprise says in between is of one place."""
        refused = []
        for number, place in self._places.items():
            with _hearing() as heard:
                taken = place.notify(body=message.body, title=message.title)
            if not taken:
                refused.append(f"line {number}{_why(heard)}")
        return refused


_WEBHOOK = "; a webhook is written json://HOST/PATH, with TLS jsons://HOST/PATH"


@contextmanager
def _hearing() -> Iterator[list[str]]:
    """What apprise warns of meanwhile. It may hold what a URL has: none of it is for showing."""
    ear, logger = _Ear(logging.WARNING), logging.getLogger("apprise")
    logger.addHandler(ear)
    try:
        yield ear.heard
    finally:
        logger.removeHandler(ear)


class _Ear(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


def _why(heard: Sequence[str]) -> str:
    """In our words: apprise's plugins warn of error=CODE, or of a connection."""
    said = "\n".join(heard)
    if (code := re.search(r"\berror=([1-5]\d\d)\b", said)) is not None:
        return f" (HTTP {code[1]})"
    return " (no connection, or no answer)" if "onnection error" in said else ""


def notifier_of(config: Config) -> Notifier | None:
    """As configured; None: nobody wants word. Raises UsageFault."""
    if not config.notify.urls_file:
        return None
    return Notifier(read_secret(locate(config.notify.urls_file, config.base)).splitlines())


def word_rules_of(config: Config) -> WordRules:
    """When to speak."""
    notify = config.notify
    return WordRules(
        least=Grade(notify.least),
        repeat_seconds=notify.repeat_seconds,
        per_hour=notify.per_hour,
    )


async def follow(notifier: Notifier, source: StatusSource, rules: WordRules, clock: Clock) -> None:
    """Look and speak until cancelled. What a place does not take is logged, and told at the next
    repetition: the log, the page and the metrics have it anyway."""
    word = Word()
    while True:
        for message in word.look(source.summary().health, clock.now(), rules):
            try:
                await notifier.send(message)
            except RetryLater as later:
                log.warning("notify.not_taken", title=message.title, error=str(later))
        await clock.sleep(EVERY_SECONDS)
