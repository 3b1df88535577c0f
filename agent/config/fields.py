"""The kinds of settings: how each is read, shown and bounded.

A section's field is made by one of the functions below, `duration("15m", "why")`; the kind and the
reason travel in the field's metadata, where the loader, the template and the reference page find
them. An attribute carries its unit (`poll_seconds`); the key in the file does not (`poll`), since
there the value says it.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

from agent.config.presets import FINALITY_AUTO
from agent.config.secrets import check_url
from agent.config.units import (
    OfCost,
    Rate,
    read_bytes,
    read_percent,
    read_rate,
    read_rate_or_rule,
    read_seconds,
    read_wei,
    show_bytes,
    show_percent,
    show_seconds,
    show_wei,
)
from agent.secret import SecretUrl

T = TypeVar("T")

KEY = "oyster"
_SUFFIXES = ("_seconds", "_bytes", "_wei")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}\Z")
_HOST = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z._-]{0,253}[0-9A-Za-z_.])?\Z")
_PORT = re.compile(r"[0-9]{1,5}\Z")


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to write a value. `read` takes what TOML or the environment gave."""

    name: str
    read: Callable[[object], Any]
    show: Callable[[Any], str]
    many: bool = False


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field's metadata holds: everything a person needs to know of it."""

    kind: Kind
    reason: str
    required: bool = False
    bounds: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    example: str = ""

    def read(self, raw: object) -> Any:
        """The value in `raw`; raises ValueError that says what was expected."""
        value = self.kind.read(raw)
        if self.choices and value not in self.choices:
            raise ValueError(f"{value!r} is none of {', '.join(self.choices)}")
        if self.bounds and not self.bounds[0] <= value <= self.bounds[1]:
            low, high = (self.kind.show(bound).strip('"') for bound in self.bounds)
            shown = self.kind.show(value).strip('"')
            raise ValueError(f"{shown} is not between {low} and {high}")
        return value


def key_of(attribute: str) -> str:
    """The key in the file for an attribute: without the unit."""
    for suffix in _SUFFIXES:
        attribute = attribute.removesuffix(suffix)
    return attribute


def setting_of(field: dataclasses.Field[Any]) -> Setting:
    """The Setting in a field's metadata."""
    found = field.metadata[KEY]
    assert isinstance(found, Setting)
    return found


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"{raw!r} is not a text in quotes")
    return raw


def _integer(raw: object) -> int:
    if isinstance(raw, str) and re.fullmatch(r"\d+", raw):
        return int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise ValueError(f"{raw!r} is not a whole number")
    return raw


def _number(raw: object) -> float:
    if isinstance(raw, str) and re.fullmatch(r"\d+(\.\d+)?", raw):
        return float(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float):
        raise ValueError(f"{raw!r} is not a number")
    return float(raw)


def _flag(raw: object) -> bool:
    if raw in ("true", "false"):
        return raw == "true"
    if not isinstance(raw, bool):
        raise ValueError(f"{raw!r} is not true or false")
    return raw


def _address(raw: object) -> str:
    text = _text(raw)
    if text and not _ADDRESS.match(text):
        raise ValueError(f"{text!r} is not an address of 0x and 40 hex digits")
    if text and not _is_as_typed(text[2:]):
        raise ValueError(f"{text!r} has a wrong checksum: a digit or a capital is mistyped")
    return text


def _is_as_typed(digits: str) -> bool:
    """Small and capital letters among each other are a checksum (EIP-55)."""
    if digits in (digits.lower(), digits.upper()):
        return True
    from eth_utils.address import is_checksum_address  # a quarter of a second, for those alone

    return bool(is_checksum_address(f"0x{digits}"))


def _listen(raw: object) -> str:
    text = _text(raw)
    host, _, port = text.rpartition(":")
    if text and not (_is_host(host) and _PORT.match(port) and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} is not an address such as '127.0.0.1:8470' or '[::1]:8470'")
    return text


def _is_host(text: str) -> bool:
    """A name, an IPv4 address, or an IPv6 one in brackets: what a URL can have, and nothing more of
    a URL."""
    if not text.startswith("["):
        return _HOST.match(text) is not None
    try:
        return text.endswith("]") and bool(ipaddress.IPv6Address(text[1:-1]))
    except ValueError:
        return False


def _finality(raw: object) -> str:
    text = str(_integer(raw)) if isinstance(raw, int) else _text(raw)
    if text not in (FINALITY_AUTO, "finalized", "safe") and not text.isdigit():
        raise ValueError(f"{text!r} is neither 'auto', 'finalized', 'safe' nor a number of blocks")
    return text


def _path(raw: object) -> str:
    """Raises ValueError: it is none, or leads nowhere on this machine, which opening it would end
    by."""
    text = _text(raw)
    if text.startswith("$"):
        raise ValueError(f"{text!r}: nothing is put in place of variables; write the whole path")
    if "\0" in text:
        raise ValueError(f"{text!r} is no path")
    try:
        Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"{text!r}: ~ is no folder here; write the whole path") from None
    return text


def _quoted(value: object) -> str:
    return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _of_text(read: Callable[[str], Any]) -> Callable[[object], Any]:
    return lambda raw: read(_text(raw))


def _many(kind: Kind) -> Kind:
    def read(raw: object) -> tuple[Any, ...]:
        items = _split(raw) if isinstance(raw, str) else raw
        if not isinstance(items, list):
            raise ValueError(f"{raw!r} is not a list in brackets")
        return tuple(dict.fromkeys(kind.read(item) for item in items))  # twice is once

    def show(values: tuple[Any, ...]) -> str:
        return "[" + ", ".join(kind.show(value) for value in values) + "]"

    return Kind(f"list of {kind.name}", read, show, many=True)


