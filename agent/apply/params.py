"""Init params in the regions' buckets: there while a host may ask for them, and no longer.

They are a user's, maybe secret. A host asks for them before its enclave starts and keeps them on
its own disk, so they go when other orders took their place and when the job is over. What a
process did not live to delete, or could not, the sweep finds.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from agent.apply.context import Outside, World
from agent.apply.sweep import outside_of
from agent.decide.keepalive import runs_other
from agent.decide.plan import WriteDesired
from agent.market.model import JobId
from cloud.model import Region
from faults import Refused, RetryLater, TryElsewhere

log = structlog.get_logger()


async def stage(world: World, action: WriteDesired, outside: Outside) -> None:
    """Have those that the orders name in the bucket, before the orders name them. Raises
    RetryLater."""
    if not action.params:
        return
    assert action.desired.init is not None
    world.memory.known(action.job).params.add((action.region, action.desired.init.sha256))
    await outside(lambda: world.mailbox.stage_params(action.region, action.params))


def note_found(world: World, job: JobId, region: Region) -> None:
    """An enclave of the job serves there: what it was given may be staged, by an earlier process
    too."""
    known = world.memory.known(job)
    work = known.head.workload if known.head is not None else None
    if work is not None and work.init_params:
        known.params.add((region, work.params_sha256))


async def drop_replaced(world: World, action: WriteDesired, outside: Outside) -> None:
    """Delete the job's others in this region, once all of its hosts are told of these."""
    init, job = action.desired.init, world.memory.known(action.job)
    if _another_is_told_later(world, action):
        return
    stays = init.sha256 if init is not None else ""
    old = {one for one in job.params if one[0] == action.region and one[1] != stays}
    await _drop(world, action.job, old, outside)


def _another_is_told_later(world: World, action: WriteDesired) -> bool:
    head = world.memory.known(action.job).head
    work = head.workload if head is not None else None
    return work is not None and any(
        host.live and host.run is not None and runs_other(host.run, work)
        for host in world.fleet.hosts(action.job)
        if host.instance.region == action.region and host.instance.id != action.instance
    )


async def drop_all(world: World, job: JobId, outside: Outside) -> None:
    """Delete what was staged for a job that is over."""
    await _drop(world, job, set(world.memory.known(job).params), outside)


async def _drop(world: World, job: JobId, old: set[tuple[Region, str]], outside: Outside) -> None:
    """What can't be deleted now is the sweep's: no effect waits for it."""
    known = world.memory.known(job)
    known.params -= old
    for region, sha256 in sorted(old):
        try:
            await _drop_one(world, job, region, sha256, outside)
        except (RetryLater, TryElsewhere, Refused) as fault:
            log.warning("params.left", job=job, region=region, error=str(fault))


async def _drop_one(
    world: World, job: JobId, region: Region, sha256: str, outside: Outside
) -> None:
    if await outside(lambda: world.mailbox.alone(region)):  # else they may be another agent's
        await outside(lambda: _unstage(world, region, sha256, but=job))


async def _unstage(world: World, region: Region, sha256: str, *, but: JobId | None) -> bool:
    return await world.mailbox.unstage_params(
        region, sha256, lambda: sha256 in used_params(world, but)
    )


def used_params(world: World, but: JobId | None = None) -> set[str]:
    """Digests of the init params that jobs with an instance (but for the ones of `but` that others
    took the place of) have now, or were staged for any; too many rather than too few."""
    used: set[str] = set()
    for job in world.memory.jobs.values():
        used |= {sha256 for _, sha256 in job.params}
        lives = any(host.live for host in world.fleet.hosts(job.id))
        work = job.head.workload if lives and job.head is not None and job.id != but else None
        used |= {work.params_sha256} if work is not None else set()
    return used


async def sweep_params(
    world: World, regions: Sequence[Region], grace_seconds: float
) -> list[tuple[Region, str]]:
    """Delete init params that no job has, when they are older than the grace age. Costs two list
    calls a region. Returns what was swept."""
    swept: list[tuple[Region, str]] = []
    for region in regions:
        try:
            if not await world.mailbox.alone(region):
                continue
            staged = await world.mailbox.staged_params(region)
            before = world.clock.now() - grace_seconds
            for sha256 in sorted(one for one, written in staged.items() if written < before):
                if await _swept(world, region, sha256):
                    log.info("sweep.params_unstaged", sha256=sha256, region=region)
                    swept.append((region, sha256))
        except RetryLater as later:
            log.warning("sweep.later", region=region, error=str(later))
    return swept


async def _swept(world: World, region: Region, sha256: str) -> bool:
    if _someone_may_ask(world):
        return False
    return await outside_of(world)(lambda: _unstage(world, region, sha256, but=None))


def _someone_may_ask(world: World) -> bool:
    """Whether a host lives of whose job this process has not read yet what it runs."""
    live = (record.instance for record in world.fleet.records() if record.instance.live)
    return any(world.memory.known(JobId(one.identity.job)).view is None for one in live)
