"""desired.json and status.json: the two documents that agent and host exchange.

The agent alone writes desired, the host alone writes status. Both readers refuse what they do
not understand, so a host that is older than its agent says so instead of guessing.
Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypeVar

from enclave.host.drops import drops_of

T = TypeVar("T")

# desired.json is written in the lowest of these that can say it, so that an older host program
# understands whatever it can do; `Status.knows` is the highest that a host reads.
SCHEMAS = (1, 2)
SCHEMA = 1
MAX_DOCUMENT_BYTES = 64 * 1024
MAX_INIT_BYTES = 1 << 20

FORWARDS, PACKETS = "forwards", "packets"
# 0 is the hypervisor, 1 the loopback, 2 the host (vsock(7)), 3 the parent (Nitro Enclaves User
# Guide).
_HIGHEST_RESERVED_CID = 3

PHASES = ("booted", "fetching", "allocating", "starting", "running", "stopped", "failed")

# What is counted of each forwarded port since its process started. A connection is refused when
# there is no place for it, failed when the other side is not there; bytes go into and out of the
# enclave, whoever connected.
COUNTS = ("accepted", "refused", "failed", "bytes_in", "bytes_out")

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_SHA256_OF_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_RUN_ID = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
_ENCLAVE_ID = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]{0,127})?\Z")
_JOB = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?\Z")


class DocumentRefused(ValueError):
    """A document that is not of this schema; the text names the field."""


@dataclass(frozen=True)
class Port:
    """TCP `listen` on the instance is forwarded to vsock `enclave` in the enclave."""

    listen: int
    enclave: int


@dataclass(frozen=True)
class Egress:
    """What connects to vsock `enclave` of the parent is led to `host`:`port`, and nowhere else."""

    enclave: int
    host: str
    port: int


@dataclass(frozen=True)
class Init:
    """What an enclave asks its host for at its start: which job it is, and the init params, which
    are `params/<sha256>` in the bucket (of no bytes: nowhere)."""

    job: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Desired:
    """What one host should run. `run_id` changes when the enclave must be started anew.

    Of schema 2, and left out where they say nothing: `network` "packets" gives the enclave raw
    IPv4 packets over vsock instead of forwarded ports, at most `egress_kbit` a second outwards
    (0: any), port 25 closed unless `mail`. `enclave_cid` 0 lets nitro-cli choose. `console` serves
    a debug enclave's console on TCP 516.
    """

    run_id: str
    image_sha256: str
    image_bytes: int
    cpu_count: int
    memory_mib: int
    debug: bool = False
    ports: tuple[Port, ...] = ()
    egress: tuple[Egress, ...] = ()
    network: str = FORWARDS
    enclave_cid: int = 0
    init: Init | None = None
    console: bool = False
    egress_kbit: int = 0
    mail: bool = False

    @property
    def schema(self) -> int:
        """The lowest that can say this."""
        return 2 if any(getattr(self, name) != plain for name, plain in _OF_SCHEMA_2.items()) else 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` of them is equal to this."""
        fields = {**asdict(self), "schema": self.schema}
        return fields if self.schema > 1 else {k: fields[k] for k in fields.keys() - _OF_SCHEMA_2}

    @classmethod
    def from_json(cls, data: object) -> Desired:
        """Check every field; raises DocumentRefused."""
        fields = _fields(data, SCHEMAS)
        if fields["schema"] == 1:
            return cls._of_schema_1(fields)
        desired = replace(
            cls._of_schema_1(fields),
            network=_one_of(fields, "network", (FORWARDS, PACKETS)),
            enclave_cid=_number(fields, "enclave_cid", 0, (1 << 32) - 2),
            init=_init(fields.get("init")),
            console=_flag(fields, "console"),
            egress_kbit=_number(fields, "egress_kbit", 0, 1 << 40),
            mail=_flag(fields, "mail"),
        )
        _check_together(desired)
        return desired

    @classmethod
    def _of_schema_1(cls, fields: Mapping[str, Any]) -> Desired:
        return cls(
            run_id=_text(fields, "run_id", _RUN_ID),
            image_sha256=_text(fields, "image_sha256", _SHA256),
            image_bytes=_number(fields, "image_bytes", 1, 1 << 40),
            cpu_count=_number(fields, "cpu_count", 1, 1024),
            memory_mib=_number(fields, "memory_mib", 64, 1 << 26),
            debug=_flag(fields, "debug"),
            ports=ports_of(fields),
            egress=egress_of(fields),
        )


