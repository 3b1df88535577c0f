"""Decide: what is wanted and what is seen, to what to do next. Pure: no I/O, no clock.

An enclave is known by its name, which is derived from everything that desired says about it. So
after a restart of this program, or of the whole instance, `nitro-cli describe-enclaves` alone
tells whether what runs is what should run, and the same desired again changes nothing.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace

from enclave.host.documents import PACKETS, Desired
from enclave.host.lingering import TERMINATING, Lingering
from enclave.host.model import Allocate, Allocation, Enclave, Install, Run, Step, Terminate

# One start and five restarts; the sixth failure in a row is reported as failed.
MOST_FAILURES = 5
LONGEST_BACKOFF_SECONDS = 60.0


@dataclass(frozen=True)
class Observed:
    """What is so on the instance. `enclaves` is None when nitro-cli could not be asked."""

    tools: bool
    image: bool
    allocation: Allocation
    enclaves: tuple[Enclave, ...] | None
    lingering: Lingering = field(default_factory=Lingering)
    serving: bool = True
    """Whether the wanted enclave would find what it asks for at its start."""

    def named(self, name: str) -> Enclave | None:
        """The enclave of this name, if it is listed."""
        return next((one for one in self.enclaves or () if one.name == name), None)


@dataclass(frozen=True)
class Tries:
    """What is remembered of one run (one enclave name); survives this program.

    `failures` counts in a row, `restarts` in all. `alive_since`: since when it runs.
    """

    name: str = ""
    failures: int = 0
    restarts: int = 0
    retry_at: float = 0.0
    alive_since: float | None = None
    error: str | None = None

    @property
    def final(self) -> bool:
        return self.failures > MOST_FAILURES

    def waits(self, now: float) -> bool:
        """Whether the pause after a failure is not over. A longer one than there is was noted
        before the clock was set back."""
        return self.retry_at - LONGEST_BACKOFF_SECONDS <= now < self.retry_at


@dataclass(frozen=True)
class Plan:
    """What to do next. `fetch` goes on beside `step`; `enclave` is the wanted one when it runs."""

    phase: str
    step: Step | None = None
    fetch: bool = False
    enclave: Enclave | None = None


def enclave_name(desired: Desired) -> str:
    """The name under which this desired runs: another image, size or mode is another name."""
    parts: tuple[object, ...] = (
        desired.run_id,
        desired.image_sha256,
        desired.cpu_count,
        desired.memory_mib,
    )
    parts = (*parts, desired.debug)
    if desired.schema > 1:  # what it is given at its start
        init = (desired.init.job, desired.init.sha256) if desired.init else ()
        parts = (*parts, desired.network, desired.enclave_cid, *init)
    text = json.dumps(parts)
    return "oyster-" + hashlib.sha256(text.encode()).hexdigest()[:32]


def decide(desired: Desired | None, seen: Observed, tries: Tries, now: float) -> Plan:
    """The next step towards `desired`."""
    if desired is None:
        wait = seen.tools or tries.waits(now)
        return Plan("booted", None if wait else Install())
    wanted = seen.named(enclave_name(desired))
    if wanted is not None:
        if not wanted.running:
            stuck = seen.lingering.to_end(wanted, now)
            return Plan("starting", Terminate(wanted.id) if stuck else None)
        return Plan("running", _first_other(seen, wanted.id, now), enclave=wanted)
    if tries.final:
        return Plan("failed")
    if tries.waits(now):
        return Plan("stopped" if seen.image else "fetching", fetch=not seen.image)
    return _towards(desired, seen, now)


def _towards(desired: Desired, seen: Observed, now: float) -> Plan:
    """Fetch beside install and allocate; an old enclave stays until the new image is here."""
    if not seen.tools:
        install = Install(packets=desired.network == PACKETS)
        return Plan("allocating" if seen.image else "fetching", install, fetch=not seen.image)
    if seen.enclaves is None:
        return Plan("starting" if seen.image else "fetching", fetch=not seen.image)
    if not seen.image:
        step = None if seen.enclaves else _room(desired, seen)
        return Plan("fetching", step, fetch=True)
    if seen.enclaves:
        return Plan("allocating", _first_other(seen, None, now))
    room = _room(desired, seen)
    if room is not None:
        return Plan("allocating", room)
    return Plan("starting", Run(enclave_name(desired), desired) if seen.serving else None)


def _room(desired: Desired, seen: Observed) -> Step | None:
    if seen.allocation.holds(desired):
        return None
    return Allocate(desired.cpu_count, desired.memory_mib)


def _first_other(seen: Observed, keep: str | None, now: float) -> Step | None:
    """Terminate one that is not wanted; one that is on its way out gets time for it."""
    for one in seen.enclaves or ():
        leaving = one.state == TERMINATING and not seen.lingering.to_end(one, now)
        if one.id != keep and not leaving:
            return Terminate(one.id)
    return None


def failed(tries: Tries, error: str, now: float, backoff: float) -> Tries:
    """One more failure in a row; the pause doubles with each."""
    pause = min(backoff * 2**tries.failures, LONGEST_BACKOFF_SECONDS)
    return replace(tries, failures=tries.failures + 1, retry_at=now + pause, error=error)


def started(tries: Tries, name: str, now: float) -> Tries:
    """`nitro-cli run-enclave` said that `name` runs: gone at the first look, it died."""
    if not name or name != tries.name:
        return tries
    return replace(tries, alive_since=now, error=None)


def noticed(
    tries: Tries, seen: Observed, now: float, *, backoff: float, well_after: float
) -> Tries:
    """What an observation says about the run: it came up, it lives on, or it died."""
    if seen.enclaves is None or not tries.name:
        return tries
    enclave = seen.named(tries.name)
    if enclave is not None and enclave.running:
        if tries.alive_since is None:
            return replace(tries, alive_since=now, error=None)
        return tries
    if enclave is not None or tries.alive_since is None:
        return tries
    well = now - tries.alive_since >= well_after
    ended = replace(
        tries,
        alive_since=None,
        restarts=tries.restarts + 1,
        failures=0 if well else tries.failures,
    )
    return failed(ended, "the enclave ended: nitro-cli does not list it any more", now, backoff)
