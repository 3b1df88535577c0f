"""Fuzzing by structure: CARs, IPFS files, URLs and CIDs, with lies in their fields, then bytes.

For each reader: no exception but its own, within `bounded`, and accepted exactly what a naive
second reading of the same structure accepts. HYPOTHESIS_PROFILE=thorough looks longer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devnet.ipfs.blocks import pb_bytes, pb_int
from enclave.cid import (
    BLAKE2B_256,
    DAG_PB,
    IDENTITY,
    RAW,
    SHA2_256,
    BadCid,
    Cid,
    cid_of,
    parse_cid,
    write_varint,
)
from enclave.ipfs.car import BadCar, CarReader, car_header
from enclave.ipfs.dagpb import BadDag, Kind
from enclave.ipfs.unixfs import FileWalk, Span
from enclave.web.image_url import BadUrl, HttpsUrl, parse_image_url
from tests.enclave.bounds import bounded, bytes_changed

pytestmark = pytest.mark.unit

SMALL = st.binary(max_size=40)

# --- CAR -----------------------------------------------------------------------------------------

NUMBERS = st.integers(0, 300) | st.sampled_from(
    [127, 128, 1 << 21, (2 << 20) + 200, 1 << 40, 2**63]
)


@st.composite
def varints(draw: st.DrawFn, value: int) -> bytes:
    """A number as it is written, or longer than it needs to be, or another one."""
    how = draw(st.sampled_from(["right"] * 6 + ["long", "other", "open"]))
    written = write_varint(draw(NUMBERS) if how == "other" else value)
    if how == "long":
        return written[:-1] + bytes([written[-1] | 0x80, 0])
    return bytes(byte | 0x80 for byte in written) if how == "open" else written


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame of a CAR with lies in its length, its CID or its block."""
    block, other = draw(SMALL), draw(SMALL)
    cid = draw(
        st.sampled_from([
            cid_of(block), cid_of(block, DAG_PB), cid_of(block, RAW, BLAKE2B_256),
            replace(cid_of(block, DAG_PB), version=0), Cid(RAW, IDENTITY, block), cid_of(other),
            Cid(0x71, SHA2_256, cid_of(block).digest), Cid(RAW, SHA2_256, b"short"),
            Cid(RAW, IDENTITY, bytes(200)),
        ])
    )  # fmt: skip
    body = bytes(cid) + draw(st.sampled_from([block, block, block, other]))
    return draw(varints(len(body))) + body


HEADERS = st.just(car_header()) | st.sampled_from([
    car_header(), car_header(cid_of(b"x")), car_header(*[cid_of(b"x")] * 20), b"\0",
    write_varint(4096) + b"\x9b" + b"\xff" * 8, write_varint(20) + b"\xbf" * 20,
    bytes.fromhex("0aa16776657273696f6e02"),
])  # fmt: skip


@given(HEADERS, st.lists(frames(), max_size=5), st.data(), st.integers(1, 50))
def test_car__lies_in_its_fields__only_blocks_that_their_cids_name(
    header: bytes, parts: list[bytes], data: st.DataObject, step: int
) -> None:
    car = data.draw(bytes_changed(header + b"".join(parts)))
    found = []
    with bounded(len(car)), contextlib.suppress(BadCar):
        reader = CarReader()
        for at in range(0, len(car), step):
            found += list(reader.feed(car[at : at + step]))
        reader.finish()
    for cid, block in found:
        assert block in car
        assert bytes(cid) + block in car
        assert cid.digest == _digest(cid.hash_code, block)


def _digest(hash_code: int, block: bytes) -> bytes:
    if hash_code == IDENTITY:
        return block
    return (
        hashlib.sha256(block).digest()
        if hash_code == SHA2_256
        else hashlib.blake2b(block, digest_size=32).digest()
    )


# --- UnixFS --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A part of a file as it was written: its CID, and its bytes unless it lies somewhere."""

    cid: bytes
    size: int
    content: bytes | None


@dataclass
class Blocks:
    by_cid: dict[bytes, bytes] = dataclasses.field(default_factory=dict)

    def put(self, block: bytes, codec: int, *, inline: bool = False) -> bytes:
        cid = bytes(Cid(codec, IDENTITY, block) if inline else cid_of(block, codec))
        self.by_cid[cid] = block
        return cid