def _split(raw: str) -> list[object]:
    return [part.strip() for part in raw.split(",") if part.strip()]


TEXT = Kind("text", _text, _quoted)
INTEGER = Kind("number", _integer, str)
NUMBER = Kind("number", _number, lambda value: f"{value:g}")
FLAG = Kind("true or false", _flag, lambda value: "true" if value else "false")
DURATION = Kind("duration", _of_text(read_seconds), lambda value: _quoted(show_seconds(value)))
SIZE = Kind("size", _of_text(read_bytes), lambda value: _quoted(show_bytes(value)))
COIN = Kind("coin amount", _of_text(read_wei), lambda value: _quoted(show_wei(value)))
PRICE = Kind("price", _of_text(read_rate), _quoted)
RULE = Kind("price, or rule", _of_text(read_rate_or_rule), _quoted)
PERCENT = Kind("share", _of_text(read_percent), lambda value: _quoted(show_percent(value)))
ADDRESS = Kind("address", _address, _quoted)
LISTEN = Kind("host:port", _listen, _quoted)
FILE = Kind("file", _path, _quoted)
FOLDER = Kind("folder", _path, _quoted)
FINALITY = Kind("finality", _finality, _quoted)
SECRET_URL = Kind("URL", _of_text(check_url), _quoted)


def _field(default: T, setting: Setting) -> T:
    return dataclasses.field(default=default, metadata={KEY: setting})


def text(default: str, reason: str, *, choices: tuple[str, ...] = (), example: str = "") -> str:
    """A text, one of `choices` when given."""
    return _field(default, Setting(TEXT, reason, choices=choices, example=example))


def file(default: str, reason: str, *, example: str = "") -> str:
    """A path or "credential:NAME"; `secrets.locate` finds it."""
    return _field(default, Setting(FILE, reason, example=example))


def folder(default: str, reason: str) -> str:
    """A path of a folder."""
    return _field(default, Setting(FOLDER, reason))


def texts(
    default: tuple[str, ...], reason: str, *, example: str = "", required: bool = False
) -> tuple[str, ...]:
    """A list of texts."""
    return _field(default, Setting(_many(TEXT), reason, example=example, required=required))


_SOMEBODY = '"0x52908400098527886E0F7030069857D2E4169EE7"'  # of EIP-55's own examples


def addresses(reason: str) -> tuple[str, ...]:
    """A list of account addresses, empty by default."""
    return _field((), Setting(_many(ADDRESS), reason, example=f"[{_SOMEBODY}]"))


def address(reason: str, *, required: bool = False) -> str:
    """An account or contract address; empty by default."""
    return _field("", Setting(ADDRESS, reason, required=required, example=_SOMEBODY))


def urls(reason: str, *, example: str) -> tuple[SecretUrl, ...]:
    """A list of URLs whose credentials never show."""
    return _field((), Setting(_many(SECRET_URL), reason, example=example))


def url(reason: str, *, example: str) -> SecretUrl | None:
    """A URL whose credentials never show; None by default."""
    return _field(None, Setting(SECRET_URL, reason, example=example))


def integer(default: int, low: int, high: int, reason: str, *, required: bool = False) -> int:
    """A whole number from `low` to `high`."""
    return _field(default, Setting(INTEGER, reason, bounds=(low, high), required=required))


def number(default: float, low: float, high: float, reason: str) -> float:
    """A number from `low` to `high`."""
    return _field(default, Setting(NUMBER, reason, bounds=(low, high)))


def share(default: float, reason: str) -> float:
    """A part of one, 0 to 1."""
    return _field(default, Setting(NUMBER, reason, bounds=(0, 1)))


def flag(default: bool, reason: str) -> bool:
    """True or false."""
    return _field(default, Setting(FLAG, reason))


def duration(default: str, low: str, high: str, reason: str) -> float:
    """Seconds, written as a duration; between `low` and `high`."""
    bounds = (read_seconds(low), read_seconds(high))
    return _field(read_seconds(default), Setting(DURATION, reason, bounds=bounds))


def size(default: str, low: str, high: str, reason: str) -> int:
    """Bytes, written as a size; between `low` and `high`."""
    bounds = (read_bytes(low), read_bytes(high))
    return _field(read_bytes(default), Setting(SIZE, reason, bounds=bounds))


def coin(default: str, reason: str) -> int:
    """Wei, written as an amount of the chain's own coin."""
    return _field(read_wei(default), Setting(COIN, reason))


def listen(default: str, reason: str) -> str:
    """host:port to listen on; empty for not at all."""
    return _field(default, Setting(LISTEN, reason))


def finality(default: str, reason: str) -> str:
    """A block tag or a number of blocks, as text."""
    return _field(default, Setting(FINALITY, reason))


def price(reason: str) -> Rate | OfCost:
    """A price a period, or a rule that makes one of the cost; must be given."""
    placeholder = read_rate("1/h")
    return _field(placeholder, Setting(RULE, reason, required=True, example='"0.17/h"'))


def rule(reason: str) -> Rate | OfCost | None:
    """A price a period, or a rule that makes one of the cost; None by default."""
    return _field(None, Setting(RULE, reason, example='"cost * 1.05"'))


def percent(default: str, reason: str, *, example: str = "") -> Fraction:
    """A part of one, written "1%"."""
    return _field(read_percent(default), Setting(PERCENT, reason, example=example))


def cost(reason: str) -> Rate | None:
    """A price a period; None by default."""
    return _field(None, Setting(PRICE, reason, example='"0.153/h"'))


def required_text(reason: str, *, example: str) -> str:
    """A text that must be given."""
    return _field("", Setting(TEXT, reason, required=True, example=example))
