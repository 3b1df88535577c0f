"""The real parts for a rehearsal: as the agent has them, with a folder of their own."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial

from agent.apply.attester import HttpAttester
from agent.market.model import InstanceType
from agent.market.terms import Terms
from agent.markets.marketv1.terms import GOAL_SECONDS
from agent.markets.registry.terms import RegistryTerms
from agent.wiring.adapters import cloud_settings
from agent.wiring.cloud import user_data
from agent.wiring.images import open_images
from agent.wiring.rules import attestation_rules_of, rules_of
from cloud.aws import Aws
from cloud.model import Region
from commands.context import Desk
from commands.offering import running_agent
from commands.rehearsal import NOBODY, Outside, What
from enclave.host import bundle


def window_of(terms: Terms) -> int:
    """Seconds that the market gives a job to be up; where it gives none, what watchers grant."""
    return terms.job_bootstrapping if isinstance(terms, RegistryTerms) else GOAL_SECONDS


@asynccontextmanager
async def opened(desk: Desk, kind: InstanceType, url: str) -> AsyncIterator[tuple[Outside, What]]:
    """What a rehearsal needs. The image's and the mailbox's caches are its own and go with it: a
    running agent keeps to its files. Raises NotSetUp, NotAllowed."""
    region = Region(kind.region)
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="oyster-rehearsal-"))
        images = replace(desk.config.images, store_dir="")
        config = replace(desk.config, state_dir=folder, images=images)
        program = await asyncio.to_thread(bundle.build)
        boot = partial(user_data, bundle.digest(program))
        endpoint = config.aws.endpoint_url or None
        aws = Aws(cloud_settings(config, NOBODY), boot, desk.clock, endpoint)
        stack.callback(aws.close)
        await aws.mailbox.publish_program(region, program)
        store = open_images(config, desk.clock, stack)
        attester = HttpAttester(attestation_rules_of(config))
        enclave = rules_of(config, 0).lifecycle.enclave
        contract, chain = desk.registry, desk.endpoints.chain_id
        what = What(chain, contract, region, kind.ec2_type, url, enclave)
        what = replace(what, unneeded=partial(_no_jobs, desk, region))
        yield Outside(aws, aws.mailbox, store, attester, desk.clock), what


async def _no_jobs(desk: Desk, region: Region) -> bool:
    """Whether the running agent, if there is one, has no job of that region: one may run the very
    image, and what stays is swept by the agent."""
    view = await asyncio.to_thread(partial(running_agent, desk, jobs=True))
    return view is None or not any(
        row["instance_type"].startswith(f"{region}/") and row["state"] != "ended"
        for row in view["jobs"]
    )
