"""What is no image and was given for one: told by its beginning, in every way that a file comes."""

from __future__ import annotations

import base64
import gzip
import io
import tarfile
from pathlib import Path

import pytest

from enclave.cid import cid_of
from enclave.eif.format import HEADER_BYTES, ImageRefused
from enclave.eif.measure import StreamingMeasurer, inspect_file
from enclave.eif.other_files import looks_like
from enclave.eif.writer import ImageSpec, build
from enclave.ipfs.car import car_frame, car_header

pytestmark = pytest.mark.unit

IMAGE = build(ImageSpec(kernel=b"k" * 5000, cmdline=b"c", ramdisks=[b"r" * 5000]))
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%b\nsize 1234\n" % (b"a" * 64)


def tar() -> bytes:
    into, entry = io.BytesIO(), tarfile.TarInfo("enclave.eif")
    entry.size = len(IMAGE)
    with tarfile.open(fileobj=into, mode="w") as archive:
        archive.addfile(entry, io.BytesIO(IMAGE))
    return into.getvalue()


FILES = {
    "gzip": gzip.compress(IMAGE, 0),
    "Git LFS": POINTER,
    "CAR": car_header(cid_of(IMAGE)) + car_frame(cid_of(IMAGE), IMAGE),
    "tar": tar(),
    "base64": base64.b64encode(IMAGE),
    "HTML": b"<!DOCTYPE html><title>enclave.eif</title>" + b" " * HEADER_BYTES,
    "JSON": b'{"message": "Not Found"}',
    "zip": b"PK\x03\x04" + bytes(1000),
}


@pytest.mark.parametrize("kind", FILES)
def test_file__of_another_kind__is_refused_as_that(kind: str, tmp_path: Path) -> None:
    file, data = tmp_path / "x.eif", FILES[kind]
    file.write_bytes(data)
    (broken,) = inspect_file(file).broken
    assert kind in broken.text
    for piece in (len(data), 7):
        with pytest.raises(ImageRefused, match=kind):
            measure(data, piece)


def measure(data: bytes, piece: int) -> None:
    with StreamingMeasurer() as measurer:
        for at in range(0, len(data), piece):
            measurer.update(data[at : at + piece])
        measurer.finish()


def test_looks__image_and_what_is_not_known__are_not_named() -> None:
    for first in (IMAGE, b"", b".", b"\0" * 600, b"\xa2eroots", b"version 2"):
        assert looks_like(first) == ""
