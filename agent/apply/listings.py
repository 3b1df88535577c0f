"""Carries out what `offers.decide` says: probes room, lists and withdraws, within its budget."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import structlog

from agent.apply.bulk import QUOTA, Bulk
from agent.apply.rehearsals import ANSWER_SECONDS, Rehearsals
from agent.decide.job_view import parse_instance_type
from agent.decide.listings import Change, OfferRules, OfferView, Relist, Spent, Withdraw, decide
from agent.journal.lines import OFFER_AGREED, OFFER_LISTED, OFFER_WITHDRAWN, Event
from agent.journal.orders import OrderRecord
from agent.journal.reading import Put, Reader
from agent.journal.writing import Journal, Unstorable
from agent.load.fleet import Fleet
from agent.market.model import BlockRef, InstanceType, Price
from agent.ports import Call, Clock, Cloud, Market, Order, Transactor
from cloud.ec2.capacity import is_standard
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
    never: bool = False  # EC2 does not know the type, or it holds no enclave
    sure: bool = False
    blip: bool = False  # it is no want of room: AWS, or something of ours, is in the way
    away_seconds: float = 0.0  # for how long it was full before it was open


@dataclass(slots=True)
class Desk:
    """What is remembered of the offers between two rounds.

    `withdrawn` is what the agent took off by itself, and why; `fees` are when and for how much wei
    it changed listings lately; `changed_in` is the block of each type's last change. `asked` has
    the number of the order that is still to be carried out for a type, `done` of the last that was;
    `troubles` says why a change that is due was not made. `reasons` are why rules want the prices
    that they do, `by_rule` what of `fees` their changes cost. `blips` is when a type was taken off
    for what was no want of room, `off_for_blip` which are off for that alone.
    """

    rooms: dict[str, Room] = field(default_factory=dict)
    listed: dict[str, Price] = field(default_factory=dict)
    withdrawn: dict[str, str] = field(default_factory=dict)
    fees: list[tuple[float, int]] = field(default_factory=list)
    changed_in: dict[str, int] = field(default_factory=dict)
    asked: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    by_rule: list[tuple[float, int]] = field(default_factory=list)
    blips: dict[str, list[float]] = field(default_factory=dict)
    off_for_blip: set[str] = field(default_factory=set)
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
        fleet: Fleet,
    ) -> None:
        self._market = market
        self._cloud = cloud
        self._transactor = transactor
        self._clock = clock
        self._journal = journal
        self.prices = prices
        self.bulk = Bulk()
        self.rules = rules
        self._fleet = fleet
        self.rehearsals = Rehearsals(cloud, fleet, clock)
        self._urged: dict[str, float] = {}  # type -> the trouble that hurried a round
        self.desk = Desk()
        self.ruled: set[str] = (
            set()
        )  # types priced by rule, whether their price is known yet or not
        self.seen: set[str] = set()  # types of jobs: a drain withdraws these too
        self.pressed = False  # somebody waits for the next round
        self.stake_left: int | None = None  # jobs that it allowed in the last; None: no matter
        self._looked = False
        self._began = clock.now()
        self.began_after: int | None = None  # the last order before this process, where it is known

    @property
    def listed(self) -> int | None:
        """How many offers the chain shows; None before the first look."""
        return len(self.desk.listed) if self._looked else None

    @property
    def asks(self) -> Mapping[str, Price]:
        """The least price of every type on offer, those of a file too."""
        return {**self.bulk.prices, **self.prices} if self.bulk.prices else self.prices

    def has(self, name: str) -> bool:
        """Whether a type is on offer; where none is named, any is."""
        own, bulk = self.prices, self.bulk.prices
        return name in own or name in bulk or not (own or bulk)

    def fits(self, name: str) -> bool:
        """Whether another job of a type may fit, as far as it was asked; what was not, may."""
        room = self.desk.rooms.get(name)
        return not self._spent_quota(name) and (room is None or room.more > 0)

    def _spent_quota(self, name: str) -> bool:
        region, _, ec2_type = name.partition("/")
        room = self.desk.rooms.get(self.bulk.smallest.get(region, ""))
        spent = room is not None and room.more <= 0 and QUOTA in room.limited_by
        return spent and is_standard(ec2_type)

    @property
    def urgent(self) -> bool:
        """Whether something is listed that can't be launched, and no round was made since."""
        now = self._clock.now()
        found = {name: self._sure(name, now) for name in self.desk.listed}
        return any(since and self._urged.get(name) != since for name, since in found.items())

    def _sure(self, name: str, now: float) -> float:
        """Since when launches of a listed type fail for sure; 0: they do not."""
        kind = parse_instance_type(name)
        trouble = self._fleet.trouble.of(kind, now) if kind else None
        return trouble.since if trouble is not None and now >= trouble.sure_at else 0.0

    def restore(self, reader: Reader) -> Put:
        """What the journal knows of earlier changes: what to restore, and what was spent."""
        return partial(self._put, reader.own(OFFER_LISTED, OFFER_WITHDRAWN, OFFER_AGREED))

    def _put(self, told: Sequence[Event]) -> None:
        self.desk.fees.clear()
        self.desk.by_rule.clear()
        for event in told:
            name = str(event.fields.get("type"))
            self.desk.done[name] = int(event.fields.get("order", self.desk.done.get(name, 0)))
            if event.name == OFFER_AGREED:
                self.desk.withdrawn.pop(name, None)
                continue
            if event.name == OFFER_WITHDRAWN:
                self.desk.withdrawn[name] = event.text
            else:
                self.desk.withdrawn.pop(name, None)
            self.desk.fees.append((event.at, int(event.fields.get("fee_wei", 0))))
            if event.fields.get("by_rule"):
                self.desk.by_rule.append(self.desk.fees[-1])
            self.desk.changed_in[name] = int(event.fields.get("block", 0))

    def take_order(self, order: OrderRecord) -> None:
        """What a person ordered of one offer, before the chain shows it.

        An order from before this process began is in the file that it was started with, and the
        file may have been changed since: it counts only as far as the file agrees, and only when
        it was not carried out yet.
        """
        name = str(order.fields["type"])
        raw = order.fields.get("price")
        if self._is_fresh(order):
            kept = {kind: price for kind, price in self.prices.items() if kind != name}
            self.prices = kept if raw is None else {**kept, name: Price(int(raw))}
        elif order.id <= self.desk.done.get(name, 0) or (raw is None) == self._on_offer(name):
            return
        if raw is None:
            self.desk.withdrawn.pop(name, None)
        self.desk.asked[name] = order.id
        self.pressed = True

    def _is_fresh(self, order: OrderRecord) -> bool:
        """Whether it came after this process began: by its number, since it may have been written
        on another host, whose clock is another."""
        if self.began_after is None:
            return order.at >= self._began
        return order.id > self.began_after

    def _on_offer(self, name: str) -> bool:
        return name in self.prices or name in self.ruled

    async def tend(self, *, closed: str = "") -> None:
        """One round over all types; `closed` says why nothing is to be listed. Raises RetryLater
        when the chain does not answer."""
        self.pressed = False
        self._urged = {name: self._sure(name, self._clock.now()) for name in self.desk.listed}
        blocks = await self._market.blocks()
        stake_left = self.stake_left = await self._market.openings(blocks.head)
        own = {*self.prices, *self.desk.listed, *self.desk.asked, *self.seen}
        kinds = sorted(own | self.bulk.due(self.seen))
        if not closed:
            await self.rehearsals.look({*self.prices, *self.desk.listed})
        rooms = await asyncio.gather(*(self._room(kind, stake_left) for kind in kinds))
        for kind, room in zip(kinds, rooms, strict=True):
            await self._tend_type(kind, blocks.head, room, closed=closed)
        self._looked = True

    async def _tend_type(
        self, instance_type: str, at: BlockRef, room: Room | None, *, closed: str
    ) -> None:
        if at.number < self.desk.changed_in.get(instance_type, 0):
            return  # a node that does not show the last change yet
        listed = await self._market.offer(instance_type, at)
        self._note_listing(instance_type, listed)
        if instance_type in self.ruled and instance_type not in self.prices and not closed:
            return  # what its rule asks is not known yet
        view = OfferView(
            instance_type=instance_type,
            wanted=self.prices.get(instance_type),
            listed=listed,
            more=room.more if room else None,
            limited_by=room.limited_by if room else "",
            full_since=room.full_since if room else None,
            open_since=room.open_since if room else None,
            sure=room.sure if room else False,
            withdrawn=self.desk.withdrawn.get(instance_type, ""),
            ordered=instance_type in self.desk.asked,
            rule=self.desk.reasons.get(instance_type, ""),
            blips=self._blips(instance_type),
            away_seconds=room.away_seconds if room else 0.0,
        )
        now = self._clock.now()
        change = decide(view, now, self.rules, closed=closed, spent=self._spent(now))
        if change is not None:
            await self._carry_out(change)
        elif view.ordered and view.agrees:
            self._tell(OFFER_AGREED, "as ordered", type=instance_type, **self._order_done(view))
        elif view.ordered:
            self.desk.troubles[instance_type] = closed or f"no room: {view.limited_by}"
        else:
            self.desk.troubles.pop(instance_type, None)

    def _order_done(self, view: OfferView) -> dict[str, int]:
        """The number of the order that has come true, for the journal; it is asked for no more."""
        name = view.instance_type
        self.desk.troubles.pop(name, None)
        number = self.desk.asked.pop(name)
        self.desk.done[name] = number
        return {"order": number}

    def _note_listing(self, instance_type: str, listed: Price | None) -> None:
        """What the chain shows. What somebody listed again, the agent restores no more."""
        if listed is None:
            self.desk.listed.pop(instance_type, None)
            return
        self.desk.listed[instance_type] = listed
        if instance_type in self.desk.withdrawn:
            self.desk.withdrawn.pop(instance_type, None)
            self._tell(OFFER_LISTED, "listed again by somebody else", type=instance_type)

    def _spent(self, now: float) -> Spent:
        self.desk.fees = _lately(self.desk.fees, now)
        return _sum(self.desk.fees)

    def spent_by_rules(self, now: float) -> Spent:
        """Gas of the price changes that rules made within 24 hours."""
        self.desk.by_rule = _lately(self.desk.by_rule, now)
        return _sum(self.desk.by_rule)

    async def _room(self, instance_type: str, stake_left: int | None) -> Room | None:
        """Ask the cloud; stake counts as room too. None: it can't be said now."""
        kind = parse_instance_type(instance_type)
        if kind is None:
            return None
        never, blip = False, False
        try:
            more, limit = await self._more(kind)
        except Refused as refused:
            more, limit, never = 0, str(refused), True
        except (RetryLater, TryElsewhere) as later:
            more, limit, blip = 0, f"AWS does not answer: {later}", True  # nothing launches there
            log.warning("offers.room_unknown", type=instance_type, error=str(later))
        if stake_left is not None and stake_left < more:
            more, limit = stake_left, "stake"
        blocked, sure = await self.rehearsals.blocked(kind)
        if blocked:
            more, limit = 0, blocked
        room = self._since(self.desk.rooms.get(instance_type), more, limit)
        room = replace(room, never=never, sure=sure, blip=blip or bool(blocked))
        self.desk.rooms[instance_type] = room
        if room.full_since is not None and not room.blip:
            self.desk.off_for_blip.discard(instance_type)
        return room

    async def _more(self, kind: InstanceType) -> tuple[int, str]:
        try:
            asked = self._cloud.headroom(Region(kind.region), kind.ec2_type)
            found = await asyncio.wait_for(asked, ANSWER_SECONDS)
        except TimeoutError:
            raise RetryLater(f"nothing from {kind.region} in {ANSWER_SECONDS:.0f} s") from None
        return found.more, found.limited_by

    def _blips(self, name: str) -> int:
        """How often within a day, if it is off for one."""
        now, told = self._clock.now(), self.desk.blips.get(name, [])
        return sum(now - at < DAY for at in told) if name in self.desk.off_for_blip else 0

    def _note_off(self, name: str) -> None:
        """It was taken off the market."""
        room = self.desk.rooms.get(name)
        if room is not None and room.blip:
            now, told = self._clock.now(), self.desk.blips.get(name, [])
            self.desk.blips[name] = [*(at for at in told if now - at < DAY), now]
            self.desk.off_for_blip.add(name)
        else:
            self.desk.off_for_blip.discard(name)

    def _since(self, before: Room | None, more: int, limit: str) -> Room:
        now = self._clock.now()
        if more > 0:
            if before is not None and before.open_since is not None:
                return Room(more, limit, None, before.open_since, away_seconds=before.away_seconds)
            away = now - before.full_since if before and before.full_since is not None else 0.0
            return Room(more, limit, None, now, away_seconds=away)
        since = before.full_since if before and before.full_since is not None else now
        return Room(more, limit, since, None)

    async def _carry_out(self, change: Change) -> None:
        order = self._order(change)
        try:
            mined = await self._transactor.carry_out(order)
        except (Refused, RetryLater, TryElsewhere) as fault:
            log.warning("offers.not_changed", type=change.instance_type, error=str(fault))
            self.desk.troubles[change.instance_type] = str(fault)
            return
        self.desk.troubles.pop(change.instance_type, None)
        self.desk.fees.append((self._clock.now(), mined.fee_wei))
        by_rule = self._is_by_rule(change)
        if by_rule:
            self.desk.by_rule.append(self.desk.fees[-1])
        self.desk.changed_in[change.instance_type] = mined.block
        withdrawn = isinstance(change, Withdraw)
        if isinstance(change, Relist):
            self.desk.listed[change.instance_type] = change.price
            self.desk.withdrawn.pop(change.instance_type, None)
        else:
            self.desk.listed.pop(change.instance_type, None)
            self._note_off(change.instance_type)
            if change.instance_type in self.prices:  # else a person took it off, for good
                self.desk.withdrawn[change.instance_type] = change.why
        self.pressed = change.instance_type in self.desk.asked
        self._tell(
            OFFER_WITHDRAWN if withdrawn else OFFER_LISTED,
            change.why,
            type=change.instance_type,
            tx=mined.tx_hash,
            block=mined.block,
            fee_wei=str(mined.fee_wei),
            **({"by_rule": 1} if by_rule else {}),
        )
        with suppress(Unstorable):  # it was logged; what it tells is done already
            await self._journal.durable()

    def _is_by_rule(self, change: Change) -> bool:
        """Whether a rule moved the price of what is listed."""
        name = change.instance_type
        return isinstance(change, Relist) and change.why == self.desk.reasons.get(name)

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


def _lately(fees: list[tuple[float, int]], now: float) -> list[tuple[float, int]]:
    return [(when, fee) for when, fee in fees if now - when < DAY]


def _sum(fees: list[tuple[float, int]]) -> Spent:
    return Spent(sum(fee for _, fee in fees), max((fee for _, fee in fees), default=0))
