"""Effects on images: onto this disk, into the regions' buckets, and out of both."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import Any

from agent.apply import params
from agent.apply.bugs import Bug
from agent.apply.context import RETRY_SECONDS, Outside, World, wait_seconds
from agent.apply.sweep import used_images
from agent.decide.deadline import Stage
from agent.decide.job_view import ImagePhase, ImageView
from agent.decide.plan import FetchImage, Level, ReleaseImage, StageImage
from agent.journal.lines import IMAGE_PINNED, IMAGE_READY
from agent.load.pins import name_of, pinned_by
from agent.market.model import JobId
from agent.ports import Image
from cloud.model import Region
from enclave.attest.init_params import known_image
from faults import Fault, Refused, RetryLater, TryElsewhere

# Of the time for which an image could not be had, the pause to the next try: a host is not asked
# every few seconds for a month, and a job that is to be up in minutes does not wait for minutes.
PAUSE_SHARE = 1 / 60
LONGEST_PAUSE_SECONDS = 60.0  # the alert of images counts more than five in a quarter of an hour


async def fetch(world: World, action: FetchImage, outside: Outside) -> None:
    known, begun = world.memory.known(action.job), world.clock.now()
    since = _failing_since(known.image, action.url)
    known.image = ImageView(ImagePhase.FETCHING, begun, url=action.url)
    job, url, pin = action.job, action.url, _pin(world, action)
    try:
        image = await outside(
            lambda: world.images.fetch(url, job=job, deadline=action.deadline, pin=pin)
        )
    except Refused as refused:
        known.image = _missing(world, action.url, ImagePhase.REFUSED, refused)
        world.say(action.job, "image.refused", str(refused), Level.ERROR)
    except (RetryLater, TryElsewhere) as later:
        failed = _failed(world, action.url, later, action.deadline, since)
        known.image = replace(failed, failing_since=begun if since is None else since)
        world.say(action.job, "image.unavailable", str(later), Level.WARNING)
    else:
        _ready(world, action, image, begun)


def _pin(world: World, action: FetchImage) -> str:
    """What the URL led to when this job was taken, by the journal or an instance; empty: nothing
    is known of it."""
    told = world.memory.pins.get((action.job, name_of(action.url)))
    return told or pinned_by((h.instance.image for h in world.fleet.hosts(action.job)), action.url)


def _note_pin(world: World, job: JobId, image: Image) -> None:
    if not image.by_url or (job, name_of(image.url)) in world.memory.pins:
        return
    name = name_of(image.url)
    world.memory.pins[job, name] = image.sha256
    text = "named by its URL alone: these bytes are what the job runs from now on"
    world.say(job, IMAGE_PINNED, text, url_name=name, sha256=image.sha256)


def _failing_since(image: ImageView, url: str) -> float | None:
    return image.failing_since if image.phase is ImagePhase.FAILED and image.url == url else None


def _failed(
    world: World, url: str, fault: Fault, deadline: float = math.inf, since: float | None = None
) -> ImageView:
    """To be tried again when the fault asks for it, but before half of the time that is left until
    `deadline` is over: a gateway that wants five minutes does not know of a job that has two.
    `since`: when it failed first; the longer that is ago, the longer is the pause."""
    missing = _missing(world, url, ImagePhase.FAILED, fault)
    failing = 0.0 if since is None else missing.since - since
    wait = max(wait_seconds(fault), min(failing * PAUSE_SHARE, LONGEST_PAUSE_SECONDS))
    most = max(RETRY_SECONDS, (deadline - missing.since) / 2)
    return replace(missing, retry_at=missing.since + min(wait, most))


def broke(world: World, action: FetchImage, bug: Bug) -> None:
    """The fetch ended by a bug: it is no more under way, and tried again in a while."""
    missing = ImageView(ImagePhase.FAILED, bug.at, reason=str(bug), url=action.url)
    world.memory.known(action.job).image = replace(missing, retry_at=bug.retry_at)


def _missing(world: World, url: str, phase: ImagePhase, fault: Fault) -> ImageView:
    return ImageView(phase, world.clock.now(), reason=str(fault), url=url)


def _ready(world: World, action: FetchImage, image: Image, begun: float) -> None:
    now = world.clock.now()
    view = ImageView(ImagePhase.READY, now, image=image, url=action.url)
    world.memory.known(action.job).image = view
    world.learner.observe(Stage.IMAGE, now - begun)
    pcrs = {str(number): digest for number, digest in image.pcrs.items()}
    seconds = round(now - begun, 3)
    _note_pin(world, action.job, image)
    known = known_image(image.pcrs, world.known_images)
    place: dict[str, Any] = {"known": known.place} if known else {}
    world.say(action.job, IMAGE_READY, cid=image.cid, seconds=seconds, pcrs=pcrs, **place)


async def stage(world: World, action: StageImage, outside: Outside) -> None:
    known, image, region = world.memory.known(action.job), action.image, action.region
    known.image = replace(known.image, staging=True)
    file = (image.path, image.sha256, image.size_bytes)
    try:
        await outside(lambda: world.mailbox.stage(region, *file, missed=action.missed))
    except (RetryLater, TryElsewhere) as fault:
        await world.say_and_wait(action.job, "image.not_staged", fault, region=action.region)
    except Refused as gone:  # what is on the disk is not what was measured: have it again
        await _distrust(world, image, outside)
        known.image = _failed(world, image.url, gone)
        world.say(action.job, "image.not_staged", str(gone), Level.WARNING, region=action.region)
    else:
        if known.image.image == image:
            _note_staged(world, action)
    finally:
        known.image = replace(known.image, staging=False)


def _note_staged(world: World, action: StageImage) -> None:
    known, region = world.memory.known(action.job), action.region
    if region not in known.image.staged:
        world.say(action.job, "image.staged", region=region)
    staged = {**known.image.staged, region: world.clock.now()}
    known.image = replace(known.image, staged=staged)


async def _distrust(world: World, image: Image, outside: Outside) -> None:
    """Somebody else may be fetching it just now: then it is looked at when it fails again."""
    with suppress(RetryLater):
        await outside(lambda: world.images.distrust(image.cid))


async def release(world: World, action: ReleaseImage, outside: Outside) -> None:
    """Off this disk when no job holds it; out of the buckets when none of this agent's uses it."""
    known = world.memory.known(action.job)
    image, regions = known.image.image, known.image.staged
    try:
        await params.drop_all(world, action.job, outside)
        await outside(lambda: world.images.release(action.job))
        for region in sorted(regions if image is not None else ()):
            await _unstage(world, action.job, region, image, outside)
    except (RetryLater, TryElsewhere, Refused) as fault:
        await world.say_and_wait(action.job, "image.not_released", fault)
        return
    known.image = ImageView(ImagePhase.RELEASED, world.clock.now())


async def _unstage(
    world: World, job: JobId, region: Region, image: Image | None, outside: Outside
) -> None:
    if image is None or not await outside(lambda: world.mailbox.alone(region)):
        return  # what another agent may use expires when nobody stages it again
    if image.sha256 not in used_images(world, except_job=job):
        await outside(lambda: world.mailbox.unstage(region, image.sha256))
