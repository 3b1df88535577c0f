"""Regions taken out of the configuration: nobody lists them, so nothing of ours may be left there.

The journal knows where anything was ever launched; whether it still lives, only AWS knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence

from agent.journal.lines import LaunchRecord
from agent.journal.reading import Reader
from agent.load.fleet import VISIBLE_SECONDS
from agent.ports import Cloud
from cloud.model import Region
from faults import MustStop


async def check_regions(reader: Reader, cloud: Cloud, regions: Collection[str], now: float) -> None:
    """Raises MustStop where something is left behind, RetryLater where AWS does not say."""
    for left in await left_behind(reader, cloud, regions, now):
        raise MustStop(left)


async def left_behind(
    reader: Reader, cloud: Cloud, regions: Collection[str], now: float
) -> Sequence[str]:
    """A line for each region outside of `regions` in which an instance of this provider lives.

    One list call for each such region that jobs without an end were launched in; usually none.
    Raises RetryLater.
    """
    used: dict[str, list[LaunchRecord]] = {}
    for record in await asyncio.to_thread(reader.launches_outside, regions):
        used.setdefault(record.region, []).append(record)
    found = []
    for region, records in sorted(used.items()):
        live = {one.id for one in await cloud.instances(Region(region)) if one.live}
        young = [each for each in records if each.at > now - VISIBLE_SECONDS]
        if live or young:  # EC2 may not list yet what was just launched
            names = sorted({*live, *(each.instance or f"job {each.job}'s" for each in young)})
            found.append(_line(region, names))
    return found


def _line(region: str, names: Sequence[str]) -> str:
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return (
        f"region {region} was taken out of aws.regions while {shown} is still there: put it back "
        f"until its jobs have ended (its [[offers]] may go), or terminate what is there"
    )
