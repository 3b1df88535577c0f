"""What an operator chooses about AWS, and the names that follow from it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cloud.model import TAG_PREFIX, Identity, Region


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

    def owns(self, identity: Identity) -> bool:
        """Whether an instance of this identity is this owner's."""
        return self.tags().items() <= identity.tags().items()

    @property
    def short(self) -> str:
        """Ten hex digits that tell owners apart in names of limited length."""
        words = f"{self.chain_id}:{self.contract.lower()}:{self.provider.lower()}"
        return hashlib.sha256(words.encode()).hexdigest()[:10]


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything configured about AWS.

    `service_ports` are the only ports open to the world. `ami` is an id (`ami-…`), a public SSM
    parameter (`/aws/…`) or a name filter among this account's and Amazon's images (the newest
    wins); None is Amazon Linux 2023. `subnets` narrows a region to these ids; without them all
    default subnets of the default VPC serve. `state_dir` keeps what should survive a restart.
    """

    owner: Owner
    regions: tuple[Region, ...]
    state_dir: Path
    service_ports: tuple[int, ...] = (1300,)
    ami: str | None = None
    subnets: Mapping[Region, tuple[str, ...]] = field(default_factory=dict)
    elastic_ips: bool = False
    root_volume_gib: int = 16

    @property
    def role(self) -> str:
        """The instances' role, and the name of its instance profile."""
        return f"oyster-host-{self.owner.short}"

    @property
    def security_group(self) -> str:
        """The group that opens the service ports, by name, in each region."""
        return f"oyster-{self.owner.short}"

    def bucket(self, account: str, region: Region) -> str:
        """The region's bucket; at most 51 of the 63 characters S3 allows."""
        return f"oyster-{self.owner.short}-{account}-{region}"
