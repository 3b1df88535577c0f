"""Rate cards: what a provider serves where and for how much, as Marlin's tools ask for it.

`/spec`, `/bandwidth` and `/ip` have the shapes of Marlin's control plane, key by key: numbers of
256 bits are hex texts, rates are 10^-12 base units a second (of traffic: a GB), and `cpu` and
`memory` are what an *enclave* gets, in CPUs and MiB, since the tools write both into metadata.
Operators keep the same in two files; they are read here, as is. Rates are decimal texts there, or
whatever else the control plane reads as a number of 256 bits: hex texts and whole numbers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.market.model import InstanceType, Price
from faults import UsageFault
from foreign_json import deeper_than

ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
MAX_CARDS = 100_000  # 26 regions of 278 types are 7,228
MAX_FILE_BYTES = 64 << 20
MAX_DEPTH = 16
# Nobody asks for less than a gibibyte and less than 64 MiB a CPU; a file that counts GiB has it so
# (no type has 64 GiB a CPU), and the tools would have each job ask for an enclave of a few MiB.
LEAST_MIB, LEAST_MIB_A_CPU = 1024, 64
_WORD = 1 << 256
_NUMBER = re.compile(r"[0-9]{1,78}|0x[0-9a-fA-F]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class RateCard:
    """One type in one region. 0 CPUs or MiB: not known yet."""

    instance_type: InstanceType
    min_rate: Price
    cpu: int
    memory_mib: int
    arch: str  # amd64 or arm64


@dataclass(frozen=True, slots=True)
class TrafficRate:
    """What a GB costs in a region, in 10^-12 base units; `region` is the name for people."""

    region: str
    region_code: str
    rate: int = 0


def spec(regions: Iterable[str], cards: Iterable[RateCard]) -> dict[str, Any]:
    """The answer of `/spec`: the regions, and the cards of each in the order they came in."""
    by_region: dict[str, list[dict[str, Any]]] = {region: [] for region in sorted(set(regions))}
    for card in cards:
        by_region.setdefault(card.instance_type.region, []).append(_card(card))
    return {
        "allowed_regions": list(by_region),
        "min_rates": [
            {"region": region, "rate_cards": shown} for region, shown in by_region.items()
        ],
    }


def _card(card: RateCard) -> dict[str, Any]:
    return {
        "instance": card.instance_type.ec2_type,
        "min_rate": hex(card.min_rate.raw),
        "cpu": card.cpu,
        "memory": card.memory_mib,
        "arch": card.arch,
    }


def bandwidth(regions: Iterable[str], rates: Iterable[TrafficRate] = ()) -> dict[str, Any]:
    """The answer of `/bandwidth`: an entry for each region, without which the tools stop."""
    known = {rate.region_code: rate for rate in rates}
    found = (known.get(code, TrafficRate(code, code)) for code in sorted(set(regions)))
    return {
        "rates": [
            {"region": one.region, "region_code": one.region_code, "rate": hex(one.rate)}
            for one in found
        ]
    }


# The operators' files


def read_rates(text: str) -> tuple[RateCard, ...]:
    """rates.json. Raises UsageFault that names the entry: no such file, or a type named twice."""
    found: dict[InstanceType, RateCard] = {}
    for at, entry in enumerate(_entries(text, "rates")):
        region = _text(entry, "region", f"[{at}]")
        for number, one in enumerate(_list(entry, "rate_cards", f"[{at}]")):
            card = _read_card(region, one, f"[{at}].rate_cards[{number}]")
            if card.instance_type in found:
                raise UsageFault(f"[{at}].rate_cards[{number}]: {card.instance_type} a second time")
            found[card.instance_type] = card
            if len(found) > MAX_CARDS:
                raise UsageFault(f"more than {MAX_CARDS} rate cards")
    return tuple(found.values())


def read_bandwidth(text: str) -> tuple[TrafficRate, ...]:
    """bandwidth.json. Raises UsageFault that names the entry."""
    found: dict[str, TrafficRate] = {}
    for at, entry in enumerate(_entries(text, "bandwidth rates")):
        where = f"[{at}]"
        code = _text(entry, "region_code", where)
        if code in found:
            raise UsageFault(f"{where}: {code} a second time")
        rate = _number(entry, "rate", where)
        found[code] = TrafficRate(_text(entry, "region", where), code, rate)
    return tuple(found.values())


def _read_card(region: str, entry: object, where: str) -> RateCard:
    if not isinstance(entry, Mapping):
        raise UsageFault(f"{where}: not a JSON object")
    try:
        kind = InstanceType(region, _text(entry, "instance", where))
    except UsageFault as fault:
        raise UsageFault(f"{where}: {fault}") from None
    rate = _number(entry, "min_rate", where)
    if not 1 <= rate <= Price.MAX_RAW:
        raise UsageFault(f"{where}: min_rate {rate} is not from 1 to 2^128 - 1")
    arch = _text(entry, "arch", where)
    if arch not in ARCHITECTURES.values():
        raise UsageFault(f"{where}: arch {arch[:20]!r} is not amd64 or arm64")
    cpu, memory = _count(entry, "cpu", where), _count(entry, "memory", where)
    if memory < min(LEAST_MIB, LEAST_MIB_A_CPU * cpu):
        text = f"memory {memory} with cpu {cpu} is less than an enclave can use"
        raise UsageFault(f"{where}: {text}: it counts in MiB, 4 GiB are 4096")
    return RateCard(kind, Price(rate), cpu, memory, arch)


def _entries(text: str, what: str) -> Sequence[Mapping[str, Any]]:
    if len(text) > MAX_FILE_BYTES:
        raise UsageFault(f"the file of {what} has more than {MAX_FILE_BYTES >> 20} MiB")
    if deeper_than(text, MAX_DEPTH):
        raise UsageFault(f"the file of {what} has more than {MAX_DEPTH} brackets within each other")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageFault(f"the file of {what} is no JSON: {error}") from None
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise UsageFault(f"the file of {what} is no list of JSON objects")
    return found


def _list(entry: Mapping[str, Any], name: str, where: str) -> Sequence[object]:
    value = entry.get(name)
    if not isinstance(value, list):
        raise UsageFault(f"{where}: {name} is no list")
    return value


def _text(entry: Mapping[str, Any], name: str, where: str) -> str:
    value = entry.get(name)
    if not isinstance(value, str) or not value or len(value) > 100:
        raise UsageFault(f"{where}: {name} is no text of 1 to 100 characters")
    return value


def _number(entry: Mapping[str, Any], name: str, where: str) -> int:
    value = entry.get(name)
    if type(value) is int:
        found = value
    elif isinstance(value, str) and _NUMBER.fullmatch(value):
        found = int(value, 16 if value.startswith("0x") else 10)
    else:
        raise UsageFault(f"{where}: {name} is no whole number, as a text or without quotes")
    if not 0 <= found < _WORD:
        raise UsageFault(f"{where}: {name} is no number of 256 bits")
    return found


def _count(entry: Mapping[str, Any], name: str, where: str) -> int:
    value = entry.get(name)
    if type(value) is not int or not 1 <= value < 1 << 31:
        raise UsageFault(f"{where}: {name} is no whole number from 1 on")
    return value
