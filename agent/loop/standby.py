"""What a host does while another leads: it looks at the fleet, and changes nothing.

All is open, the fleet is known and images are on the disk, so that the loop begins at once when
the lease is taken.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from agent.loop.prefetch import Prefetch
from agent.loop.state import LoopState

TURN_SECONDS = 1.0  # between two signs of life
LOOK_SECONDS = 60.0  # between two looks: whoever takes over looks first, and reads what is new


async def stand_by(state: LoopState, stopping: asyncio.Event, lives: Callable[[], None]) -> bool:
    """Until this host leads, or is told to stop; at once where there is but one. Whether another
    led meanwhile."""
    leads = state.leadership.leads
    if leads.is_set():
        return False
    waits = [asyncio.create_task(each.wait()) for each in (leads, stopping)]
    warm = [
        asyncio.create_task(_keep_warm(state, lives), name="standby"),
        asyncio.create_task(Prefetch(state).follow(), name="prefetch"),
    ]
    try:
        await asyncio.wait([*waits, *warm], return_when=asyncio.FIRST_COMPLETED)
        for broken in warm:
            if broken.done():
                broken.result()  # it never ends but by a bug
    finally:
        for task in (*waits, *warm):
            task.cancel()
        await asyncio.gather(*waits, *warm, return_exceptions=True)
    return True


async def _keep_warm(state: LoopState, lives: Callable[[], None]) -> None:
    looked_at = -math.inf
    while True:
        now = state.now()
        fleet = state.world.fleet
        pause = state.rules.service.calm_look_seconds if fleet.faults else LOOK_SECONDS
        if now - looked_at >= pause:
            looked_at = now
            await asyncio.gather(*(fleet.look(region) for region in state.sources.regions))
        fleet.begin_anew()
        lives()
        await state.world.clock.sleep(TURN_SECONDS)
