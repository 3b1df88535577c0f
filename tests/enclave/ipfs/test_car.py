from __future__ import annotations

import tracemalloc
from pathlib import Path

import aleph_cid
import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.cid import DAG_PB, IDENTITY, RAW, Cid, cid_of, write_varint
from enclave.ipfs.car import MAX_BLOCK_BYTES, BadCar, CarReader, Lie, car_frame, car_header

pytestmark = pytest.mark.unit

BLOCKS = [b"one", b"", b"three" * 1000]
HEADER = car_header(cid_of(b"one"))
CAR = HEADER + b"".join(car_frame(cid_of(block), block) for block in BLOCKS)


def read(data: bytes, step: int | None = None) -> list[tuple[Cid, bytes]]:
    reader = CarReader()
    step = step or max(1, len(data))
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    found = [one for piece in pieces for one in reader.feed(piece)]
    reader.finish()
    return found


@given(st.integers(1, len(CAR)))
def test_feed__pieces_of_any_size__the_same_blocks(step: int) -> None:
    assert read(CAR, step) == [(cid_of(block), block) for block in BLOCKS]


def test_feed__a_car_of_another_writer__every_block(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "image").write_bytes(bytes(range(256)) * 4096)
    for version in (0, 1):
        car = tmp_path / f"{version}.car"
        root = aleph_cid.write_folder_car(str(folder), str(car), cid_version=version)
        found = read(car.read_bytes(), 10_000)
        assert root in {str(cid) for cid, _ in found}
        assert len(found) == 6


def test_header__our_own__has_the_root_that_another_reader_sees(tmp_path: Path) -> None:
    (tmp_path / "our.car").write_bytes(CAR)
    assert aleph_cid.read_carv1_root(str(tmp_path / "our.car")) == str(cid_of(b"one"))


def test_feed__a_flipped_bit_in_a_block__is_a_lie() -> None:
    with pytest.raises(Lie):
        read(CAR[:-1] + b"!")


def test_feed__an_identity_block_that_differs__is_a_lie() -> None:
    with pytest.raises(Lie):
        read(HEADER + car_frame(Cid(RAW, IDENTITY, b"inline"), b"other"))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut off"),
        (CAR[:-1], "cut off"),
        (HEADER[:-1], "cut off"),
        (bytes.fromhex("0aa16776657273696f6e02"), "no CAR of version 1"),
        (b"<!DOCTYPE html><html>" + b" " * 100, "no CAR of version 1"),
        (write_varint(4097) + b"gversion\x01", "frame of 4097"),
        (HEADER + b"\0", "frame of 0 bytes"),
        (HEADER + b"\xff" * 9, "length is unreadable"),
        (HEADER + b"\x80\x00", "length is unreadable"),
        (HEADER + b"\x05hello", "CID is unreadable"),
        (HEADER + write_varint(1 << 40), "frame of 1099511627776"),
    ],
)
def test_feed__not_a_car__is_refused_and_says_why(data: bytes, why: str) -> None:
    with pytest.raises(BadCar, match=why):
        read(data)


def test_feed__a_block_of_2_mib__is_read() -> None:
    block = bytes(MAX_BLOCK_BYTES)
    assert read(HEADER + car_frame(cid_of(block), block), 65_536) == [(cid_of(block), block)]


def test_feed__a_block_one_byte_over_2_mib__is_refused() -> None:
    block = bytes(MAX_BLOCK_BYTES + 1)
    with pytest.raises(BadCar, match="at most 2097152"):
        read(HEADER + car_frame(cid_of(block), block), 65_536)


def test_feed__a_length_of_a_terabyte__takes_no_memory() -> None:
    reader = CarReader()
    tracemalloc.start()
    with pytest.raises(BadCar):
        list(reader.feed(HEADER + write_varint(1 << 40) + b"x"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000


@given(st.binary(max_size=400), st.integers(1, 64))
def test_feed__any_bytes_after_the_header__verified_blocks_or_badcar(
    data: bytes, step: int
) -> None:
    try:
        found = read(HEADER + data, step)
    except BadCar:
        return
    assert all(cid.matches(block) for cid, block in found)


@given(st.data())
def test_feed__any_mutation__verified_blocks_or_badcar(data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(CAR) - 1))
    cut = data.draw(st.integers(0, 40))
    mutated = CAR[:at] + data.draw(st.binary(max_size=20)) + CAR[at + cut :]
    try:
        found = read(mutated)
    except BadCar:
        return
    assert all(cid.matches(block) for cid, block in found)


def test_cid_of_blocks__of_both_codecs__differ() -> None:
    assert cid_of(b"", RAW) != cid_of(b"", DAG_PB)
