"""Carries out what `offers.decide` says: probes room, lists and withdraws, within its budget."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from agent.decide.job_view import parse_instance_type
from agent.decide.listings import Change, OfferRules, OfferView, Relist, Spent, Withdraw, decide
from agent.journal.lines import OFFER_LISTED, OFFER_WITHDRAWN, Event
from agent.journal.reading import Reader
from agent.journal.writing import Journal, Unstorable
from agent.market.model import BlockRef, InstanceType, Price
from agent.ports import Call, Clock, Cloud, Market, Order, Transactor
from cloud.model import Region
from faults import Refused, RetryLater, TryElsewhere

log = structlog.get_logger()

DAY = 86_400.0


@dataclass(slots=True)
class Room:
    """How one type's room was found the last time, and since when it is so."""

    more: int
    limited_by: str
    full_since: float | None
    open_since: float | None


@dataclass(slots=True)
class Desk:
    """What is remembered of the offers between two rounds.

    `withdrawn` is what the agent took off by itself; `fees` are when and for how much wei it
    changed listings lately; `changed_in` is the block of each type's last change.
    """

    rooms: dict[str, Room] = field(default_factory=dict)
    listed: dict[str, Price] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    fees: list[tuple[float, int]] = field(default_factory=list)
    changed_in: dict[str, int] = field(default_factory=dict)
    sends: int = 0


class Offering:
    """This provider's offers. `prices` are the types on offer, from the configuration."""

    def __init__(
        self,
        market: Market,
        cloud: Cloud,
        transactor: Transactor,
        clock: Clock,
        journal: Journal,
        prices: Mapping[str, Price],
        rules: OfferRules,
    ) -> None:
        self._market = market
        self._cloud = cloud
        self._transactor = transactor
        self._clock = clock
        self._journal = journal
        self.prices = prices
        self.rules = rules
        self.desk = Desk()
        self.seen: set[str] = set()  # types of jobs: a drain withdraws these too
        self._looked = False

    @property
    def listed(self) -> int | None:
        """How many offers the chain shows; None before the first look."""
        return len(self.desk.listed) if self._looked else None

    def restore(self, reader: Reader) -> None:
        """What the journal knows of earlier changes: what to restore, and what was spent."""
        for event in reader.own(OFFER_LISTED, OFFER_WITHDRAWN):
            name = str(event.fields.get("type"))
            if event.name == OFFER_WITHDRAWN:
                self.desk.withdrawn.add(name)
            else:
                self.desk.withdrawn.discard(name)
            self.desk.fees.append((event.at, int(event.fields.get("fee_wei", 0))))
            self.desk.changed_in[name] = int(event.fields.get("block", 0))

    async def tend(self, *, draining: bool) -> None:
        """One round over all types. Raises RetryLater when chain or cloud do not answer."""
        blocks = await self._market.blocks()
        stake_left = await self._market.openings(blocks.head)
        for instance_type in sorted({*self.prices, *self.desk.listed, *self.seen}):
            await self._tend_type(instance_type, blocks.head, stake_left, draining=draining)
        self._looked = True

    async def _tend_type(
        self, instance_type: str, at: BlockRef, stake_left: int | None, *, draining: bool
    ) -> None:
        if at.number < self.desk.changed_in.get(instance_type, 0):
            return  # a node that does not show the last change yet
        listed = await self._market.offer(instance_type, at)
        self._note_listing(instance_type, listed)
        room = await self._room(instance_type, stake_left)
        view = OfferView(
            instance_type=instance_type,
            wanted=self.prices.get(instance_type),
            listed=listed,
            more=room.more if room else None,
            limited_by=room.limited_by if room else "",
            full_since=room.full_since if room else None,
            open_since=room.open_since if room else None,
            withdrawn=instance_type in self.desk.withdrawn,
        )
        now = self._clock.now()
        change = decide(view, now, self.rules, draining=draining, spent=self._spent(now))
        if change is not None:
            await self._carry_out(change)

    def _note_listing(self, instance_type: str, listed: Price | None) -> None:
        """What the chain shows. What somebody listed again, the agent restores no more."""
        if listed is None:
            self.desk.listed.pop(instance_type, None)
            return
        self.desk.listed[instance_type] = listed
        if instance_type in self.desk.withdrawn:
            self.desk.withdrawn.discard(instance_type)
            self._tell(OFFER_LISTED, "listed again by somebody else", type=instance_type)

    def _spent(self, now: float) -> Spent:
        self.desk.fees = [(when, fee) for when, fee in self.desk.fees if now - when < DAY]
        fees = [fee for _, fee in self.desk.fees]
        return Spent(sum(fees), max(fees, default=0))

    async def _room(self, instance_type: str, stake_left: int | None) -> Room | None:
        """Ask the cloud; stake counts as room too. None: it can't be said now."""
        kind = parse_instance_type(instance_type)
        if kind is None:
            return None
        try:
            more, limit = await self._more(kind)
        except (RetryLater, TryElsewhere) as later:
            log.warning("offers.room_unknown", type=instance_type, error=str(later))
            return self.desk.rooms.get(instance_type)
        if stake_left is not None and stake_left < more:
            more, limit = stake_left, "stake"
        room = self._since(self.desk.rooms.get(instance_type), more, limit)
        self.desk.rooms[instance_type] = room
        return room

    async def _more(self, kind: InstanceType) -> tuple[int, str]:
        try:
            found = await self._cloud.headroom(Region(kind.region), kind.ec2_type)
        except Refused as refused:
            return 0, str(refused)
        return found.more, found.limited_by

    def _since(self, before: Room | None, more: int, limit: str) -> Room:
        now = self._clock.now()
        if more > 0:
            since = before.open_since if before and before.open_since is not None else now
            return Room(more, limit, None, since)
        since = before.full_since if before and before.full_since is not None else now
        return Room(more, limit, since, None)

    async def _carry_out(self, change: Change) -> None:
        order = self._order(change)
        try:
            mined = await self._transactor.carry_out(order)
        except (Refused, RetryLater, TryElsewhere) as fault:
            log.warning("offers.not_changed", type=change.instance_type, error=str(fault))
            return
        self.desk.fees.append((self._clock.now(), mined.fee_wei))
        self.desk.changed_in[change.instance_type] = mined.block
        withdrawn = isinstance(change, Withdraw)
        if withdrawn:
            self.desk.listed.pop(change.instance_type, None)
            self.desk.withdrawn.add(change.instance_type)
        else:
            self.desk.withdrawn.discard(change.instance_type)
        self._tell(
            OFFER_WITHDRAWN if withdrawn else OFFER_LISTED,
            change.why,
            type=change.instance_type,
            tx=mined.tx_hash,
            block=mined.block,
            fee_wei=str(mined.fee_wei),
        )
        with suppress(Unstorable):  # it was logged; what it tells is done already
            await self._journal.durable()

    def _tell(self, name: str, why: str, **fields: str | int) -> None:
        log.info(name, why=why, **fields)
        self._journal.event(Event(self._clock.now(), name, text=why, fields=fields))

    def _order(self, change: Change) -> Order:
        """A key of its own each time: what a listing is worth depends on what came before it."""
        self.desk.sends += 1
        name = change.instance_type
        key = f"offer:{name}:{int(self._clock.now())}:{self.desk.sends}"
        if isinstance(change, Relist):
            return Order(key=key, call=Call.REGISTER, instance_type=name, price=change.price)
        return Order(key=key, call=Call.DEREGISTER, instance_type=name)
