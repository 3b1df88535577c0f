"""What an EC2 that is only books asks of the machines behind it."""

from __future__ import annotations

from typing import Any, Protocol

from devnet.aws.ec2 import Record


class Machines(Protocol):
    """What happens to an instance beyond EC2's books; `instances.Fleet` runs real programs."""

    def started(self, record: Record) -> None: ...
    def ended(self, record: Record) -> None: ...
    def reach(self, instance: str, addresses: list[str]) -> None: ...
    def command(self, instance: str, name: str, arguments: dict[str, Any]) -> dict[str, Any]: ...
    def close(self) -> None: ...
