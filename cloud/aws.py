"""All of AWS that the agent needs, put together: one object for all regions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from cloud.bucket.mailbox import Mailbox
from cloud.clients import Calls, Clients
from cloud.ec2.addresses import Addresses
from cloud.ec2.capacity import Capacity, QuotaUse
from cloud.ec2.catalog import Catalog
from cloud.ec2.dry_run import Allowed, Rehearsal
from cloud.ec2.elsewhere import Elsewhere
from cloud.ec2.instances import Instances, UserData
from cloud.ec2.places import Cache, Places
from cloud.ec2.pricing import ListPrices
from cloud.ec2.spots import Spots
from cloud.kinds import Missing, NotSetUp
from cloud.lean import Memo, every
from cloud.model import (
    EnclaveRoom,
    Headroom,
    Identity,
    Instance,
    InstanceId,
    InstanceState,
    LaunchOrder,
    Region,
    ScheduledEvent,
    always,
)
from cloud.request_budget import Clock
from cloud.settings import Account, Home, Settings

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import InstanceStatusEventTypeDef, InstanceStatusTypeDef

# EC2's status checks run every minute (EC2 user guide, "Status checks").
HEALTH_KEEP_SECONDS = 60
_FOREVER = float("inf")

Said = tuple[bool | None, tuple[ScheduledEvent, ...]]  # EC2's checks, and what it will do
_NOTHING: Said = (None, ())


class Aws:
    """EC2 and the mailbox for the agent; makes no call before the first question.

    `user_data` gives the bytes an order boots with, told where the host's mailbox is. `spots`
    remembers where launches were sent; a folder of this host when there is none.
    """

    def __init__(
        self,
        settings: Settings,
        user_data: UserData,
        clock: Clock,
        endpoint_url: str | None = None,
        spots: Spots | None = None,
    ) -> None:
        self._clients = Clients(endpoint_url)
        self._settings = settings
        self.calls = Calls(self._clients, clock)
        self.places = Places(self.calls, settings)
        self._catalog = Catalog(self.calls, settings.state_dir / "types")
        self._instances = Instances(
            self.calls, settings, self.places, self._catalog, self.home, user_data, spots
        )
        self._addresses = Addresses(self.calls, settings)
        self.elsewhere = Elsewhere(self.calls)
        self._capacity = Capacity(
            self.calls, settings, self.places, self._catalog, self._instances.sold_out
        )
        self.prices = ListPrices(self.calls, settings.state_dir / "prices")
        self._rehearsal = Rehearsal(self.calls, settings, self.account)
        self._health = Cache(clock.now, HEALTH_KEEP_SECONDS)
        self._checks: dict[Region, Memo[tuple[InstanceId, Said]]] = {}
        self._once = Cache(clock.now, _FOREVER)
        self.mailbox = Mailbox(
            self._clients, self.account, clock.now, settings.state_dir / "mailbox"
        )

    async def account(self) -> Account:
        """The account's number and the role's id. Raises NotSetUp, NotAllowed, RetryLater."""
        return await self._once.get("account", self._account)

    async def caller(self) -> tuple[str, str]:
        """The account's number, and whom AWS takes these credentials for (an ARN); for nothing else
        is anything set up. Raises NotAllowed (there are none, too), RetryLater."""
        region = self._settings.regions[0]
        who = await self._clients.run(
            "asking whose AWS credentials these are",
            lambda: self._clients.sts(region).get_caller_identity(),
        )
        return who["Account"], who["Arn"]

    def clock_ahead(self) -> float | None:
        """Seconds by which AWS's clock is ahead of this machine's, by its newest answer; None: it
        did not answer yet."""
        return self._clients.clock.ahead

    async def home(self, region: Region) -> Home:
        """Where the hosts of the region find their mailbox."""
        return (await self.account()).home(region)

    async def instances(self, region: Region) -> Sequence[Instance]:
        """Every instance tagged as this provider's, recently terminated ones too.

        Two calls at most: the listing, and the status checks once a minute. With Elastic IPs this
        is also where addresses follow their instances: `public_ip` is None until the job's address
        is associated. Raises RetryLater.
        """
        listed = await self._with_health(region, await self._instances.listing(region))
        if self._settings.elastic_ips:
            return await self._addresses.follow(region, listed)
        return listed

    def nameless(self) -> Mapping[InstanceId, Region]:
        """Live instances with this provider's tags of which the tag of the job, or another one of
        theirs, was taken away or is no number: nobody knows what they are for."""
        return dict(self._instances.nameless)

    async def launch(self, order: LaunchOrder) -> Instance:
        """Launch once, in the first zone with room; see `Instances.launch` for what it raises."""
        instance = await self._instances.launch(order)
        await self._capacity.launched(order.region, order.instance_type)
        return instance

    async def rehearse(self, order: LaunchOrder) -> None:
        """Whether EC2 would let this order be launched now; see `Instances.rehearse`."""
        await self._instances.rehearse(order)

    async def allowed(self, region: Region, identity: Identity) -> Allowed:
        """What else may be done in the region, tried without doing it; see `Rehearsal`."""
        ours = await self._instances.listing(region)
        live = next((one.id for one in ours if one.live), None)
        return await self._rehearsal.allowed(region, identity, live)

    async def quotas(self, region: Region, instance_type: str) -> Sequence[QuotaUse]:
        """The quotas that one more job of the type counts against. Raises RetryLater, Refused."""
        return await self._capacity.quotas(region, instance_type)

    async def terminate(
        self, region: Region, instances: Sequence[InstanceId], wanted: Callable[[], bool] = always
    ) -> None:
        """Ask for the end of these; gone and unknown ones are fine. Listing confirms it, and gives
        their addresses back once the job has had no instance for a while."""
        await self._instances.terminate(region, instances, wanted)

    async def note_image(self, region: Region, instance: InstanceId, words: str) -> None:
        """Write on the instance which image it is given. Raises RetryLater, Refused."""
        await self._instances.note_image(region, instance, words)

    async def room(self, region: Region, instance_type: str) -> EnclaveRoom:
        """What an enclave gets on this type. Raises Refused: unknown, or without enclaves."""
        return await self._catalog.room(region, instance_type)

    async def headroom(self, region: Region, instance_type: str) -> Headroom:
        """How many more jobs of this type fit now, and what limits it. Raises RetryLater."""
        return await self._capacity.headroom(region, instance_type)

    def close(self) -> None:
        """End the threads and the connections."""
        self._clients.close()

    async def _account(self) -> Account:
        region = self._settings.regions[0]  # STS and IAM answer the same everywhere
        role = self._settings.role
        who = await self._clients.run(
            "asking whose AWS credentials these are",
            lambda: self._clients.sts(region).get_caller_identity(),
        )
        try:
            found = await self._clients.run(
                f"looking for role {role}",
                lambda: self._clients.iam(region).get_role(RoleName=role),
            )
        except Missing as fault:
            raise NotSetUp(f"{fault}; run `cloud setup`") from fault
        return Account(who["Account"], found["Role"]["RoleId"], self._settings)

    async def _with_health(self, region: Region, listed: Sequence[Instance]) -> Sequence[Instance]:
        if not any(one.state == InstanceState.RUNNING for one in listed):
            return listed
        said = await self._health.get(region, lambda: self._status_checks(region))
        known = ((one, said.get(one.id, _NOTHING)) for one in listed)
        return [replace(one, healthy=healthy, events=events) for one, (healthy, events) in known]

    async def _status_checks(self, region: Region) -> dict[InstanceId, Said]:
        pages = self._clients.ec2(region).get_paginator("describe_instance_status")
        memo = self._checks.setdefault(region, Memo(_check))
        found = await self.calls.ask(
            region,
            "DescribeInstanceStatus",
            f"reading status checks in {region}",
            lambda: memo.over(
                every(pages.paginate(PaginationConfig={"PageSize": 1000}), "InstanceStatuses")
            ),
        )
        return dict(found)


def _check(status: InstanceStatusTypeDef) -> tuple[InstanceId, Said]:
    checks = (one.get("Status", "") for one in (status["SystemStatus"], status["InstanceStatus"]))
    events = tuple(map(_event, filter(_to_come, status.get("Events", []))))
    return InstanceId(status["InstanceId"]), (_healthy(*checks), events)


def _to_come(event: InstanceStatusEventTypeDef) -> bool:
    """EC2 leaves past events listed for a week, with a word before their description."""
    return not event.get("Description", "").startswith(("[Completed]", "[Canceled]"))


def _event(event: InstanceStatusEventTypeDef) -> ScheduledEvent:
    at = event["NotBefore"].timestamp() if "NotBefore" in event else 0.0
    return ScheduledEvent(event.get("Code", ""), at, event.get("Description", ""))


def _healthy(*checks: str) -> bool | None:
    """False when a check is impaired, None while one is undecided."""
    if "impaired" in checks:
        return False
    return True if set(checks) == {"ok"} else None
