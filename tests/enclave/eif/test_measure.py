"""Measuring: the same PCRs as the format's letter, whatever the pieces; the rest refused."""

from __future__ import annotations

import dataclasses
import hashlib
import random
import subprocess
import sys
import threading
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from enclave.eif import walk as eif_walk
from enclave.eif.format import HEADER_BYTES, ImageRefused, SectionType, unpack_header
from enclave.eif.measure import Measured, StreamingMeasurer, inspect_file, measure_file
from enclave.eif.writer import ImageSpec, assemble, build, make_signer, pcr, with_crc
from tests.enclave.images import measure, naive_pcrs, signer, small, tabled, walked

pytestmark = pytest.mark.unit

PCR2_OF_NOTHING = (
    "21b9efbc184807662e966d34f390821309eeac6802309798826296bf3e8bec7c"
    "10edb30948c90ba67310f7b964fc500a"
)
ROOT = Path(__file__).parents[3]
SIGNED = build(small(signer=signer()))
BLOBS = st.binary(min_size=1, max_size=300)


@st.composite
def images(draw: st.DrawFn) -> bytes:
    spec = ImageSpec(
        kernel=draw(BLOBS),
        cmdline=draw(BLOBS),
        ramdisks=draw(st.lists(BLOBS, min_size=1, max_size=4)),
        version=draw(st.sampled_from([2, 3, 4])),
        arm64=draw(st.booleans()),
    )
    signed = spec.version > 2 and draw(st.booleans())
    return build(dataclasses.replace(spec, signer=signer()) if signed else spec)


@given(images(), st.lists(st.integers(0, 2000), max_size=6))
def test_measure__any_valid_image_in_any_pieces__has_the_naive_pcrs(
    image: bytes, cuts: list[int]
) -> None:
    found = measure(image, *[min(cut, len(image)) for cut in cuts])
    assert {number: found.pcrs[number] for number in (0, 1, 2)} == naive_pcrs(walked(image))
    assert found.sha256 == hashlib.sha256(image).hexdigest()
    assert found.size_bytes == len(image)
    assert found.signed == (8 in found.pcrs)


def test_measure__byte_by_byte__is_the_same() -> None:
    assert measure(SIGNED, *range(1, len(SIGNED))) == measure(SIGNED)


def test_measure__one_ramdisk__has_the_constant_pcr2_seen_on_hardware() -> None:
    found = measure(build(small(ramdisks=[b"r"])))
    assert found.pcrs[2] == PCR2_OF_NOTHING
    assert found.pcrs[0] == found.pcrs[1]
    assert 8 not in found.pcrs


def test_measure__signed__pcr8_is_of_the_certificate_der() -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    certificate = x509.load_pem_x509_certificate(signer().certificate_pem)
    assert measure(SIGNED).pcrs[8] == pcr([certificate.public_bytes(Encoding.DER)]).hex()


@pytest.mark.parametrize(
    "order",
    [
        (1, 2, 3, 3, 3, 5),
        (2, 1, 3, 3, 3, 5),
        (5, 1, 3, 2, 3, 3),
        (1, 3, 3, 2, 3, 5),
        (1, 3, 5, 3, 3, 2),
    ],
)
def test_measure__any_allowed_order__follows_file_order(order: tuple[int, ...]) -> None:
    metadata = dict(walked(SIGNED))[5]
    parts = [
        (kind, metadata if kind == 5 else bytes([kind, at]) * 9) for at, kind in enumerate(order)
    ]
    image = assemble(parts)
    assert measure(image).pcrs == naive_pcrs(walked(image))


def test_measure__needs__are_architecture_and_four_times_the_size() -> None:
    found = measure(build(small(arm64=True, kernel=b"k" * (1 << 20))))
    assert found.architecture == "arm64"
    assert found.min_enclave_memory_mib == 5
    assert measure(SIGNED).architecture == "x86_64"
    assert (found.image_name, found.image_version, found.version) == ("image", "1", 4)


