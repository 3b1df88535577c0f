"""Opens AWS with the host program in every region, and says what an instance boots with."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import lru_cache, partial

from agent.apply.clock_by_aws import ClockByAws
from agent.config import Config
from agent.load.left_regions import check_regions
from agent.ports import Account, Clock
from agent.wiring.adapters import cloud_settings
from agent.wiring.journal import OpenJournal
from cloud import layout
from cloud.aws import Aws
from cloud.model import LaunchOrder, Region
from cloud.settings import Home
from enclave.host import bundle, userdata
from enclave.host.config import Config as HostConfig


async def open_cloud(
    config: Config,
    account: Account,
    opened: OpenJournal,
    regions: tuple[Region, ...],
    clock: Clock,
    stack: AsyncExitStack,
) -> Aws:
    """AWS with the host program in every region's bucket. Raises NotSetUp, NotAllowed,
    MustStop (something lives in a region that is not configured any more)."""
    settings = cloud_settings(config, account.provider)
    program = await asyncio.to_thread(bundle.build)
    digest = bundle.digest(program)
    endpoint = config.aws.endpoint_url or None
    aws = Aws(settings, partial(user_data, digest), clock, endpoint, opened.spots)
    stack.callback(aws.close)
    if isinstance(clock, ClockByAws):
        clock.ahead = aws.clock_ahead
    await check_regions(opened.reader, aws, regions, clock.now())
    await asyncio.gather(*(aws.mailbox.publish_program(region, program) for region in regions))
    await asyncio.gather(*(aws.mailbox.alone(region) for region in regions))  # signs in
    return aws


def user_data(digest: str, order: LaunchOrder, home: Home) -> bytes:
    """What an instance boots with: the same bytes for every instance of a region and version."""
    return _script(digest, home)


@lru_cache(maxsize=64)  # regions
def _script(digest: str, home: Home) -> bytes:
    host = HostConfig(
        region=home.region,
        bucket=home.bucket,
        host_prefix=home.host_prefix,
        program_key=layout.program_key(digest),
        program_sha256=digest,
    )
    return userdata.render(host).encode()
