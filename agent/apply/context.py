"""What effects reach: the ports, what is remembered of their answers, and the border to cross.

Every outside call of an effect goes through `Outside`, which a test can stop before and after.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import structlog

from agent.apply.bugs import Bugs
from agent.decide.deadline import Learner
from agent.decide.plan import Level
from agent.journal.hosts import Alone, Lease
from agent.journal.lines import Event
from agent.journal.writing import Journal
from agent.load.fleet import Fleet
from agent.load.remembered import Memory
from agent.load.troubles import Troubles
from agent.market.model import JobId
from agent.ports import Attester, Clock, Cloud, Images, Mailbox, Transactor
from enclave.attest.init_params import KNOWN_IMAGES, KnownImage
from faults import Fault, RetryLater

log = structlog.get_logger()
T = TypeVar("T")

RETRY_SECONDS = 5.0  # after a RetryLater that names no time

Hook = Callable[[str, str], None]
"""Called with "before" or "after" and the effect's name, around each outside call."""


@dataclass(slots=True)
class World:
    """All that effects reach: the ports, and what is remembered of their answers."""

    cloud: Cloud
    mailbox: Mailbox
    images: Images
    attester: Attester
    transactor: Transactor
    clock: Clock
    journal: Journal
    memory: Memory
    fleet: Fleet
    learner: Learner
    hook: Hook = lambda when, name: None
    lease: Lease = field(default_factory=Alone)
    bugs: Bugs = field(default_factory=Bugs)
    troubles: Troubles = field(default_factory=Troubles)
    known_images: tuple[KnownImage, ...] = KNOWN_IMAGES  # as the rules have them

    def say(
        self, job: JobId, name: str, text: str = "", level: int = Level.INFO, **fields: Any
    ) -> None:
        """Log and journal one line of a job's timeline; PCRs are for the journal alone."""
        shown = {key: value for key, value in fields.items() if key != "pcrs"}
        log.log(level, name, job=job, **({"text": text} if text else {}), **shown)
        head = self.memory.known(job).head
        generation = head.generation if head else None
        event = Event(self.clock.now(), name, job, generation, int(level), text, fields)
        self.journal.event(event)

    def say_failing(self, job: JobId, name: str, text: str, **fields: Any) -> None:
        """Say what failed and is tried again: when that begins, then more and more rarely, with
        how many tries have failed by then. `fields` are of what was tried."""
        key = (job, name, *fields.values())
        if tries := self.troubles.note(key, text, self.clock.now()):
            so_far = {"tries": tries} if tries > 1 else {}
            self.say(job, name, text, Level.WARNING, **fields, **so_far)

    async def say_and_wait(self, job: JobId, name: str, fault: Fault, **fields: Any) -> None:
        """Say what failed and let its time pass: an effect that ended at once would be decided
        again at once."""
        self.say_failing(job, name, str(fault), **fields)
        await self.clock.sleep(wait_seconds(fault))

    def fails(self, job: JobId, name: str, **fields: Any) -> bool:
        """Whether that was tried lately, and failed."""
        return self.troubles.again((job, name, *fields.values()), self.clock.now())


class Outside:
    """The border of one effect: every call that changes something outside passes here."""

    def __init__(self, name: str, hook: Hook, lease: Lease) -> None:
        self._name = name
        self._hook = hook
        self._lease = lease

    async def __call__(self, call: Callable[[], Awaitable[T]]) -> T:
        """Raises RetryLater while this host does not lead, or can't know that it does."""
        if not self._lease.held():
            raise RetryLater(f"{self._name} waits: another host may lead")
        self._hook("before", self._name)
        result = await call()
        self._hook("after", self._name)
        return result


def wait_seconds(fault: Fault) -> float:
    """How long to leave alone what failed with this: what it asks for, else `RETRY_SECONDS`."""
    wanted = fault.after_seconds if isinstance(fault, RetryLater) else None
    return wanted if wanted is not None else RETRY_SECONDS