def test_measure__a_reused_buffer__is_copied() -> None:
    measurer = StreamingMeasurer()
    buffer = bytearray(64)
    for start in range(0, len(SIGNED), 64):
        piece = SIGNED[start : start + 64]
        buffer[: len(piece)] = piece
        measurer.update(memoryview(buffer)[: len(piece)])
    assert measurer.finish() == measure(SIGNED)


def test_measure__with_threads__is_the_same_and_leaves_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = measure(SIGNED)
    monkeypatch.setattr(eif_walk, "THREADS_FROM_BYTES", 0)
    before = threading.active_count()
    assert measure(SIGNED, *range(0, len(SIGNED), 100)) == plain
    assert threading.active_count() == before


def test_measure__abandoned_with_threads__leaves_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eif_walk, "THREADS_FROM_BYTES", 0)
    before = set(threading.enumerate())
    measurer = StreamingMeasurer()
    measurer.update(SIGNED[:1000])
    started = set(threading.enumerate()) - before
    assert started
    del measurer
    for thread in started:
        thread.join(5)
        assert not thread.is_alive()


def test_measure__signer_out_of_date__is_refused_at_that_time_only() -> None:
    early = make_signer(not_before=1_600_000_000, not_after=1_700_000_000)
    found = measure(build(small(signer=early)))
    found.require_signer_valid_at(1_650_000_000)
    for now in (1_599_999_999, 1_700_000_001):
        with pytest.raises(ImageRefused) as refused:
            found.require_signer_valid_at(now)
        assert refused.value.reason == "signature.dates"
    measure(build(small())).require_signer_valid_at(0)


def test_update__bad_header__is_refused_at_byte_548() -> None:
    measurer = StreamingMeasurer()
    bad = b"\x7fELF" + SIGNED[4:HEADER_BYTES]
    measurer.update(bad[:-1])
    with pytest.raises(ImageRefused, match=r"header\.magic"):
        measurer.update(bad[-1:])


def test_update__size_known_and_wrong__is_refused_with_the_header() -> None:
    for size, rule in ((len(SIGNED) - 1, "file.truncated"), (len(SIGNED) + 1, "file.trailing")):
        measurer = StreamingMeasurer(size_bytes=size)
        with pytest.raises(ImageRefused, match=rule):
            measurer.update(SIGNED[:HEADER_BYTES])


def test_update__bytes_after_the_last_section__are_refused_at_the_first() -> None:
    measurer = StreamingMeasurer()
    measurer.update(SIGNED)
    with pytest.raises(ImageRefused, match=r"file\.trailing-bytes"):
        measurer.update(b"\0")


def test_exit__with_an_abandoned_measurer__does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "image.eif").write_bytes(build(small(kernel=bytes(20 << 20))))
    code = (
        "import sys; from enclave.eif.measure import StreamingMeasurer; m = StreamingMeasurer();"
        "f = open(sys.argv[1], 'rb'); [m.update(f.read(1 << 20)) for _ in range(18)]; sys.m = m"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "image.eif")],
        cwd=ROOT, check=True,
    )  # fmt: skip


def test_update__after_a_refusal__is_refused_again() -> None:
    measurer = StreamingMeasurer()
    with pytest.raises(ImageRefused):
        measurer.update(bytes(HEADER_BYTES))
    with pytest.raises(ImageRefused):
        measurer.update(SIGNED)
    with pytest.raises(ImageRefused):
        measurer.finish()


def test_finish__twice__is_the_same() -> None:
    measurer = StreamingMeasurer()
    measurer.update(SIGNED)
    assert measurer.finish() == measurer.finish()


def test_measure_file__a_valid_image__is_as_streamed(tmp_path: Path) -> None:
    path = tmp_path / "image.eif"
    path.write_bytes(SIGNED)
    assert measure_file(path) == measure(SIGNED)
    inspected = inspect_file(path)
    assert inspected.pcrs == measure(SIGNED).pcrs
    assert not inspected.broken


