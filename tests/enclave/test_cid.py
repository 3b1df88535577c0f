from __future__ import annotations

import base64
import hashlib

import cid as py_cid
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enclave.cid import (
    BLAKE2B_256,
    BLAKE2B_512,
    DAG_PB,
    IDENTITY,
    RAW,
    SHA2_256,
    SHA2_512,
    SHA3_256,
    SHA3_512,
    BadCid,
    Cid,
    cid_of,
    parse_cid,
    read_cid,
    read_varint,
    write_varint,
)

pytestmark = pytest.mark.unit

DIGEST = hashlib.sha256(b"block").digest()
V0 = Cid(DAG_PB, SHA2_256, DIGEST, version=0)
V1 = Cid(RAW, SHA2_256, DIGEST)

TAKEN = [SHA2_256, SHA2_512, SHA3_256, SHA3_512, BLAKE2B_256, BLAKE2B_512]


@st.composite
def _hashed(draw: st.DrawFn) -> Cid:
    codec, hash_code = draw(st.sampled_from([RAW, DAG_PB])), draw(st.sampled_from(TAKEN))
    return cid_of(draw(st.binary(max_size=40)), codec, hash_code)


hashed = _hashed()
inline = st.builds(Cid, st.sampled_from([RAW, DAG_PB]), st.just(IDENTITY), st.binary(max_size=128))
cids = hashed | inline


@given(cids)
def test_cid__any__survives_bytes_and_text(cid: Cid) -> None:
    assert read_cid(bytes(cid)) == cid
    assert parse_cid(str(cid)) == cid


@given(hashed)
def test_cid__any_text_form__is_what_another_reader_says(cid: Cid) -> None:
    other = py_cid.make_cid(1, {RAW: "raw", DAG_PB: "dag-pb"}[cid.codec], cid.multihash)
    for base in ("base32", "base58btc", "base16"):
        assert parse_cid(other.encode(base).decode()) == cid


def test_cid__version_0__equals_its_version_1_and_keeps_its_text() -> None:
    text = str(V0)
    assert text.startswith("Qm")
    assert str(parse_cid(text)) == text
    assert parse_cid(str(V0.canonical)) == V0
    assert hash(V0) == hash(V0.canonical)
    assert py_cid.make_cid(text).multihash == V0.multihash


def test_cid__base36_and_upper_case__are_read() -> None:
    number, text = int.from_bytes(bytes(V1)), ""
    while number:
        number, digit = divmod(number, 36)
        text = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + text
    assert parse_cid("k" + text) == V1
    assert parse_cid("K" + text.upper()) == V1
    assert parse_cid(str(V1).upper()) == V1
    assert parse_cid("F" + bytes(V1).hex().upper()) == V1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (bytes(V1) + b"\0", "follow"),
        (bytes(V1)[:-1], "cut off"),
        (bytes(V0)[:-1], "cut off"),
        (b"", "cut off"),
        (b"\x01\x55\x12\x04abcd", "digest of 4"),
        (b"\x01\x55\x12\x21" + bytes(33), "digest of 33"),
        (b"\x01\x71\x12\x20" + DIGEST, "codec 0x71"),
        (b"\x01\x55\x13\x20" + bytes(32), "a digest of 32 bytes where 64 are whole"),
        (b"\x01\x55\x1e\x20" + bytes(32), r"hash 0x1e \(blake3\) .* again with sha2-256"),
        (b"\x01\x55\x11\x14" + bytes(20), r"hash 0x11 \(sha1\)"),
        (b"\x01\x72\x12\x20" + bytes(32), r"codec 0x72 \(it names a key \(IPNS\)"),
        (b"\x01\x55\x20\x30" + bytes(48), "hash 0x20"),
        (b"\x02\x55\x12\x20" + DIGEST, "version 2"),
        (b"\x81\x00\x55\x12\x20" + DIGEST, "longer than it needs"),
        (b"\x01\x55\x00\x81\x01" + bytes(129), "identity CID holds 129"),
        (b"\xff" * 40, "cut off or longer"),
    ],
)
def test_read_cid__not_acceptable__is_refused_and_says_why(data: bytes, why: str) -> None:
    with pytest.raises(BadCid, match=why):
        read_cid(data)


@pytest.mark.parametrize(
    "text",
    [
        "", "b", "Qm", "z", "hello", str(V1) + "a", str(V1)[:-1], str(V1) + "=", str(V1)[:-1] + "1",
        str(V0)[:-1] + "0", "f" + bytes(V0).hex(), "f" + bytes(V1).hex()[:-1], "z" + str(V0),
        "u" + base64.urlsafe_b64encode(bytes(V1)).decode(), "b" * 100_000, "Qm" + "é" * 44,
    ],
)  # fmt: skip
def test_parse_cid__no_cid__is_refused(text: str) -> None:
    with pytest.raises(BadCid):
        parse_cid(text)


def test_cid__identity_of_128_bytes__carries_its_block() -> None:
    cid = Cid(RAW, IDENTITY, b"x" * 128)
    assert read_cid(bytes(cid)).inline == b"x" * 128
    assert cid.matches(b"x" * 128)
    assert not cid.matches(b"x" * 127)


@given(st.binary(max_size=300), st.sampled_from(TAKEN))
def test_matches__any_block__only_that_block(block: bytes, hash_code: int) -> None:
    cid = cid_of(block, RAW, hash_code)
    assert cid.matches(memoryview(block))
    assert not cid.matches(block + b"\0")


@given(st.binary(max_size=200))
@example(b"\x01\x55\x00\x80\x01" + bytes(128))
def test_read_cid__any_bytes__a_cid_or_badcid(data: bytes) -> None:
    try:
        cid = read_cid(data)
    except BadCid:
        return
    assert bytes(cid) == data


@given(st.text(max_size=120) | st.from_regex(r"[bkzfBKFQ][0-9A-Za-z]{0,90}", fullmatch=True))
def test_parse_cid__any_text__a_cid_or_badcid(text: str) -> None:
    try:
        cid = parse_cid(text)
    except BadCid:
        return
    assert parse_cid(str(cid)) == cid


@given(st.integers(0, 2**63 - 1))
def test_varint__any__survives(value: int) -> None:
    data = write_varint(value)
    assert read_varint(data, 0) == (value, len(data))
