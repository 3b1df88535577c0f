"""Whether EC2 would take a launch now, asked by its DryRun of the very request; buys nothing.

A role, group, subnet or permission that somebody took away beside a running agent shows in no
listing: each region is asked twice a minute, with one type of it, and every type of it where one
was refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog

from agent.decide.job_view import parse_instance_type
from agent.load.fleet import Fleet
from agent.market.model import InstanceType
from agent.ports import Clock, Cloud
from cloud.kinds import OwnTrouble
from cloud.model import Region
from faults import Refused, RetryLater, TryElsewhere

log = structlog.get_logger()

ANSWER_SECONDS = 30.0  # a region that says nothing for so long does not answer


class Rehearsals:
    """Of one provider's launches; what they say is kept with the fleet's launch trouble."""

    def __init__(self, cloud: Cloud, fleet: Fleet, clock: Clock) -> None:
        self._cloud, self._fleet, self._clock = cloud, fleet, clock

    async def look(self, names: Iterable[str]) -> None:
        """One rehearsal in each region that is seen, with the first of its types."""
        first: dict[str, InstanceType] = {}
        for kind in filter(None, map(parse_instance_type, sorted(names))):
            first.setdefault(kind.region, kind)
        seen = [kind for kind in first.values() if not self._fleet.unseen(Region(kind.region))]
        await asyncio.gather(*(self._rehearse(kind) for kind in seen))

    async def blocked(self, kind: InstanceType) -> tuple[str, bool]:
        """Why nothing of the type could be launched now, and whether to leave the market at once.

        Asked of EC2 where this type, or another one of its region, was refused.
        """
        region, trouble = Region(kind.region), self._fleet.trouble
        if unseen := self._fleet.unseen(region):
            return unseen, True
        found = trouble.of(kind, self._clock.now())
        if trouble.near(region) and (found is None or found.rehearsable):
            await self._rehearse(kind)
            found = trouble.of(kind, self._clock.now())
        return (found.reason, self._clock.now() >= found.sure_at) if found else ("", False)

    async def _rehearse(self, kind: InstanceType) -> None:
        trouble, now = self._fleet.trouble, self._clock.now()
        try:
            asked = self._cloud.rehearse(self._fleet.nobodys_order(kind))
            await asyncio.wait_for(asked, ANSWER_SECONDS)
        except OwnTrouble as ours:
            trouble.refused(kind, str(ours), now)
        except (RetryLater, TryElsewhere, Refused, TimeoutError) as other:
            log.info("offers.not_rehearsed", type=kind.text, error=str(other))
        else:
            trouble.rehearsed(kind, now)