@st.composite
def leaves(draw: st.DrawFn, blocks: Blocks) -> Made:
    data, inline = draw(st.binary(min_size=1, max_size=5)), draw(st.booleans())
    if draw(st.booleans()):
        return Made(blocks.put(data, RAW, inline=inline), len(data), data)
    kind = draw(st.sampled_from([Kind.FILE, Kind.FILE, Kind.RAW, Kind.SYMLINK, Kind.DIRECTORY, 9]))
    said = draw(st.sampled_from([len(data), len(data), None, len(data) + 1, 2**63]))
    unixfs = pb_int(1, kind) + pb_bytes(2, data) + (b"" if said is None else pb_int(3, said))
    cid = blocks.put(pb_bytes(1, unixfs), DAG_PB, inline=inline)
    sound = kind in (Kind.FILE, Kind.RAW) and said in (None, len(data))
    return Made(cid, len(data), data if sound else None)


@st.composite
def nodes(draw: st.DrawFn, blocks: Blocks, depth: int = 2) -> Made:
    """A node over parts (some of them twice), with a lie in a field now and then."""
    inner = nodes(blocks, depth - 1) | leaves(blocks) if depth else leaves(blocks)
    parts = draw(st.lists(inner, min_size=1, max_size=4))
    parts += draw(st.lists(st.sampled_from(parts), max_size=2))
    data, lie = draw(SMALL), draw(st.sampled_from(["none"] * 12 + LIES))
    sizes = [part.size for part in parts]
    total = len(data) + sum(sizes)
    said, fields = total, [pb_int(1, Kind.FILE), pb_bytes(2, data)]
    at = draw(st.integers(0, len(parts) - 1))
    if lie == "size":
        sizes[at] += draw(st.sampled_from([1, -1, 1 << 40]))
        said = len(data) + sum(sizes)
    said += lie == "total"
    sizes = sizes[1:] if lie == "few sizes" else [*sizes, 1] if lie == "many sizes" else sizes
    packed = pb_bytes(4, b"".join(map(write_varint, map(abs, sizes))))
    single = [pb_int(4, abs(size)) for size in sizes]
    fields += draw(st.sampled_from([[pb_int(3, said), packed], [*single, pb_int(3, said)]]))
    names = [part.cid for part in parts]
    names[at] += b"\0" if lie == "link" else b""
    ways = [b"".join(map(_link, names)), pb_bytes(1, b"".join(fields))]
    block = b"".join(draw(st.permutations(ways)))
    contents = [part.content for part in parts]
    sound = lie == "none" and None not in contents
    content = data + b"".join(each or b"" for each in contents)
    return Made(blocks.put(block, DAG_PB), total, content if sound else None)


LIES = ["size", "total", "few sizes", "many sizes", "link"]


def _link(cid: bytes) -> bytes:
    return pb_bytes(2, pb_bytes(1, cid) + pb_bytes(2, b"") + pb_int(3, 1))


def read_file(made: Made, blocks: dict[bytes, bytes]) -> bytes:
    """Raises BadDag; KeyError for a block that does not exist."""
    walk, out = FileWalk(Cid(DAG_PB, SHA2_256, made.cid[4:]), max_blocks=500), bytearray()
    while walk.wanted is not None:
        for piece in walk.accept(blocks[bytes(walk.wanted)]):
            if isinstance(piece, Span):
                assert 0 <= piece.start <= piece.start + piece.size <= len(out)
                out += out[piece.start : piece.start + piece.size]
            else:
                out += piece
        assert walk.position == len(out) <= (walk.size_bytes or 0)
    assert len(out) == walk.size_bytes
    return bytes(out)


@given(st.data())
def test_unixfs__lies_in_its_fields__the_file_exactly_when_there_is_none(
    data: st.DataObject,
) -> None:
    blocks = Blocks()
    made = data.draw(nodes(blocks))
    content = None
    with bounded(10_000), contextlib.suppress(BadDag):
        content = read_file(made, blocks.by_cid)
    assert content == made.content


@given(st.data())
def test_unixfs__lies_in_its_bytes__the_promised_size_or_baddag(data: st.DataObject) -> None:
    """Each changed block stands for a hostile one under its own right CID."""
    blocks = Blocks()
    made = data.draw(nodes(blocks))
    dags = [cid for cid in blocks.by_cid if cid[1] == DAG_PB and cid[2] != IDENTITY]
    for cid in data.draw(st.lists(st.sampled_from(dags), max_size=2)):
        blocks.by_cid[cid] = data.draw(bytes_changed(blocks.by_cid[cid]))
    with bounded(10_000), contextlib.suppress(BadDag, KeyError):
        read_file(made, blocks.by_cid)


