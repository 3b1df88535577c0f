"""Strict reader of the small part of CBOR that Nitro documents and image signatures use.

Integers, byte and text strings, arrays, maps, null and booleans; nothing else. It stands before
everything hostile because cbor2 (5.9, looked at) takes trailing bytes and duplicate keys, returns
stray break markers as values, and builds regular expressions, MIME messages and decimals from tags
that the sender chose. Every item costs at least one byte of input and lengths are compared with
what is left before anything is made of them, so time and memory are bounded by the input's size.
Encoding is cbor2's.
"""

from __future__ import annotations

from typing import TypeAlias

from faults import Refused

Value: TypeAlias = "int | bytes | str | bool | list[Value] | dict[int | str, Value] | None"

# A Nitro document nests three deep, an image signature three; RFC 8949 sets no limit.
MAX_DEPTH = 8

_INDEFINITE = -1
_BREAK = 0xFF
_SIMPLE: dict[int, bool | None] = {0xF4: False, 0xF5: True, 0xF6: None}


class CborRefused(Refused):
    """The bytes are not CBOR of the accepted part, or not one item exactly."""


def decode(data: bytes, *, indefinite: bool = False) -> Value:
    """The one item that `data` is, in its shortest encoding and with no byte left over.

    `indefinite` also accepts arrays and maps of indefinite length, as some security modules write
    their payload. Raises CborRefused.
    """
    reader = _Reader(data, indefinite)
    value = reader.item(0)
    if reader.position != len(data):
        raise CborRefused(f"{len(data) - reader.position} bytes follow the CBOR item")
    return value


class _Reader:
    def __init__(self, data: bytes, indefinite: bool) -> None:
        self._data = data
        self._indefinite = indefinite
        self.position = 0

    def item(self, depth: int) -> Value:
        if depth > MAX_DEPTH:
            raise CborRefused(f"nested deeper than {MAX_DEPTH}")
        first = self._peek()
        if first in _SIMPLE:
            self.position += 1
            return _SIMPLE[first]
        return self._typed(*self._head(), depth)

    def _typed(self, major: int, argument: int, depth: int) -> Value:
        match major:
            case 0:
                return argument
            case 1:
                return -1 - argument
            case 2:
                return self._take(argument)
            case 3:
                return self._text(argument)
            case 4:
                return self._array(argument, depth)
            case 5:
                return self._map(argument, depth)
            case _:
                raise CborRefused(f"major type {major} (tag, float or simple value) is not used")

    def _peek(self) -> int:
        if self.position >= len(self._data):
            raise CborRefused("the CBOR ends within an item")
        return self._data[self.position]

    def _take(self, count: int) -> bytes:
        if count > len(self._data) - self.position:
            raise CborRefused(f"a length of {count} passes the end of the CBOR")
        start = self.position
        self.position += count
        return self._data[start : self.position]

    def _head(self) -> tuple[int, int]:
        """The major type and the argument, or _INDEFINITE for an array or map open at its end."""
        first = self._take(1)[0]
        major, short = first >> 5, first & 0x1F
        if short < 24:
            return major, short
        if short == 31 and major in (4, 5) and self._indefinite:
            return major, _INDEFINITE
        if short > 27:
            raise CborRefused(f"initial byte 0x{first:02x} is not accepted")
        return major, self._long(1 << (short - 24))

    def _long(self, width: int) -> int:
        argument = int.from_bytes(self._take(width))
        if argument < (24 if width == 1 else 1 << (4 * width)):
            raise CborRefused(f"{argument} is not in its shortest encoding")
        return argument

    def _text(self, count: int) -> str:
        try:
            return self._take(count).decode()
        except UnicodeDecodeError as error:
            raise CborRefused("a text string is not UTF-8") from error

    def _array(self, count: int, depth: int) -> list[Value]:
        values: list[Value] = []
        while self._more(count, len(values)):
            values.append(self.item(depth + 1))
        return values

    def _map(self, count: int, depth: int) -> dict[int | str, Value]:
        values: dict[int | str, Value] = {}
        while self._more(count, len(values)):
            key = self.item(depth + 1)
            if isinstance(key, bool) or not isinstance(key, int | str):
                raise CborRefused("a map key is neither an integer nor text")
            if key in values:
                raise CborRefused(f"the map key {key!r:.40} appears twice")
            values[key] = self.item(depth + 1)
        return values

    def _more(self, count: int, seen: int) -> bool:
        if count != _INDEFINITE:
            return seen < count
        if self._peek() != _BREAK:
            return True
        self.position += 1
        return False