_OF_SCHEMA_2 = {
    "network": FORWARDS,
    "enclave_cid": 0,
    "init": None,
    "console": False,
    "egress_kbit": 0,
    "mail": False,
}


@dataclass(frozen=True)
class Status:
    """What one host does. Times are unix seconds of the host's clock.

    `phases` maps each phase reached in this run to when it was reached. `pcrs` are as nitro-cli
    reports them ("PCR0": hex). `traffic` maps each forwarded port ("in-443", "out-9000") to its
    COUNTS. `drops`: packets that did not pass, by one of `drops.DROPS`. `knows` is the highest
    schema of desired.json that the host reads. `heartbeat` is when any of it last changed: the same
    document written again is the sign of life.
    """

    phase: str
    run_id: str | None
    heartbeat: float
    program: str
    instance_id: str
    phases: Mapping[str, float] = field(default_factory=dict)
    image_sha256: str | None = None
    enclave_id: str | None = None
    enclave_cid: int | None = None
    pcrs: Mapping[str, str] = field(default_factory=dict)
    restarts: int = 0
    last_error: str | None = None
    disk_free_bytes: int = 0
    traffic: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    drops: Mapping[str, int] = field(default_factory=dict)
    knows: int = SCHEMAS[-1]
    schema: int = SCHEMA

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` of them is equal to this."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: object) -> Status:
        """Check every field; raises DocumentRefused. The agent reads it as hostile input."""
        fields = _fields(data, (SCHEMA,))
        phase = fields.get("phase")
        if phase not in PHASES:
            raise DocumentRefused("phase: not one of " + ", ".join(PHASES))
        return cls(
            phase=str(phase),
            run_id=_optional_text(fields, "run_id", 64),
            heartbeat=_time(fields.get("heartbeat"), "heartbeat"),
            program=_optional_text(fields, "program", 64) or "",
            instance_id=_optional_text(fields, "instance_id", 64) or "",
            phases=_times(fields.get("phases", {})),
            image_sha256=_optional_text(fields, "image_sha256", 64),
            enclave_id=_optional_text(fields, "enclave_id", 128),
            enclave_cid=_optional_number(fields, "enclave_cid"),
            pcrs=_pcrs(fields.get("pcrs", {})),
            restarts=_number(fields, "restarts", 0, 1 << 31),
            last_error=_optional_text(fields, "last_error", 4096),
            disk_free_bytes=_number(fields, "disk_free_bytes", 0, 1 << 60),
            traffic=_traffic(fields.get("traffic", {})),
            drops=drops_of(fields.get("drops")),
            knows=_number({"knows": 1, **fields}, "knows", 1, 1 << 16),
        )


def _fields(data: object, schemas: tuple[int, ...]) -> Mapping[str, Any]:
    fields = _object(data)
    if fields.get("schema") not in schemas:
        known = " and ".join(map(str, schemas))
        raise DocumentRefused(f"schema: {fields.get('schema')!r:.40}, this program knows {known}")
    return fields


def _object(data: object) -> Mapping[str, Any]:
    if not isinstance(data, dict):
        raise DocumentRefused("the document: not a JSON object")
    return data


def _text(fields: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not pattern.match(value):
        raise DocumentRefused(f"{name}: {value!r:.80} is not of the form {pattern.pattern}")
    return value


def _one_of(fields: Mapping[str, Any], name: str, words: tuple[str, ...]) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or value not in words:
        raise DocumentRefused(f"{name}: {value!r:.40} is none of {', '.join(words)}")
    return value


def _init(value: object) -> Init | None:
    if value is None:
        return None
    fields = _object(value)
    init = Init(
        job=_text(fields, "job", _JOB),
        sha256=_text(fields, "sha256", _SHA256),
        size_bytes=_number(fields, "size_bytes", 0, MAX_INIT_BYTES),
    )
    if (init.size_bytes == 0) != (init.sha256 == _SHA256_OF_NOTHING):
        raise DocumentRefused("init: no bytes and another digest, or the digest of no bytes")
    return init


def _check_together(desired: Desired) -> None:
    """What an enclave may have over vsock is kept for it by its context id."""
    if 0 < desired.enclave_cid <= _HIGHEST_RESERVED_CID:
        raise DocumentRefused(f"enclave_cid: {desired.enclave_cid} is reserved")
    if not desired.enclave_cid and (desired.init or desired.network == PACKETS):
        raise DocumentRefused("enclave_cid: needed for init and for packets")
    if desired.network == PACKETS and desired.ports:
        raise DocumentRefused("ports: all are the enclave's where the network is packets")
    if desired.console and not desired.debug:
        raise DocumentRefused("console: only of an enclave in debug mode")


def _optional_text(fields: Mapping[str, Any], name: str, longest: int) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > longest:
        raise DocumentRefused(f"{name}: not a text of at most {longest} characters")
    return _encodable(value)


def _encodable(text: str) -> str:
    """`text`, as long as before, without half surrogates: JSON can hold them, UTF-8 can't.

    They are not refused: an honest host's error that names a file may hold some, too.
    """
    return text.encode("utf-8", "replace").decode()


def _number(fields: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise DocumentRefused(f"{name}: {value!r:.40} is not a whole number {least}..{most}")
    return value


def _optional_number(fields: Mapping[str, Any], name: str) -> int | None:
    return None if fields.get(name) is None else _number(fields, name, 0, 1 << 32)


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise DocumentRefused(f"{name}: {value!r:.40} is neither true nor false")
    return value


def _list(fields: Mapping[str, Any], name: str, most: int) -> list[Mapping[str, Any]]:
    value = fields.get(name, [])
    if not isinstance(value, (list, tuple)) or len(value) > most:
        raise DocumentRefused(f"{name}: not a list of at most {most}")
    if not all(isinstance(item, dict) for item in value):
        raise DocumentRefused(f"{name}: holds something that is not an object")
    return list(value)


def ports_of(fields: object) -> tuple[Port, ...]:
    """The field `ports` of an object. Raises DocumentRefused."""
    return _distinct([_port(item) for item in _list(_object(fields), "ports", 64)], "listen")


def egress_of(fields: object) -> tuple[Egress, ...]:
    """The field `egress` of an object. Raises DocumentRefused."""
    return _distinct([_egress(item) for item in _list(_object(fields), "egress", 64)], "enclave")


def cid_of(fields: object) -> int:
    """The field `cid` of an object: a context id (vsock(7)). Raises DocumentRefused."""
    return _number(_object(fields), "cid", 0, (1 << 32) - 1)


def enclave_id_of(value: str) -> str:
    """An enclave's id, or "". Raises DocumentRefused."""
    return _text({"enclave": value}, "enclave", _ENCLAVE_ID)


def _port(item: Mapping[str, Any]) -> Port:
    return Port(
        listen=_number(item, "listen", 1, 65535), enclave=_number(item, "enclave", 1, (1 << 32) - 2)
    )


def _egress(item: Mapping[str, Any]) -> Egress:
    return Egress(
        enclave=_number(item, "enclave", 1, (1 << 32) - 2),
        host=_text(item, "host", _HOST),
        port=_number(item, "port", 1, 65535),
    )


def _distinct(items: list[T], name: str) -> tuple[T, ...]:
    """Two forwarders can't listen on one port."""
    if len({getattr(item, name) for item in items}) != len(items):
        raise DocumentRefused(f"{name}: the same port twice")
    return tuple(items)


def _time(value: object, name: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1e11:
        raise DocumentRefused(f"{name}: {value!r:.40} is not unix seconds")
    return float(value)


def _times(value: object) -> dict[str, float]:
    if not isinstance(value, dict) or not set(value) <= set(PHASES):
        raise DocumentRefused("phases: not a map from phase to time")
    return {name: _time(when, "phases") for name, when in value.items()}


def _pcrs(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > 32:
        raise DocumentRefused("pcrs: not a map of at most 32 registers")
    for name, digest in value.items():
        if not re.match(r"PCR[0-9]{1,2}\Z", str(name)):
            raise DocumentRefused(f"pcrs: {name!r:.40} is no register")
        if not isinstance(digest, str) or not re.match(r"[0-9a-f]{96}\Z", digest):
            raise DocumentRefused(f"pcrs: {name} is not 96 hex digits")
    return dict(value)


def _traffic(value: object) -> dict[str, dict[str, int]]:
    if not isinstance(value, dict) or len(value) > 128:
        raise DocumentRefused("traffic: not a map of at most 128 ports")
    for name, counts in value.items():
        if not re.match(r"((in|out)-[0-9]{1,10}|packets)\Z", str(name)):
            raise DocumentRefused(f"traffic: {name!r:.40} is no forwarded port")
        if not isinstance(counts, dict) or not set(COUNTS) <= set(counts):
            raise DocumentRefused(f"traffic: {name} does not have " + ", ".join(COUNTS))
        for count in COUNTS:
            _number(counts, count, 0, 1 << 63)
    return {name: {one: counts[one] for one in COUNTS} for name, counts in value.items()}
