"""What health needs and nobody else asks for: the disk, the file against what runs, costs.

Looked at beside the loop, in a thread where it may wait; nothing is decided by it.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog

from agent.config import load
from agent.config.compare import Difference, differences
from agent.config.model import Config
from agent.market.model import Price
from agent.ports import Clock
from agent.status.health import Disk
from agent.wiring.adapters import price_of
from agent.wiring.agent import Wired
from agent.wiring.costs import Cost, listed_cost, no_dollars, told_costs
from faults import Fault

log = structlog.get_logger()

EVERY_SECONDS = 20.0
COSTS_SECONDS = 3600.0  # list prices change a few times a year
IMAGES = 2  # that the disk should have room for


class Upkeep:
    """Keeps its values current; `follow` runs until it is cancelled."""

    def __init__(self, world: Wired, path: Path | None, clock: Clock) -> None:
        self._world = world
        self._path = path
        self._clock = clock
        self._costed_at = float("-inf")
        self._listed: dict[str, Cost] = {}
        self.disk: Disk | None = None
        self.fault = ""
        self.differences: Sequence[Difference] = ()
        self.costs: Mapping[str, Cost] = {}

    async def follow(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await self._clock.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """All of it once; what can't be seen now keeps its last value."""
        try:
            self.disk = await asyncio.to_thread(self._space)
        except OSError as error:
            log.info("upkeep.disk", error=str(error))
        try:
            file = await asyncio.to_thread(load, self._path)
        except Fault as fault:
            self.fault, self.differences = str(fault), ()
        else:
            self.fault, self.differences = "", self._differs(file)
        await self._ask_costs()

    def lines(self) -> tuple[str, ...]:
        """How the file differs, a setting a line; a file that can't be read is one."""
        return (self.fault,) if self.fault else tuple(each.line for each in self.differences)

    def _space(self) -> Disk:
        store, images = self._world.config.image_store, self._world.config.images
        place = next(one for one in (store, *store.absolute().parents) if one.exists())
        return Disk(shutil.disk_usage(place).free, IMAGES * images.max_size_bytes)

    def _differs(self, file: Config) -> list[Difference]:
        """Prices that an order changed run already, however the file wrote them."""
        runs, decimals = self._world.loaded.config, self._world.chain.payment.decimals
        prices = self._world.state.offering.prices
        same = {
            f"offers {offer.type}"
            for offer in file.offers
            if prices.get(offer.type) == price_of(offer.price, decimals)
        }
        gone = {f"offers {offer.type}" for offer in runs.offers if offer.type not in prices}
        gone -= {f"offers {offer.type}" for offer in file.offers}
        return [each for each in differences(runs, file) if each.key not in same | gone]

    async def _ask_costs(self) -> None:
        """The configuration's, else AWS's list price; asked of AWS once an hour."""
        token = self._world.chain.payment
        told = told_costs(self._world.loaded.config, token.decimals)
        kinds = set(self._world.state.offering.prices)
        late = self._clock.now() - self._costed_at > COSTS_SECONDS
        if no_dollars(token.symbol) is None and (late or not kinds <= {*told, *self._listed}):
            self._costed_at = self._clock.now()
            for kind in kinds - set(told):
                prices = self._world.aws.prices
                self._listed[kind] = await listed_cost(prices, kind, token.decimals)
        self.costs = {**self._listed, **told}

    def margin(self, kind: str, price: Price) -> float | None:
        """Whole tokens an hour that a price leaves; None: the cost is not known."""
        cost = self.costs.get(kind)
        if cost is None or cost.price is None:
            return None
        decimals = self._world.chain.payment.decimals
        return float(price.per("h", decimals) - cost.price.per("h", decimals))
