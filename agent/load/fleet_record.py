"""One instance as this process knows it: what EC2 lists, what its host says, and for how long.

Hosts and clocks are taken as they come: a time that lies ahead is cut, one that jumps counts
little.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agent.decide.job_view import Host, Probe
from cloud.model import HostReport, Instance
from enclave.host.documents import DocumentRefused, Status

SKEW_SECONDS = 5.0  # between a host's clock and the mailbox's: what writing may take
LONGEST_LOOK = 20.0  # seconds that one look counts at most: a clock that jumps is no time passed


@dataclass(slots=True)
class Record:
    """One instance as this process knows it; the instance says whose it is."""

    instance: Instance
    looked_at: float  # at the last listing, or its launch
    unseen_seconds: float = 0.0  # it has not been listed for so long
    status: Status | None = None
    written_at: float | None = None
    etag: str = ""
    probe: Probe = field(default_factory=Probe)
    desired_run: str | None = None
    unhealthy_since: float | None = None
    condemned: bool = False
    ends_heard: int = 0  # how often EC2 said that it ends it
    launched_here: bool = False  # by this process, as far as it knows
    unseen: int = 0  # listings in a row without it
    known_seconds: float = 0.0
    quiet_seconds: float = 0.0
    read_at: float | None = None  # its mailbox, the last time
    heard_at: float | None = None  # when the host wrote what was read then, by the mailbox's clock

    @property
    def ended_by_others(self) -> bool:
        """Whether the host that led before this one, or a person, asked for its end. What this
        process launched is not the former's, and who ends it again and again is trouble."""
        return self.instance.ended_by_request and not self.launched_here

    @property
    def served(self) -> bool:
        """Whether an enclave ran on it, by its host's word: key, image and zone were good."""
        return self.status is not None and "running" in self.status.phases

    def host(self) -> Host:
        return Host(
            instance=self.instance,
            status=self.status,
            written_at=self.written_at,
            probe=self.probe,
            desired_run=self.desired_run,
            unhealthy_since=self.unhealthy_since,
            condemned=self.condemned,
            ended_by_others=self.ended_by_others,
            known_seconds=self.known_seconds,
            quiet_seconds=self.quiet_seconds,
        )


def step(before: float, now: float) -> float:
    """Seconds that have passed between two looks, as far as the clock is believed."""
    return min(max(now - before, 0.0), LONGEST_LOOK)


def count_quiet(record: Record, report: HostReport | None, now: float) -> None:
    """One more look into the mailbox: did the host write since the one before?"""
    heard = report is not None and report.written_at != record.heard_at
    if heard and report is not None:
        record.heard_at, record.quiet_seconds = report.written_at, 0.0
    elif record.read_at is not None:
        record.quiet_seconds += step(record.read_at, now)
    record.read_at = now


def status_of(report: HostReport) -> Status:
    """What the host says, its times by the mailbox's clock and none of them still to come.

    A host whose clock runs ahead would otherwise be "just started" for ever. Raises
    DocumentRefused: of another schema, or of another instance.
    """
    status = Status.from_json(report.document)
    if status.instance_id != report.instance:
        raise DocumentRefused(f"instance_id: {status.instance_id!r:.40} is another's")
    ahead = status.heartbeat - report.written_at if report.ahead is None else report.ahead
    if abs(ahead) <= SKEW_SECONDS:
        ahead = 0.0
    latest = report.written_at + SKEW_SECONDS
    phases = {name: min(when - ahead, latest) for name, when in status.phases.items()}
    return replace(status, heartbeat=status.heartbeat - ahead, phases=phases)


def telling(status: Status) -> tuple[object, ...]:
    """What of a status can change a decision."""
    return (status.phase, status.run_id, status.restarts, status.image_sha256, status.last_error)