def test_measure_file__a_large_image__takes_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "image.eif"
    path.write_bytes(build(small(ramdisks=[b"i" * 1000, random.Random(1).randbytes(48 << 20)])))
    tracemalloc.start()
    try:
        measure_file(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 << 20


MUTATIONS = st.lists(
    st.tuples(st.integers(0, len(SIGNED) - 1), st.integers(1, 255)), min_size=1, max_size=3
)


def mutated(image: bytes, changes: list[tuple[int, int]]) -> bytes:
    made = bytearray(image)
    for position, flip in changes:
        made[position] ^= flip
    return bytes(made)


def accepted(image: bytes) -> Measured | None:
    try:
        return measure(image)
    except ImageRefused:
        return None


@given(MUTATIONS)
def test_measure__bytes_changed__is_refused(changes: list[tuple[int, int]]) -> None:
    image = mutated(SIGNED, changes)
    assert image == SIGNED or accepted(image) is None


@settings(max_examples=300)
@given(MUTATIONS | st.lists(st.tuples(st.integers(0, 547), st.integers(1, 255)), max_size=4))
@example([(7, 1)])
@example([(27, 3)])
def test_measure__bytes_changed_and_crc_renewed__all_readers_agree(
    changes: list[tuple[int, int]],
) -> None:
    image = with_crc(mutated(SIGNED, changes))
    found = accepted(image)
    if found:
        assert found.pcrs.items() >= naive_pcrs(walked(image)).items()
        assert found.pcrs.items() >= naive_pcrs(tabled(image)).items()
        # It is signed: only what PCR0 to PCR2 do not cover can have changed.
        original = measure(SIGNED).pcrs
        assert [found.pcrs[number] for number in range(3)] == [original[n] for n in range(3)]


@given(st.integers(0, len(SIGNED) - 1))
def test_measure__cut_short__is_refused(length: int) -> None:
    assert accepted(SIGNED[:length]) is None


@given(st.integers(HEADER_BYTES, len(SIGNED)), st.binary(min_size=1, max_size=40))
def test_measure__bytes_put_in_and_crc_renewed__is_refused(at: int, extra: bytes) -> None:
    assert accepted(with_crc(SIGNED[:at] + extra + SIGNED[at:])) is None


WORDS = st.sampled_from([0, 1, 11, 12, 547, 548, 549, 560, 2**62, 2**63, 2**64 - 12, 2**64 - 1])


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(WORDS | st.integers(0, 3000), WORDS), max_size=32), st.integers(0, 40))
def test_inspect__any_table__ends_and_raises_nothing(
    tmp_path: Path, table: list[tuple[int, int]], count: int
) -> None:
    header = unpack_header(SIGNED)
    entries = [*table, *[(0, 0)] * 32][:32]
    forged = dataclasses.replace(
        header,
        section_count=count,
        offsets=tuple(offset for offset, _ in entries),
        sizes=tuple(size for _, size in entries),
    )
    path = tmp_path / "image.eif"
    path.write_bytes(forged.pack() + SIGNED[HEADER_BYTES:])
    assert inspect_file(path).broken


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MUTATIONS, st.integers(0, len(SIGNED)))
def test_inspect__any_broken_file__says_so_and_raises_nothing(
    tmp_path: Path, changes: list[tuple[int, int]], length: int
) -> None:
    image = mutated(SIGNED, changes)[:length]
    path = tmp_path / "image.eif"
    path.write_bytes(image)
    found = inspect_file(path)
    assert found.broken or image == SIGNED
    assert found.size_bytes == len(image)


def test_crc__of_the_writer__is_zlibs_over_all_but_its_field() -> None:
    covered = SIGNED[:544] + SIGNED[548:]
    assert unpack_header(SIGNED).crc32 == zlib.crc32(covered)
    assert dict(walked(SIGNED)).keys() == {kind.value for kind in SectionType}
