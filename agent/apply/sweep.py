"""Collect garbage apart from the main path: what nobody owns and is older than a grace age.

Orders matter: the cloud is listed before it is asked who uses what. What was staged or launched
between the two is then missing from the list, never somebody's need from the other side. What a
host knows that can't know whether it leads may be old: it deletes and writes nothing.

Instances without a job need no sweeping: every listed instance makes its job looked at, and
`lifecycle.plan` takes down what no job needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import structlog

from agent.apply.context import Outside, World
from agent.market.model import JobId
from cloud.model import InstanceId, Region
from faults import RetryLater

log = structlog.get_logger()


def outside_of(world: World) -> Outside:
    """The border of a sweep, which is no effect: nobody strikes at it in the crash matrix."""
    return Outside("sweep", lambda when, name: None, world.lease)


async def sweep_mailboxes(world: World, grace_seconds: float) -> list[InstanceId]:
    """Delete the mail of hosts that EC2 does not list, when they are older than the grace age.
    Returns what was swept."""
    swept: list[InstanceId] = []
    outside, mailbox = outside_of(world), world.mailbox
    for instance, region in _old(world.fleet.strangers(), world.clock.now() - grace_seconds):
        try:
            if not await mailbox.alone(region):
                continue  # it may be another agent's host, and its mail expires if not
            await outside(partial(mailbox.forget, region, instance))
        except RetryLater as later:
            log.warning("sweep.later", instance=instance, error=str(later))
            continue
        world.fleet.forget(instance)
        log.info("sweep.host_forgotten", instance=instance, region=region)
        swept.append(instance)
    return swept


async def renew_orders(world: World, regions: Sequence[Region]) -> None:
    """A host that starts anew reads its orders: those of a job of months must not have expired."""
    outside = outside_of(world)
    for region in regions:
        try:
            for instance in await outside(partial(world.mailbox.renew, region)):
                log.info("sweep.orders_renewed", instance=instance, region=region)
        except RetryLater as later:
            log.warning("sweep.later", region=region, error=str(later))


def _old(
    strangers: Mapping[InstanceId, tuple[Region, float]], before: float
) -> list[tuple[InstanceId, Region]]:
    return [(name, region) for name, (region, since) in strangers.items() if since < before]


async def sweep_images(
    world: World, regions: Sequence[Region], grace_seconds: float
) -> list[tuple[Region, str]]:
    """Delete staged images that nobody uses, when they are older than the grace age: those of
    jobs that ended while no agent ran, or whose release an earlier process did not live to see.

    Costs two list calls a region. Returns what was swept.
    """
    swept: list[tuple[Region, str]] = []
    for region in regions:
        try:
            if not await world.mailbox.alone(region):
                continue
            staged = await world.mailbox.staged(region)
            before = world.clock.now() - grace_seconds
            old = sorted(sha256 for sha256, written in staged.items() if written < before)
            swept += [(region, sha256) for sha256 in old if await _unstage(world, region, sha256)]
        except RetryLater as later:
            log.warning("sweep.later", region=region, error=str(later))
    return swept


async def _unstage(world: World, region: Region, sha256: str) -> bool:
    """Whether nobody uses the image and it is deleted; nothing is awaited in between."""
    if _someone_may_fetch(world) or sha256 in used_images(world):
        return False
    await outside_of(world)(lambda: world.mailbox.unstage(region, sha256))
    log.info("sweep.image_unstaged", sha256=sha256, region=region)
    return True


def _someone_may_fetch(world: World) -> bool:
    """Whether a host lives that may be fetching an image this process does not know of yet."""
    return any(
        record.instance.live
        and not (record.status and record.status.image_sha256)
        and world.memory.known(JobId(record.instance.identity.job)).image.image is None
        for record in world.fleet.records()
    )


def used_images(world: World, *, except_job: JobId | None = None) -> set[str]:
    """Digests that a job (but one) has, or that a host says it runs; too many rather than too
    few."""
    others = [job for job in world.memory.jobs.values() if job.id != except_job]
    used = {job.image.image.sha256 for job in others if job.image.image is not None}
    for record in world.fleet.records():
        if record.instance.live and record.status and record.status.image_sha256:
            used.add(record.status.image_sha256)
    return used
