"""What health needs and nobody else asks for: disk, files against what runs, costs.

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
from agent.config.load import path_of
from agent.config.model import Config
from agent.config.running import keep
from agent.journal.in_place import InPlace
from agent.load.costs import Cost
from agent.market.model import Price
from agent.ports import Clock
from agent.status.health import Disk
from agent.wiring.adapters import offered_prices
from agent.wiring.wired import Wired
from faults import Fault, UsageFault

log = structlog.get_logger()

EVERY_SECONDS = 20.0
IMAGES = 2  # that the disk should have room for


class Upkeep:
    """Keeps its values current; `follow` runs until it is cancelled."""

    def __init__(self, world: Wired, path: Path | None, clock: Clock) -> None:
        self._world = world
        self.path = path_of(path)
        self.place = str(self.path.resolve())
        self._noted = ""
        self._clock = clock
        self.disk: Disk | None = None
        config = world.config
        self._journal = InPlace(None if config.journal.url_file else config.journal_file)
        self.journal_gone = False  # its file was moved or deleted in use
        self.fault = ""  # why the file can't be read
        self.differences: Sequence[Difference] = ()

    async def follow(self) -> None:
        """Look for ever."""
        while True:
            await self.look()
            await self._clock.sleep(EVERY_SECONDS)

    async def look(self) -> None:
        """All of it once; what can't be seen now keeps its last value."""
        try:
            self.disk = await asyncio.to_thread(self._space)
            self._note_journal(await asyncio.to_thread(self._journal.is_gone))
        except OSError as error:
            log.info("upkeep.disk", error=str(error))
        try:
            file = await asyncio.to_thread(load, self.path)
        except Fault as fault:
            self.fault, self.differences = str(fault), ()
        else:
            self.fault, self.differences = "", self._differs(file)
            if not self.differences:
                await asyncio.to_thread(self.note, file)  # orders write into the file, too
        await self._ask_costs()

    def _note_journal(self, gone: bool) -> None:
        if gone and not self.journal_gone:
            log.error("journal.file_gone", file=str(self._world.config.journal_file))
        self.journal_gone = gone

    def note(self, read: Config) -> None:
        """That the agent goes by what was read, for who looks at it while the file is broken."""
        if read.text == self._noted:
            return
        try:
            keep(self._world.config, self.path, read.text)
            self._noted = read.text
        except UsageFault as fault:  # what only shows things ends nothing
            log.warning("upkeep.not_noted", error=str(fault))

    def lines(self) -> tuple[str, ...]:
        """How the file differs, a setting a line."""
        return tuple(each.line for each in self.differences)

    def _space(self) -> Disk:
        store, images = self._world.config.image_store, self._world.config.images
        place = next(one for one in (store, *store.absolute().parents) if one.exists())
        return Disk(shutil.disk_usage(place).free, IMAGES * images.max_size_bytes)

    def _differs(self, file: Config) -> list[Difference]:
        """Prices that an order changed run already, however the file wrote them: where this host
        leads by its own prices, and where it stands by with the host that leads."""
        runs, decimals = self._world.loaded.config, self._world.chain.payment.decimals
        prices = self._world.state.offering.prices
        fixed = offered_prices(file, decimals)
        same = {f"offers {name}" for name, price in fixed.items() if prices.get(name) == price}
        named = {*prices, *(pricing.rules if (pricing := self._world.state.pricing) else ())}
        gone = {f"offers {offer.type}" for offer in runs.offers if offer.type not in named}
        gone -= {f"offers {offer.type}" for offer in file.offers}
        found = [each for each in differences(runs, file) if each.key not in same | gone]
        if self._world.state.leadership.stands_by:
            found = [each for each in found if not _is_price(each)]
        return found

    async def _ask_costs(self) -> None:
        """Of what is on offer, or is to be by rule; the journal has them of whoever leads."""
        state, costs = self._world.state, self._world.costs
        kinds = {*state.offering.prices, *(state.pricing.rules if state.pricing else ())}
        await costs.look(kinds)
        if not state.leadership.stands_by:
            costs.write(kinds)

    @property
    def costs(self) -> Mapping[str, Cost]:
        """What each type costs, as far as it is known."""
        return self._world.costs.all

    def margin(self, kind: str, price: Price) -> float | None:
        """Whole tokens an hour that a price leaves; None: the cost is not known."""
        cost = self.costs.get(kind)
        if cost is None or cost.price is None:
            return None
        decimals = self._world.chain.payment.decimals
        return float(price.per("h", decimals) - cost.price.per("h", decimals))


def _is_price(found: Difference) -> bool:
    """What `offers set` writes; what an offer costs a person alone does."""
    return found.key.startswith("offers ") and not found.key.endswith(" cost")
