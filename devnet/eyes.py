"""What can be seen of a devnet from outside: on the chain and in AWS, never in the agent's word.

The demo and the end-to-end tests believe only these eyes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import boto3
from botocore.config import Config as BotoConfig

from cloud.layout import HOSTS, IMAGES, PARAMS
from cloud.model import GONE, Identity, InstanceState
from devnet.people import Market, connect
from devnet.state import Devnet
from faults import RetryLater

if TYPE_CHECKING:
    from types_boto3_ec2 import EC2Client
    from types_boto3_s3 import S3Client

Seen = TypeVar("Seen")

POLL_SECONDS = 0.1


@dataclass(frozen=True)
class SeenInstance:
    """One instance in EC2's listing, terminated ones too."""

    id: str
    state: InstanceState
    identity: Identity
    public_ip: str | None

    @property
    def live(self) -> bool:
        return self.state not in GONE


@dataclass(frozen=True)
class Books:
    """Rule 9 in numbers, all in base units at one block."""

    escrows: int
    payment_held: int
    stakes: int
    pond_held: int

    @property
    def exact(self) -> bool:
        return self.escrows == self.payment_held and self.stakes == self.pond_held


@dataclass(frozen=True)
class Eyes:
    """Reads chain and AWS of one devnet, with credentials of its own."""

    devnet: Devnet

    @cached_property
    def market(self) -> Market:
        return Market(connect(self.devnet.rpc_url), self.devnet)

    @cached_property
    def ec2(self) -> EC2Client:
        client: EC2Client = self._session.client("ec2", config=_PATIENT)
        return client

    @cached_property
    def s3(self) -> S3Client:
        client: S3Client = self._session.client("s3", config=_PATIENT)
        return client

    @cached_property
    def _session(self) -> _Session:
        return _Session(self.devnet.aws_endpoint, self.devnet.regions[0])

    def job(self, job_id: int) -> dict[str, Any]:
        """The stored job by field names."""
        return self.market.job(job_id)

    def instances(self, job_id: int | None = None) -> list[SeenInstance]:
        """Everything launched with identity tags (for one job), in any state."""
        pages = self.ec2.get_paginator("describe_instances").paginate()
        found = [
            SeenInstance(
                id=item["InstanceId"],
                state=InstanceState(item["State"]["Name"]),
                identity=identity,
                public_ip=item.get("PublicIpAddress"),
            )
            for page in pages
            for reservation in page["Reservations"]
            for item in reservation["Instances"]
            if (
                identity := Identity.from_tags({t["Key"]: t["Value"] for t in item.get("Tags", [])})
            )
        ]
        return [each for each in found if job_id in (None, each.identity.job)]

    def live_instances(self, job_id: int | None = None) -> list[SeenInstance]:
        return [each for each in self.instances(job_id) if each.live]

    def left_in_aws(self) -> list[str]:
        """What still costs money or tells of a job: instances, addresses, staged objects."""
        instances = [each.id for each in self.live_instances()]
        addresses = [a["PublicIp"] for a in self.ec2.describe_addresses()["Addresses"]]
        volumes = [v["VolumeId"] for v in self.ec2.describe_volumes()["Volumes"]]
        return [*instances, *addresses, *volumes, *self._objects()]

    def _objects(self) -> Iterator[str]:
        for bucket in self.s3.list_buckets()["Buckets"]:
            name = bucket["Name"]
            for item in self.s3.list_objects_v2(Bucket=name).get("Contents", []):
                if item["Key"].startswith((IMAGES, PARAMS, HOSTS)):
                    yield f"s3://{name}/{item['Key']}"

    def books(self) -> Books:
        """Rule 9: what the contract owes and what it holds."""
        registry = self.market.registry
        functions = registry.functions
        at = self.market.w3.eth.block_number
        jobs = range(1, functions.jobCount().call(block_identifier=at) + 1)
        people = self.devnet.people.values()
        return Books(
            escrows=sum(functions.job(n).call(block_identifier=at).escrow for n in jobs),
            payment_held=self._held(self.market.payment_token, at),
            stakes=sum(functions.stakeOf(p.address).call(block_identifier=at) for p in people),
            pond_held=self._held(self.market.pond, at),
        )

    def _held(self, token: Any, at: int) -> int:
        held: int = token.functions.balanceOf(self.devnet.registry).call(block_identifier=at)
        return held

    def until(self, what: str, look: Callable[[], Seen | None], seconds: float) -> Seen:
        """What `look` sees once it is true. Raises RetryLater when that takes longer."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            seen = look()
            if seen:
                return seen
            time.sleep(POLL_SECONDS)
        raise RetryLater(f"not seen within {seconds:.0f} s: {what}")


# The honest EC2 throttles like the real one; eyes wait rather than fail.
_PATIENT = BotoConfig(retries={"mode": "standard", "total_max_attempts": 8})


@dataclass(frozen=True)
class _Session:
    endpoint: str
    region: str

    def client(self, service: Any, config: BotoConfig) -> Any:
        path_style = BotoConfig(s3={"addressing_style": "path"})
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id="eyes",
            aws_secret_access_key="eyes",
            config=config.merge(path_style),
        )
