"""Fuzzing by structure: images, CBOR and COSE, with lies in their fields, then in their bytes.

For each reader: no exception but its own, within `bounded`, and accepted exactly what a naive
second reading of the same structure accepts. HYPOTHESIS_PROFILE=thorough looks longer.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import struct

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from enclave.attest import cose
from enclave.attest.cbor import CborRefused, decode
from enclave.eif.format import ImageRefused
from enclave.eif.measure import Measured
from enclave.eif.writer import assemble, default_metadata, with_crc
from tests.enclave.bounds import bounded, bytes_changed
from tests.enclave.images import measure, naive_pcrs, tabled, walked

pytestmark = pytest.mark.unit

SMALL = st.binary(max_size=40)

# --- EIF -----------------------------------------------------------------------------------------

METADATA = json.dumps(default_metadata()).encode()
WORDS = st.integers(0, 2000) | st.sampled_from([2**31, 2**32, 2**62, 2**63, 2**64 - 12, 2**64 - 1])
SOUND = [(1, b"kernel"), (2, b"cmdline"), (5, METADATA), (3, b"init"), (3, b"root")]


@st.composite
def images(draw: st.DrawFn) -> bytes:
    """Sections of any kind in any order, then lies in the header and in sections' headers."""
    part = st.tuples(st.integers(0, 6), SMALL | st.just(METADATA))
    parts = draw(st.permutations(SOUND) | st.just(SOUND) | st.lists(part, max_size=6))
    image = bytearray(assemble(parts, version=draw(st.sampled_from([4, 4, 4, 3, 2, 1, 5]))))
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        width, at = draw(st.sampled_from([(">H", 4), (">H", 6), (">H", 26), (">Q", 8)]))
        if draw(st.booleans()):
            width, at = ">Q", 28 + 8 * draw(st.integers(0, 63))
        elif len(image) > 560 and draw(st.booleans()):
            width, at = ">Q", 552
        word = draw(WORDS) & (2 ** (8 * struct.calcsize(width)) - 1)
        struct.pack_into(width, image, at, word)
    return bytes(image)


@given(images(), st.data())
def test_eif__lies_in_its_fields__measured_as_all_readers_would_or_refused(
    image: bytes, data: st.DataObject
) -> None:
    image = data.draw(bytes_changed(image))
    image = with_crc(image) if len(image) >= 548 else image
    cuts = data.draw(st.lists(st.integers(0, len(image)), max_size=4))
    found: Measured | None = None
    with bounded(len(image)), contextlib.suppress(ImageRefused):
        found = measure(image, *cuts, size_bytes=len(image))
    if found:
        assert list(walked(image)) == list(tabled(image))
        assert found.pcrs == naive_pcrs(walked(image))
        kinds = sorted(kind for kind, _ in walked(image))
        assert kinds[:3] == [1, 2, 3]
        assert (kinds[-1] == 5) == (found.version == 4)
        assert found.sha256 == hashlib.sha256(image).hexdigest()


# --- COSE and CBOR -------------------------------------------------------------------------------

KEY = ec.derive_private_key(11, ec.SECP384R1())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | SMALL | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.integers(-40, 2**20) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)


class Encoder:
    """CBOR with a trick here and there, remembering whether one was played.

    `strict`: none was. `loose`: none but arrays and maps of indefinite length.
    """

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self.strict = self.loose = True

    def item(self, value: object) -> bytes:
        if self._plays("tag"):
            return b"\xd2" + self.item(value)
        if isinstance(value, bool) or value is None:
            return cbor2.dumps(value)
        if isinstance(value, int):
            return self._head(0, value) if value >= 0 else self._head(1, -1 - value)
        if isinstance(value, bytes):
            return self._head(2, len(value)) + value
        if isinstance(value, str):
            return self._head(3, len(value.encode())) + value.encode()
        if isinstance(value, dict):
            pairs = [self.item(key) + self.item(each) for key, each in value.items()]
            return self._container(5, pairs + pairs[:1] * self._plays("twice", bool(pairs)))
        assert isinstance(value, list)
        return self._container(4, [self.item(each) for each in value])

    def whole(self, value: object) -> bytes:
        return self.item(value) + b"\xff" * self._plays("more")

    def _plays(self, trick: str, possible: bool = True) -> bool:
        played = possible and self._draw(st.sampled_from([*[""] * 20, trick])) == trick
        self.strict &= not played
        self.loose &= not played or trick == "open"
        return played

    def _head(self, major: int, argument: int) -> bytes:
        shortest = cbor2.dumps(argument)
        if self._plays("long", len(shortest) < 9):
            return bytes([major << 5 | 27]) + argument.to_bytes(8)
        return bytes([major << 5 | shortest[0]]) + shortest[1:]

    def _container(self, major: int, items: list[bytes]) -> bytes:
        if self._plays("open"):
            return bytes([major << 5 | 31]) + b"".join(items) + b"\xff"
        count = len(items) + self._plays("count")
        return self._head(major, count) + b"".join(items)


@st.composite
def encodings(draw: st.DrawFn, value: object) -> tuple[bytes, bool, bool]:
    """CBOR of `value`, whether it is the strict one, and whether it is but for open containers."""
    encoder = Encoder(draw)
    return encoder.whole(value), encoder.strict, encoder.loose


@given(VALUES, st.data())
def test_cbor__tricks_in_its_encoding__read_exactly_when_there_is_none(
    value: object, data: st.DataObject
) -> None:
    encoded, strict, loose = data.draw(encodings(value))
    for indefinite, sound in ((False, strict), (True, loose)):
        with bounded(len(encoded)):
            try:
                assert decode(encoded, indefinite=indefinite) == value
                assert sound
            except CborRefused:
                assert not sound


@functools.cache
def signed() -> bytes:
    return cose.sign(b"payload", KEY)


PROTECTED = cbor2.dumps({1: -35})
HONEST = {"protected": PROTECTED, "unprotected": {}, "payload": b"payload"}


@given(
    st.sampled_from(
        [PROTECTED, b"", b"\xa0", *map(cbor2.dumps, ({1: -7}, {1: -35, 2: [1]}, [1], -35))]
    ),
    st.sampled_from([{}, {}, {1: -35}, {4: b"kid"}, None, []]),
    st.sampled_from([b"payload", b"payload", b"", None, "payload"]) | VALUES,
    st.sampled_from([0, 0, 0, 1, -1]),
    st.data(),
)
def test_cose__lies_in_its_fields__verifies_only_what_was_signed(
    protected: bytes, unprotected: object, payload: object, stretch: int, data: st.DataObject
) -> None:
    signature = cbor2.loads(signed())[3]
    signature = signature[:stretch] if stretch < 0 else signature + bytes(stretch)
    encoded, strict, _ = data.draw(encodings([protected, unprotected, payload, signature]))
    fields = {"protected": protected, "unprotected": unprotected, "payload": payload}
    honest = strict and fields == HONEST and not stretch
    with bounded(len(encoded)):
        try:
            cose.parse(encoded).verify(KEY.public_key())
            assert honest
        except cose.CoseRefused:
            assert not honest
