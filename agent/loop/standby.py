"""What a host does while another leads: it looks at the fleet, and changes nothing.

All is open, the fleet is known, images are on the disk and the chain's events are heard, so that
the loop begins at once when the lease is taken, with the jobs of which something was heard lately.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from agent.loop.prefetch import Prefetch
from agent.loop.state import LoopState
from agent.market.model import JobId
from agent.ports import Wakes

TURN_SECONDS = 1.0  # between two signs of life
LOOK_SECONDS = 60.0  # between two looks: whoever takes over looks first, and reads what is new
HEARD_SECONDS = 120.0  # whoever led acted on what came before, or the reading of all jobs finds it


async def stand_by(
    state: LoopState, wakes: Wakes, stopping: asyncio.Event, lives: Callable[[], None]
) -> bool:
    """Until this host leads, or is told to stop; at once where there is but one. Whether another
    led meanwhile."""
    leads = state.leadership.leads
    if leads.is_set():
        return False
    heard = Heard(state)
    waits = [asyncio.create_task(each.wait()) for each in (leads, stopping)]
    warm = [
        asyncio.create_task(_keep_warm(state, lives), name="standby"),
        asyncio.create_task(Prefetch(state).follow(), name="prefetch"),
        asyncio.create_task(heard.follow(wakes), name="heads"),
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
    state.pressing.update(heard.lately())
    return True


class Heard:
    """Jobs that the chain's events named while another host led, each with the last time."""

    def __init__(self, state: LoopState) -> None:
        self._now = state.now
        self._at: dict[JobId, float] = {}

    async def follow(self, wakes: Wakes) -> None:
        """For ever. Nothing is read of the jobs themselves."""
        while True:
            named = await wakes.wait()
            kept = {job: self._at[job] for job in self.lately()}
            self._at = kept | dict.fromkeys(named, self._now())

    def lately(self) -> set[JobId]:
        """Those that were named within HEARD_SECONDS."""
        since = self._now() - HEARD_SECONDS
        return {job for job, at in self._at.items() if at >= since}


async def _keep_warm(state: LoopState, lives: Callable[[], None]) -> None:
    looked_at = -math.inf
    while True:
        now = state.now()
        fleet = state.world.fleet
        pause = state.rules.service.calm_look_seconds if fleet.faults else LOOK_SECONDS
        if now - looked_at >= pause:
            looked_at = now
            for region in state.sources.regions:  # nobody waits; all at once are held at once
                await fleet.look(region)
        fleet.begin_anew()
        lives()
        await state.world.clock.sleep(TURN_SECONDS)
