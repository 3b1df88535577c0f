"""What a market says, as plain values. No I/O, no clock.

The names are the protocol's. Times are unix seconds of the chain, amounts are base units of
their token. Everything here is a value: equal content compares equal, nothing changes in place.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field
from typing import ClassVar, NewType

from eth_utils.address import is_checksum_address, is_hex_address, to_checksum_address

from agent.market.price import Price
from agent.market.workload import Workload
from faults import UsageFault

__all__ = [
    "Address",
    "BlockNumber",
    "BlockRef",
    "Ending",
    "InstanceType",
    "Job",
    "JobId",
    "JobStatus",
    "Notice",
    "Offer",
    "Price",
    "Settlement",
    "StopReason",
    "Wei",
    "address",
]

JobId = NewType("JobId", int)
BlockNumber = NewType("BlockNumber", int)
Wei = NewType("Wei", int)  # base units of a token, or of the chain's coin for gas
Address = NewType("Address", str)  # with its EIP-55 checksum; build with address()

ZERO_ADDRESS = Address("0x0000000000000000000000000000000000000000")  # nobody's


def address(text: str) -> Address:
    """`text` as a checksummed address. Mixed case must carry a right checksum (EIP-55).

    Raises UsageFault: not 20 bytes of hex, or a checksum that does not fit (a typing error).
    """
    if not is_hex_address(text):
        raise UsageFault(f"{text!r} is not an address: 0x and 40 hex digits")
    digits = text.removeprefix("0x").removeprefix("0X")
    mixed = digits not in (digits.lower(), digits.upper())
    if mixed and not is_checksum_address(f"0x{digits}"):
        raise UsageFault(f"address {text} has a wrong checksum: a digit or a capital is mistyped")
    return Address(to_checksum_address(text.lower()))


@dataclass(frozen=True, slots=True)
class BlockRef:
    """One block of one fork. The hash says which: two forks share numbers, never hashes."""

    number: BlockNumber
    hash: str  # 0x and 64 hex digits, lower case
    timestamp: int

    def __str__(self) -> str:
        return f"{self.number} ({self.hash[:10]})"


class JobStatus(enum.IntEnum):
    """Stored state; a job that is over but not yet settled still shows an active one."""

    BOOTSTRAPPING = 1
    RUNNING = 2
    EXITING = 3
    STOPPED = 4


class StopReason(enum.IntEnum):
    NONE = 0
    USER_REQUEST = 1
    ESCROW_EXHAUSTED = 2
    PROVIDER_EXIT = 3
    NO_PROVIDER = 4
    RATE_LOWERED = 5  # to 0, or below what the provider serves for; of markets where users may


@dataclass(frozen=True, slots=True)
class Offer:
    """One listing; `offers` shows it even while its provider has too little unlocked stake."""

    provider: Address
    price: Price


@dataclass(frozen=True, slots=True)
class Notice:
    """A rate that was announced; from the second `at` on its user may have it hold."""

    price: Price
    at: int


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the contract stores it. A time of 0 means: has not happened.

    `notice` and `workload` are of markets that have them, and so is `agreed`: the price at which
    this provider took the job. `unreadable` says why a job's own description can't be served.
    """

    id: JobId
    user: Address
    provider: Address
    instance_type: str  # what the user wrote; InstanceType.parse() says whether it means anything
    max_price: Price
    price: Price
    enclave_url: str = field(repr=False)  # its query may be a secret
    generation: int
    status: JobStatus
    stop_reason: StopReason
    assigned_at: int
    started_at: int
    exit_requested_at: int
    stopped_at: int
    escrow: Wei
    settled_until: int
    endpoint: str
    notice: Notice | None = None
    agreed: Price | None = field(default=None, compare=False)  # this provider's own memory
    workload: Workload | None = None
    unreadable: str = ""

    @property
    def is_stopped(self) -> bool:
        return self.status is JobStatus.STOPPED

    @property
    def is_started(self) -> bool:
        """Reported started on the present assignment; True of Exiting jobs that run, too."""
        return self.started_at != 0

    @property
    def is_exiting(self) -> bool:
        return self.status is JobStatus.EXITING


@dataclass(frozen=True, slots=True)
class Settlement:
    """One payment to a job's provider, as its event tells; a transaction pays a job once."""

    job: JobId
    amount: Wei
    transaction: str


@dataclass(frozen=True, slots=True)
class Ending:
    """When and why a job that nobody touches any more is over."""

    at: int
    reason: StopReason


_REGION = re.compile(r"[a-z]{2}(-[a-z]+){1,3}-[0-9]{1,2}")
_EC2_TYPE = re.compile(
    r"[a-z][a-z0-9-]*\.(nano|micro|small|medium|([0-9]{0,3}x)?large|metal[a-z0-9-]*)"
)


@dataclass(frozen=True, slots=True, order=True)
class InstanceType:
    """The agent's reading of an instance type: `<region>/<ec2 type>`, `us-east-1/c6a.xlarge`."""

    region: str
    ec2_type: str
    text: str = field(init=False, compare=False)

    MAX_BYTES: ClassVar[int] = 64  # the contract reverts above

    def __post_init__(self) -> None:
        if not _REGION.fullmatch(self.region):
            raise UsageFault(f"{self.region!r} is not an AWS region such as us-east-1")
        if not _EC2_TYPE.fullmatch(self.ec2_type):
            raise UsageFault(f"{self.ec2_type!r} is not an EC2 instance type such as c6a.xlarge")
        object.__setattr__(self, "text", f"{self.region}/{self.ec2_type}")

    @classmethod
    def parse(cls, text: str) -> InstanceType:
        """Raises UsageFault unless `text` is `<region>/<ec2 type>` of at most 64 bytes."""
        region, slash, ec2_type = text.partition("/")
        if not slash or len(text.encode()) > InstanceType.MAX_BYTES:
            raise UsageFault(f"{text[:80]!r} is not an instance type: <region>/<ec2 type>")
        return cls(region, ec2_type)

    def __str__(self) -> str:
        return self.text