# --- URLs ----------------------------------------------------------------------------------------

CID = cid_of(b"image")
NICE_HOSTS = ["ipfs.io", "Gateway.Example.", "a-b.c2.example"]
NASTY_HOSTS = [
    "127.0.0.1", "0x7f.1", "2130706433", "127.0.0.1.", "[::1]", "[::ffff:10.0.0.1]",
    "[fe80::1%25e]", "localhost", "a.localhost", "metadata.google.internal", "x.local", "single",
    "", ".", "a..b", "-a.example", "a_b.example", "a%2eexample", "a.example%00", "1.2.3.4.5", "x.1",
    "\u00e4.example",
    "a.example\t", "a.example\\", "u@a.example", "a.example@", ":@a.example", "x" * 64 + ".example",
]  # fmt: skip
NICE_PATHS = ["", "/", "/a", "/a/b%20c.eif", "/%C3%A4/", "/..a", "/a%3Fb"]
NASTY_PATHS = [
    "/..", "/a/../b", "/%2e%2e/x", "/.", "//a", "/a//b", "/a%2fb", "/a%00", "/%ff", "/%zz",
    "/a%e2%80%aeb",
    "/a\\b", "/a b", "/\u00e4", "/a?x", "/a?", "?format=car", "#x", "/a" * 17,
]  # fmt: skip
V0 = replace(CID, codec=DAG_PB, version=0)
NICE_CIDS = [str(CID), str(V0), "f" + bytes(CID).hex(), "F" + bytes(CID).hex().upper()]
NASTY_CIDS = [
    "", "x", str(CID)[:-1], str(CID) + "a", "B" + str(CID)[1:], "Qm" + "1" * 44, "m" + "A" * 48,
    "f" + bytes(Cid(0x71, SHA2_256, CID.digest)).hex(),
    "f" + bytes(Cid(RAW, SHA2_256, b"ab")).hex(),
    "f" + bytes(CID).hex() + "00", "f01" + "d5" + "00" + "1220" + CID.digest.hex(), "f0" + str(CID),
]  # fmt: skip


@given(
    st.sampled_from(
        ["ipfs://", "IPFS://", "https://", "https:sub", "http://", "file://", "ipns://", ""]
    ),
    st.sampled_from(NICE_HOSTS) | st.sampled_from(NASTY_HOSTS),
    st.sampled_from(["", "", ":443", ":80", ":", ":0", ":443443", ":x"]),
    st.sampled_from(NICE_CIDS) | st.sampled_from(NASTY_CIDS),
    st.sampled_from(NICE_PATHS) | st.sampled_from(NASTY_PATHS),
)
def test_url__nasty_parts__are_accepted_exactly_when_there_is_none(
    scheme: str, host: str, port: str, cid: str, path: str
) -> None:
    nice = cid in NICE_CIDS and path in NICE_PATHS
    sound_host = host in NICE_HOSTS and port in ("", ":443")
    if scheme == "https://":
        text, nice = f"https://{host}{port}/ipfs/{cid}{path}", nice and sound_host
    elif scheme == "https:sub":
        text = f"https://{cid}.ipfs.{host}{port}{path}"
        # A host's name is read in lower case, and one label of it has at most 63 letters.
        nice = path in NICE_PATHS and sound_host and cid.lower() in NICE_CIDS and len(cid) <= 63
    elif scheme == "":
        text, nice = cid, cid in NICE_CIDS
    else:
        text, nice = f"{scheme}{cid}{path}", nice and scheme.lower() == "ipfs://"
    with bounded(len(text)):
        try:
            url = parse_image_url(text)
        except BadUrl:
            assert not nice
            return
    assert nice
    assert not isinstance(url, HttpsUrl)
    assert url.cid.digest == CID.digest
    assert ".." not in url.path
    assert (url.hint is not None) == scheme.startswith("https")
    assert url.hint in (None, *(name.lower().rstrip(".") for name in NICE_HOSTS))


@given(st.sampled_from(NICE_CIDS), st.data())
def test_cid__its_text_changed__is_another_text_of_it_or_refused(
    text: str, data: st.DataObject
) -> None:
    changed = data.draw(bytes_changed(text.encode())).decode(errors="replace")
    with bounded(len(changed)), contextlib.suppress(BadCid):
        assert parse_cid(str(parse_cid(changed))) == parse_cid(changed)
