"""Collect garbage apart from the main path: what nobody owns and is older than a grace age.

Orders matter: the cloud is listed before the chain is asked. An instance launched between the two
is then missing from the list, never a job from the other side.
"""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from agent.fleet import Fleet
from agent.ports import Clock, Mailbox
from cloud.model import InstanceId, Region
from faults import RetryLater

log = structlog.get_logger()


async def sweep_mailboxes(
    fleet: Fleet, mailbox: Mailbox, clock: Clock, grace_seconds: float
) -> list[InstanceId]:
    """Delete the mail of hosts that EC2 does not list, when they are older than the grace age.

    Instances without a job need no sweeping: every listed instance makes its job looked at, and
    `lifecycle.plan` takes down what no job needs. Returns what was swept.
    """
    swept: list[InstanceId] = []
    for instance, region in _old(fleet.strangers(), clock.now() - grace_seconds):
        try:
            await mailbox.forget(region, instance)
        except RetryLater as later:
            log.warning("sweep.later", instance=instance, error=str(later))
            continue
        fleet.forget(instance)
        log.info("sweep.host_forgotten", instance=instance, region=region)
        swept.append(instance)
    return swept


def _old(
    strangers: Mapping[InstanceId, tuple[Region, float]], before: float
) -> list[tuple[InstanceId, Region]]:
    return [(name, region) for name, (region, since) in strangers.items() if since < before]
