"""EC2 instances of one provider: launch, list, terminate. By tags, idempotent.

What keeps a launch from happening twice, in this order:
1. The same order at the same spot is the same call with the same ClientToken, so EC2 itself
   answers a repeated call with the first instance, however the first reply was lost.
2. The spot is on disk before the call (`cloud.ec2.spots`) and stays the only spot until EC2 refused
   it definitely. No other zone is tried while the outcome in one is unknown, restart or not.
3. Should the disk be lost between a call and its reply, listing by tags finds both instances once
   both are visible; `cloud.ec2.reconcile.duplicates` keeps the oldest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from cloud.clients import Calls
from cloud.ec2.catalog import Catalog
from cloud.ec2.described import instance_of, reserved
from cloud.ec2.launch_request import launch_request
from cloud.ec2.places import Places, Subnet, zone_order
from cloud.ec2.soldout import SoldOut
from cloud.ec2.spots import LaunchMemory, Spot, Spots, order_key
from cloud.errors import would_work
from cloud.kinds import (
    Busy,
    ImageRefused,
    Missing,
    NoCapacity,
    NoSuchType,
    NotHere,
    NotSetUp,
    OutcomeUnknown,
    ParametersDiffer,
    QuotaReached,
    Unexplained,
)
from cloud.lean import Memo, every
from cloud.model import (
    GONE,
    IMAGE_TAG,
    AttemptSpent,
    Instance,
    InstanceId,
    InstanceState,
    LaunchOrder,
    Region,
    always,
)
from cloud.request_budget import Urgency
from cloud.settings import Home, Settings
from faults import Fault, Refused

if TYPE_CHECKING:
    from types_boto3_ec2.client import EC2Client
    from types_boto3_ec2.type_defs import (
        FilterTypeDef,
        ReservationResponseTypeDef,
        RunInstancesRequestTypeDef,
    )

UserData = Callable[[LaunchOrder, Home], bytes]
Reserved = Memo[tuple[Instance, ...]]  # what each reservation of a listing holds of ours
FindHome = Callable[[Region], Awaitable[Home]]

LOST_REPLY_TRIES = 3
PAGE = 1000  # the most DescribeInstances gives, and the most TerminateInstances takes
USER_DATA_LIMIT = 16 * 1024  # bytes before base64 (EC2 user guide, "Run commands at launch")


class Instances:
    """Launch, list and terminate in every region.

    `user_data` renders what an order boots with: the same bytes for the same order and home.
    """

    def __init__(
        self,
        calls: Calls,
        settings: Settings,
        places: Places,
        catalog: Catalog,
        find_home: FindHome,
        user_data: UserData,
        spots: Spots | None = None,
    ) -> None:
        self._calls = calls
        self._settings = settings
        self._places = places
        self._catalog = catalog
        self._find_home = find_home
        self._user_data = user_data
        self._spots: Spots = spots or _own_memory(settings, calls.clock.now())
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.sold_out = SoldOut(calls.clock.now)
        self._memos: dict[Region, Reserved] = {}
        self.nameless: dict[InstanceId, Region] = {}  # by the last listings

    async def listing(self, region: Region) -> Sequence[Instance]:
        """Every instance of this owner, recently terminated ones too. Raises RetryLater."""
        filters = _tagged(self._settings.owner.tags())
        filters.append({"Name": "instance-state-name", "Values": [s.value for s in InstanceState]})
        memo = self._memos.setdefault(region, Memo(partial(reserved, region, self.nameless)))
        return await self._described(region, filters, f"listing instances in {region}", memo)

    async def launch(self, order: LaunchOrder) -> Instance:
        """Launch once, in the first zone that has room, from the first image that serves.

        Raises NoCapacity or QuotaReached (TryElsewhere), Throttled, OutcomeUnknown, Busy or
        OwnTrouble (RetryLater: the same order again), TooLate (RetryLater: it was not sent this
        time), AttemptSpent (Refused: send attempt + 1), Refused (EC2 has no such type).
        """
        key = order_key(order)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            try:
                return await self._launch(order)
            except NoSuchType:
                raise
            except NotSetUp:
                self._places.forget()
                raise
            except Missing as fault:
                self._places.forget()
                if spot := await self._recalled(order):
                    await self._forget(order, spot)
                raise NotSetUp(f"{fault}; it was there before, or run `cloud setup`") from fault

    async def rehearse(self, order: LaunchOrder) -> None:
        """Whether a launch would be allowed: EC2's DryRun of the very request; buys nothing.

        Raises NotAllowed, NotSetUp, NoCapacity (no zone), QuotaReached, Refused.
        """
        subnets = await self._open_subnets(order)
        if not subnets:
            raise NoCapacity(_no_zone(order))
        request = await self._request(order, await self._spot(order, subnets[0]))
        request["DryRun"] = True
        ec2 = self._calls.clients.ec2(order.region)
        await self._calls.ask(
            order.region,
            "RunInstances",
            f"rehearsing a launch of {order.instance_type}",
            lambda: would_work(lambda: ec2.run_instances(**request)),
        )

    async def note_image(self, region: Region, instance: InstanceId, words: str) -> None:
        """Tag the instance; listings tell it. Raises RetryLater, Refused: it is gone."""
        ec2 = self._calls.clients.ec2(region)
        await self._calls.ask(
            region,
            "CreateTags",
            f"noting the image on {instance}",
            lambda: ec2.create_tags(
                Resources=[instance], Tags=[{"Key": IMAGE_TAG, "Value": words}]
            ),
        )

    async def terminate(
        self, region: Region, instances: Sequence[InstanceId], wanted: Callable[[], bool] = always
    ) -> None:
        """Ask for the end of these; unknown ones are fine, listing confirms. `wanted` is asked when
        the turn of a call comes.

        Raises RetryLater (TooLate: it was not wanted any more, and nothing was sent); Refused for
        one that is protected; for one of many, after the others were asked for.
        """
        kept: list[Fault] = []
        for start in range(0, len(instances), PAGE):
            kept += await self._terminate(region, list(instances[start : start + PAGE]), wanted)
        if kept:
            raise kept[0]

    async def _terminate(
        self, region: Region, ids: list[InstanceId], wanted: Callable[[], bool]
    ) -> list[Fault]:
        """One unknown, moving or protected id refuses a whole call, so such a batch is halved.
        Not for credentials that may end none of them: that would be two calls for each."""
        doing = f"terminating {ids[0]}" + (f" and {len(ids) - 1} more" if ids[1:] else "")
        ec2 = self._calls.clients.ec2(region)
        try:
            await self._calls.ask(
                region,
                "TerminateInstances",
                doing,
                lambda: ec2.terminate_instances(InstanceIds=ids),
                Urgency(wanted=wanted),
            )
        except (Refused, Busy, NotSetUp, Unexplained) as fault:
            if len(ids) == 1:
                return [] if isinstance(fault, Missing) else [fault]
            middle = len(ids) // 2
            first = await self._terminate(region, ids[:middle], wanted)
            return first + await self._terminate(region, ids[middle:], wanted)
        return []

    async def _launch(self, order: LaunchOrder) -> Instance:
        if spot := await self._recalled(order):
            try:
                return await self._at(order, spot)
            except (NoCapacity, NotHere, ImageRefused) as fault:
                await self._elsewhere(order, spot, fault)
        refusals: list[NoCapacity | NotHere] = []
        for subnet in await self._open_subnets(order):
            try:
                return await self._in(order, subnet)
            except (NoCapacity, NotHere) as fault:
                refusals.append(fault)
        full = [fault for fault in refusals if isinstance(fault, NoCapacity)]
        if refusals and not full:
            raise refusals[-1]  # no zone is full: all of them are set up wrongly
        raise full[-1] if full else NoCapacity(_no_zone(order))

    async def _in(self, order: LaunchOrder, subnet: Subnet) -> Instance:
        """In this subnet, from the first image that EC2 takes."""
        while True:
            spot = await self._spot(order, subnet)
            try:
                return await self._at(order, spot)
            except (NoCapacity, NotHere, ImageRefused) as fault:
                if not await self._elsewhere(order, spot, fault):
                    raise

    async def _recalled(self, order: LaunchOrder) -> Spot | None:
        """Where the order was sent last."""
        if not self._spots.waits:
            return self._spots.recall(order)
        return await asyncio.to_thread(self._spots.recall, order)

    async def _forget(self, order: LaunchOrder, spot: Spot) -> None:
        """Nothing runs there, and nothing will of this order."""
        if not self._spots.waits:
            self._spots.refused(order, spot)
        else:
            await asyncio.to_thread(self._spots.refused, order, spot)

    async def _elsewhere(self, order: LaunchOrder, spot: Spot, fault: Fault) -> bool:
        """Nothing runs at the spot; whether another image may do there."""
        await self._forget(order, spot)
        if isinstance(fault, NoCapacity):
            self.sold_out.mark(order.instance_type, spot.zone)
        if not isinstance(fault, ImageRefused):
            return False
        facts = await self._catalog.facts(order.region, order.instance_type)
        return await self._places.pass_over(order.region, facts.architecture, spot.ami)

    async def _at(self, order: LaunchOrder, spot: Spot) -> Instance:
        """Launch at this spot, sending the same call again when a reply is lost.

        What an operator or a minute mends leaves the spot known: the same call again may find
        what an earlier one launched.
        """
        for attempt in range(1, LOST_REPLY_TRIES + 1):
            try:
                return await self._run(order, spot)
            except OutcomeUnknown:
                if attempt == LOST_REPLY_TRIES:
                    raise
            except ParametersDiffer:
                return await self._launched_before(order)
            except AttemptSpent:
                raise  # its spot stays known: sent elsewhere, this order would launch again
            except (QuotaReached, Refused):
                await self._forget(order, spot)
                raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def _run(self, order: LaunchOrder, spot: Spot) -> Instance:
        request = await self._request(order, spot)
        ec2 = self._calls.clients.ec2(order.region)
        answer = await self._calls.ask(
            order.region,
            "RunInstances",
            f"launching {order.instance_type} in {spot.zone} for job {order.identity.job}",
            lambda: self._send(ec2, order, spot, request),
            Urgency.of(order),
        )
        if not answer.get("Instances"):
            raise OutcomeUnknown(
                f"job {order.identity.job}: EC2 names no instance that it launched"
            )
        instance = instance_of(order.region, answer["Instances"][0])
        if instance is None:
            raise OutcomeUnknown(f"job {order.identity.job}: the launched instance has no tags yet")
        if instance.state in GONE:
            raise AttemptSpent(f"job {order.identity.job}: {instance.id} is {instance.state}")
        return instance

    def _send(
        self, ec2: EC2Client, order: LaunchOrder, spot: Spot, request: RunInstancesRequestTypeDef
    ) -> ReservationResponseTypeDef:
        """On a thread, since noting the spot waits for the disk, and a crowd's must not add up."""
        self._spots.note(order, spot, self._calls.clock.now())
        return ec2.run_instances(**request)

    async def _launched_before(self, order: LaunchOrder) -> Instance:
        """The instance of this order, launched before the settings changed."""
        doing = f"looking for the instance of job {order.identity.job} with other parameters"
        memo = Memo(partial(reserved, order.region, {}))
        found = await self._described(order.region, _tagged(order.identity.tags()), doing, memo)
        live = [instance for instance in found if instance.live]
        if live:
            return min(live, key=lambda instance: (instance.launched_at, instance.id))
        if found:
            raise AttemptSpent(f"job {order.identity.job}: {found[0].id} is {found[0].state}")
        raise OutcomeUnknown(f"{doing}: not visible yet")

    async def _open_subnets(self, order: LaunchOrder) -> Sequence[Subnet]:
        offered = await self._catalog.zones(order.region, order.instance_type)
        return [
            subnet
            for subnet in zone_order(order, await self._places.subnets(order.region))
            if subnet.zone in offered and not self.sold_out.is_(order.instance_type, subnet.zone)
        ]

    async def _spot(self, order: LaunchOrder, subnet: Subnet) -> Spot:
        facts = await self._catalog.facts(order.region, order.instance_type)
        detour = order.detour
        ami = await self._places.ami(order.region, facts.architecture, detour.images)
        disk = (ami.root_device, ami.least_gib, detour.aws_key)
        return Spot(subnet.zone, subnet.id, ami.id, *disk)

    async def _request(self, order: LaunchOrder, spot: Spot) -> RunInstancesRequestTypeDef:
        user_data = self._user_data(order, await self._find_home(order.region))
        if len(user_data) > USER_DATA_LIMIT:
            text = f"user data has {len(user_data)} bytes, EC2 takes {USER_DATA_LIMIT}"
            raise NotSetUp(f"{text}: shorten [enclave] ports or egress")
        group = await self._places.group(order.region)
        return launch_request(order, spot, self._settings, group, user_data)

    async def _described(
        self, region: Region, filters: list[FilterTypeDef], doing: str, memo: Reserved
    ) -> Sequence[Instance]:
        pages = self._calls.clients.ec2(region).get_paginator("describe_instances")

        def look() -> list[Instance]:
            found = pages.paginate(Filters=filters, PaginationConfig={"PageSize": PAGE})
            return list(chain.from_iterable(memo.over(every(found, "Reservations"))))

        return await self._calls.ask(region, "DescribeInstances", doing, look)


def _own_memory(settings: Settings, now: float) -> LaunchMemory:
    memory = LaunchMemory.within(settings.state_dir)
    memory.prune(now)
    return memory


def _no_zone(order: LaunchOrder) -> str:
    return f"{order.region} has no zone left for {order.instance_type}"


def _tagged(tags: Mapping[str, str]) -> list[FilterTypeDef]:
    return [{"Name": f"tag:{name}", "Values": [value]} for name, value in tags.items()]
