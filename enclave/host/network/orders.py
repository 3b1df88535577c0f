"""What the host program orders of the network's process, and what that reports: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from enclave.host.documents import Desired, Egress, Port, cid_of, egress_of, ports_of


@dataclass(frozen=True)
class Orders:
    """What the enclave with this cid needs; the same again changes nothing."""

    cid: int = 0
    ports: tuple[Port, ...] = ()
    egress: tuple[Egress, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` of them is equal to this."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Orders:
        """Check every field; raises DocumentRefused, which is a ValueError."""
        return cls(cid=cid_of(data), ports=ports_of(data), egress=egress_of(data))


NOTHING = Orders()


def orders_for(desired: Desired, cid: int) -> Orders:
    """What desired.json says about the network of the enclave that runs."""
    return Orders(cid, desired.ports, desired.egress)


@dataclass(frozen=True)
class Report:
    """`errors`: lane to what is wrong with it now. `counts`: lane to what was counted since the
    process started; the names are those of `documents.COUNTS`."""

    errors: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    open: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Report:
        """Raises KeyError or TypeError when it is not what `to_json` gives."""
        return cls(dict(data["errors"]), dict(data["counts"]), int(data["open"]))

    @property
    def words(self) -> str | None:
        """All that is wrong, in one text; None: nothing is."""
        texts = [f"{name}: {text}" for name, text in sorted(self.errors.items())]
        return "; ".join(texts) or None
