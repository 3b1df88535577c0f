"""The strict reader agrees with cbor2 on what both take, and takes nothing ambiguous."""

from __future__ import annotations

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.attest.cbor import MAX_DEPTH, CborRefused, decode

pytestmark = pytest.mark.unit

KEYS = st.integers(-(2**64), 2**64 - 1) | st.text()
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64 - 1) | st.binary() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def depth(value: object) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES.filter(lambda value: depth(value) <= MAX_DEPTH))
def test_decode__what_cbor2_writes__is_read_back(value: object) -> None:
    assert decode(cbor2.dumps(value)) == value


@given(st.binary(max_size=64))
def test_decode__any_bytes__are_refused_or_read_as_by_cbor2(data: bytes) -> None:
    for indefinite in (False, True):
        try:
            value = decode(data, indefinite=indefinite)
        except CborRefused:
            continue
        assert cbor2.loads(data) == value
        if not indefinite:
            assert cbor2.dumps(value) == data


@pytest.mark.parametrize(
    "text",
    [
        "", "01 02", "18 17", "19 0017", "1a 00000017", "1b 00000000ffffffff", "58 01 61", "98 00",
        "b8 00", "78 01 61", "80 80", "a2 01 02 01 03", "a1 80 03", "a1 f6 01", "a1 f5 01",
        "a1 41 61 01", "c1 01", "d2 80", "d8 23 61 61", "f7", "f8 20", "f9 0000", "fa 00000000",
        "ff", "81 ff", "9f 01", "9f ff", "bf 01 ff", "bf ff", "5f 41 61 ff", "7f 61 61 ff", "1c",
        "1f", "3f", "61 ff", "62 61", "5b ffffffffffffffff", "9b ffffffffffffffff",
        "9b 00000000ffffffff", "bb ffffffffffffffff", "7b 7fffffffffffffff", "82 01",
    ],
)  # fmt: skip
def test_decode__not_of_the_part_in_use__is_refused(text: str) -> None:
    with pytest.raises(CborRefused):
        decode(bytes.fromhex(text))


def test_decode__indefinite__only_where_asked_and_only_containers() -> None:
    assert decode(bytes.fromhex("bf 61 61 9f 01 02 ff ff"), indefinite=True) == {"a": [1, 2]}
    for text in ("5f 41 61 ff", "9f", "9f 01", "bf 01 ff", "bf 01 02 01 02 ff", "ff", "81 ff"):
        with pytest.raises(CborRefused):
            decode(bytes.fromhex(text), indefinite=True)


@pytest.mark.parametrize("opening", [b"\x81", b"\x9f", b"\xa1\x00", b"\xbf\x00"])
def test_decode__nested_without_end__is_refused_at_once(opening: bytes) -> None:
    with pytest.raises(CborRefused, match="deeper"):
        decode(opening * 100_000, indefinite=True)
