"""What is known of the machine between two looks, and since when.

nitro-cli may leave out an enclave that runs, or answer nothing at all: what was known before then
stands, so that no port is cut and no enclave is counted as dead.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from enclave.host.config import Places
from enclave.host.decide import Observed
from enclave.host.lingering import Lingering
from enclave.host.looking import Looked, step_and_look
from enclave.host.model import Enclave, Step, Terminate
from enclave.host.workers import Lane

# For so long a living process is believed more than a list in which its enclave is missing.
OVERLOOKED_SECONDS = 60.0


class Watch:
    """The machine's lane and the last of what it saw. `clock` gives unix seconds."""

    def __init__(self, places: Places, wake: threading.Event, clock: Callable[[], float]) -> None:
        self._places, self._clock = places, clock
        self.lane: Lane[Looked] = Lane("machine", wake)
        self.last: Looked | None = None
        self._lingering = Lingering()
        self._known: Enclave | None = None
        self._known_at = 0.0

    def seen(self, image: bool) -> Observed | None:
        """All of it, with whether the image is here; None before the first look."""
        if self.last is None:
            return None
        return replace(self.last.seen, image=image, lingering=self._lingering)

    def lingers(self, now: float) -> str | None:
        """What stays in a state that should pass, in words."""
        return self._lingering.words(now)

    def look(self, step: Step | None, name: str, packets: bool) -> None:
        """Do the step, then look; only when the lane is idle. `name` is the wanted enclave's,
        `packets` whether it has those."""
        lately = 0 <= self._clock() - self._known_at < OVERLOOKED_SECONDS
        known = self._known if lately and self._known and self._known.name == name else None
        self.lane.start(
            lambda: step_and_look(self._places, step, known, self._clock, packets=packets)
        )

    def take(self, name: str, now: float) -> Looked | None:
        """What the lane brought since the last call."""
        done = self.lane.take()
        if done is None:
            return None
        looked = done.result()
        self._note_lingering(looked, now)
        self._note_known(looked, name, now)
        self.last = self._with_known_enclave(looked, name)
        return self.last

    def set_back(self, to: float) -> None:
        """The clock was: the last look was at this time."""
        if self.last is not None:
            self.last = replace(self.last, at=to)

    def _note_lingering(self, looked: Looked, now: float) -> None:
        if looked.seen.enclaves is not None:
            self._lingering = self._lingering.seen(looked.seen.enclaves, now)
        if isinstance(looked.step, Terminate):
            self._lingering = self._lingering.asked(looked.step.enclave_id, now)

    def _note_known(self, looked: Looked, name: str, now: float) -> None:
        listed = looked.seen.named(name)
        if listed is not None or looked.ran:
            self._known, self._known_at = listed or looked.known, now
        elif looked.seen.enclaves is not None:
            self._known = None

    def _with_known_enclave(self, looked: Looked, name: str) -> Looked:
        """When nitro-cli cannot be asked, an enclave that ran is taken to run on: no cut ports."""
        last = self.last
        if looked.seen.enclaves is not None or last is None or last.seen.named(name) is None:
            return looked
        return replace(looked, seen=replace(looked.seen, enclaves=last.seen.enclaves))
