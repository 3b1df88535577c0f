"""After a start: what the journal knows is remembered, so that less has to be found out again.

With an empty journal nothing is restored, and the decisions are the same.
"""

from __future__ import annotations

from agent.actions import World
from agent.journal import LaunchRecord, Reader
from agent.market.model import JobId
from agent.snapshot import LaunchPhase, LaunchView
from cloud.model import InstanceId

RECENT_JOBS = 20_000  # launches of jobs older than so many others do not matter any more


def restore(world: World, reader: Reader) -> None:
    """Put the launches that the journal knows of into memory: which attempts were made, and
    whether one was asked for whose end nobody heard. Jobs that ended are left alone."""
    ended = reader.ended()
    world.fleet.ended_jobs.update(ended)
    for job, records in reader.launches(reader.jobs(RECENT_JOBS)).items():
        for record in records:
            if record.at > ended.get(job, 0.0):
                _remember(world, job, record)


def _remember(world: World, job: JobId, record: LaunchRecord) -> None:
    instance = InstanceId(record.instance) if record.instance else None
    phase = LaunchPhase.LATER if record.phase is LaunchPhase.REFUSED else record.phase
    view = LaunchView(
        record.generation, record.attempt, phase, record.at, record.reason, 0.0, instance
    )
    known = world.memory.job(job)
    known.told = max(known.told, record.generation)
    known.remember_launch(view)
