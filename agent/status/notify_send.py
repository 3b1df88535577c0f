"""Sends word of trouble to mail, chat and webhooks, by apprise's URLs; decides nothing.

apprise (https://github.com/caronc/apprise) is an extra: `pip install 'oyster-provider[notify]'`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
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

        self._places: Any = apprise.Apprise()
        urls = list(listed("\n".join(lines)))
        for number, url in urls:
            if not self._places.add(url):
                raise UsageFault(f"line {number} of notify.urls_file is no URL that apprise knows")
        self.count = len(urls)

    async def send(self, message: Message) -> None:
        """To every place. Raises RetryLater: one of them did not take it."""
        taken = await asyncio.to_thread(self._places.notify, body=message.body, title=message.title)
        if not taken:
            raise RetryLater("a place of notify.urls_file did not take the message")


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
