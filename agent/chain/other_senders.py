"""Whether another program sends transactions with our key, which no record of ours is of.

Two agents with one key replace each other's transactions and buy twice; with state directories of
their own nothing else tells them of each other. What was sent before this process looked first is
not looked at: it may be of a time before the journal. For health alone, nothing is decided by it.
"""

from __future__ import annotations

import structlog

from agent.chain.account import Account
from agent.chain.transaction_log import TransactionLog
from agent.ports import Clock
from faults import RetryLater, TryElsewhere

log = structlog.get_logger()

EVERY_SECONDS = 60.0
# In one look; one node that is alone may say any number, and is not told of as many programs.
MOST_NEW = 100


class OtherSenders:
    """Of one account. `noticed_at`: unix seconds, when one of theirs was last noticed."""

    def __init__(self, account: Account, record: TransactionLog, clock: Clock, voices: int) -> None:
        self.noticed_at: float | None = None
        self._account = account
        self._log = record
        self._clock = clock
        self._voices = voices
        self._seen: int | None = None  # of the account's nonces, by the last look

    def note(self) -> None:
        """One of theirs is in a block."""
        self.noticed_at = self._clock.now()

    async def follow(self) -> None:
        """Look for ever."""
        while True:
            try:
                await self.look()
            except (RetryLater, TryElsewhere) as later:
                log.info("tx.others_later", error=str(later))
            await self._clock.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """Compare what was mined since the last look with what we sent, as two endpoints tell
        alike where there are two. Raises RetryLater, TryElsewhere."""
        counts = await self._account.counts()
        if len(counts) < self._voices:
            return
        before, self._seen = self._seen, min(counts)
        if before is None or not 0 < self._seen - before <= MOST_NEW:
            return
        ours = set(await self._log.nonces(before))
        theirs = [nonce for nonce in range(before, self._seen) if nonce not in ours]
        if theirs:
            self.note()
            log.error("tx.sent_by_another", nonces=theirs, address=self._account.address)
