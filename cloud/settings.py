"""What an operator chooses about AWS, and the names that follow from it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cloud.layout import host_prefix
from cloud.model import TAG_PREFIX, Region


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose resources these are: one provider on one contract of one chain."""

    chain_id: int
    contract: str
    provider: str

    def tags(self) -> dict[str, str]:
        """The tags that all resources of this owner carry."""
        return {
            f"{TAG_PREFIX}chain": str(self.chain_id),
            f"{TAG_PREFIX}contract": self.contract.lower(),
            f"{TAG_PREFIX}provider": self.provider.lower(),
        }


PortRange = tuple[int, int]  # TCP ports, from first to last


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything configured about AWS.

    `prefix` begins the name of all that `cloud setup` makes; agents with one prefix share it.
    `service_ports` are the only ports open to the world. `ami` is "al2023", an id (`ami-…`), an SSM
    parameter (`/aws/…`) or a name filter among this account's and Amazon's images (the newest
    wins). `subnets` are the ones to use, of all regions; without any in a region its default
    subnets serve. `state_dir` keeps what should survive a restart.
    """

    owner: Owner
    regions: tuple[Region, ...]
    state_dir: Path
    prefix: str = "oyster"
    service_ports: tuple[PortRange, ...] = ((1300, 1300),)
    ami: str = "al2023"
    subnets: tuple[str, ...] = ()
    elastic_ips: bool = False
    root_volume_gib: int = 16

    @property
    def role(self) -> str:
        """The instances' role, and the name of its instance profile."""
        return f"{self.prefix}-host"

    @property
    def security_group(self) -> str:
        """The group that opens the service ports, by name, in each region."""
        return f"{self.prefix}-host"

    def bucket(self, account: str, region: Region) -> str:
        """The region's bucket; a prefix of 21 characters leaves room in the 63 S3 allows."""
        return f"{self.prefix}-{account}-{region}"


@dataclass(frozen=True, slots=True)
class Home:
    """Where a host finds its mailbox; `host_prefix` + instance id + "/" is its folder."""

    region: Region
    bucket: str
    host_prefix: str


@dataclass(frozen=True, slots=True)
class Account:
    """What only AWS knows: the account's number, and the id of the hosts' role."""

    id: str
    role_id: str
    settings: Settings

    def bucket(self, region: Region) -> str:
        """The region's bucket."""
        return self.settings.bucket(self.id, region)

    def home(self, region: Region) -> Home:
        """The mailbox of the region's hosts."""
        return Home(region, self.bucket(region), host_prefix(self.role_id))
