"""What the host program orders of the network's process, and what that reports: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from enclave.host.documents import (
    PACKETS,
    Desired,
    DocumentRefused,
    Egress,
    Port,
    cid_of,
    egress_of,
    enclave_id_of,
    ports_of,
)
from enclave.host.model import Enclave

V = TypeVar("V")

# The two ends of the link between the host and an enclave that has packets: addresses that exist
# on one host only (RFC 7335), so they meet nothing that a VPC may use.
HOST_ADDRESS, ENCLAVE_ADDRESS = "192.0.0.1", "192.0.0.2"


@dataclass(frozen=True)
class Serving:
    """What the init server tells the enclave: its address, its job, and its params, which are in
    the file `params` ("": they have no bytes) and have this digest."""

    address: str
    job: str
    params: str
    sha256: str


@dataclass(frozen=True)
class Packets:
    """The enclave's raw packets: at most `kbit` a second outwards (0: any); `mail`: port 25 too."""

    kbit: int = 0
    mail: bool = False


@dataclass(frozen=True)
class Watched:
    """A debug job's console: that of this enclave ("": none runs now), kept below `folder`."""

    enclave: str
    folder: str


@dataclass(frozen=True)
class Orders:
    """What the enclave with this cid needs; the same again changes nothing."""

    cid: int = 0
    ports: tuple[Port, ...] = ()
    egress: tuple[Egress, ...] = ()
    serving: Serving | None = None
    packets: Packets | None = None
    console: Watched | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` of them is equal to this."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Orders:
        """Check every field; raises DocumentRefused, which is a ValueError."""
        return cls(
            cid=cid_of(data),
            ports=ports_of(data),
            egress=egress_of(data),
            serving=_built(Serving, data.get("serving"), str, str, str, str),
            packets=_built(Packets, data.get("packets"), int, bool),
            console=_watched(data.get("console")),
        )


NOTHING = Orders()


def _watched(data: Any) -> Watched | None:
    watched = _built(Watched, data, str, str)
    return watched and replace(watched, enclave=enclave_id_of(watched.enclave))


def _built(kind: type[V], data: Any, *types: type) -> V | None:
    if data is None:
        return None
    values = list(data.values()) if isinstance(data, dict) else []
    if [type(value) for value in values] != list(types):
        raise DocumentRefused(f"{kind.__name__}: not of {', '.join(one.__name__ for one in types)}")
    try:
        return kind(**data)
    except TypeError as error:
        raise DocumentRefused(f"{kind.__name__}: {error}") from error


def orders_ahead(desired: Desired, params: Path | None, console: Path) -> Orders:
    """What has to be there before the enclave is started; `params` is where they are kept, and
    `console` where what a debug enclave says is."""
    init, serving = desired.init, None
    if init is not None:
        serving = Serving(ENCLAVE_ADDRESS, init.job, str(params or ""), init.sha256)
    packets = Packets(desired.egress_kbit, desired.mail) if desired.network == PACKETS else None
    cid = desired.enclave_cid if serving or packets else 0
    watched = Watched("", str(console)) if desired.console else None
    return Orders(cid, serving=serving, packets=packets, console=watched)


def orders_for(desired: Desired, enclave: Enclave, ahead: Orders) -> Orders:
    """All that desired.json says about the network of the enclave that runs."""
    return replace(
        ahead,
        cid=enclave.cid,
        ports=desired.ports,
        egress=desired.egress,
        console=ahead.console and replace(ahead.console, enclave=enclave.id),
    )


@dataclass(frozen=True)
class Report:
    """`errors`: lane to what is wrong with it now. `counts`: lane to what was counted since the
    process started; the names are those of `documents.COUNTS`. `ready`: whether all is there that
    an enclave needs at its start. `drops`: packets that did not pass, by the reason."""

    errors: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    open: int = 0
    ready: bool = False
    drops: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Any) -> Report:
        """Raises KeyError or TypeError when it is not what `to_json` gives."""
        return cls(
            errors=dict(data["errors"]),
            counts=dict(data["counts"]),
            open=int(data["open"]),
            ready=bool(data["ready"]),
            drops=dict(data["drops"]),
        )

    @property
    def words(self) -> str | None:
        """All that is wrong, in one text; None: nothing is."""
        texts = [f"{name}: {text}" for name, text in sorted(self.errors.items())]
        return "; ".join(texts) or None
