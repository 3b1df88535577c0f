"""Every rule of the format, each broken by one file that keeps the others."""

from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from enclave.eif.format import Header, ImageRefused, unpack_header
from enclave.eif.measure import StreamingMeasurer, inspect_file
from enclave.eif.writer import ImageSpec, Part, assemble, build, default_metadata, with_crc
from tests.enclave.images import measure, signer, small, walked

pytestmark = pytest.mark.unit

IMAGE = build(small())
PARTS: list[Part] = list(walked(IMAGE))
KERNEL, CMDLINE, METADATA, FIRST, SECOND = PARTS
SIGNATURE = list(walked(build(small(signer=signer()))))[-1]


def header(image: bytes = IMAGE, **changes: object) -> bytes:
    """`image` with fields of its header changed."""
    changed: Header = dataclasses.replace(unpack_header(image), **changes)  # type: ignore[arg-type]  # by name
    return with_crc(changed.pack() + image[548:])


def table(index: int, *, offset: int = 0, size: int = 0) -> bytes:
    """IMAGE with one table entry moved or grown by so much."""
    found = unpack_header(IMAGE)
    offsets, sizes = list(found.offsets), list(found.sizes)
    offsets[index] += offset
    sizes[index] += size
    return header(offsets=tuple(offsets), sizes=tuple(sizes))


def gap(before: int, count: int) -> bytes:
    """IMAGE with bytes between two sections that belong to neither, as the hypervisor allows."""
    found = unpack_header(IMAGE)
    at = found.offsets[before]
    moved = tuple(
        offset + count if before <= index < found.section_count else offset
        for index, offset in enumerate(found.offsets)
    )
    return header(IMAGE[:at] + bytes(count) + IMAGE[at:], offsets=moved)


def section_size(index: int, size: int) -> bytes:
    at = unpack_header(IMAGE).offsets[index] + 4
    return with_crc(IMAGE[:at] + struct.pack(">Q", size) + IMAGE[at + 8 :])


def metadata(text: str | bytes) -> bytes:
    data = text if isinstance(text, bytes) else text.encode()
    return assemble([KERNEL, CMDLINE, (5, data), FIRST])


def dumped(**changes: object) -> str:
    return json.dumps({**default_metadata(), **changes})


TWICE = '{"ImageName":"b",' + dumped()[1:]
DEEP = dumped(CustomMetadata=0)[:-2] + "[" * 200 + "]" * 200 + "}"

BROKEN: dict[str, tuple[str, Callable[[], bytes]]] = {
    "empty file": ("header.truncated", lambda: b""),
    "547 bytes": ("header.truncated", lambda: IMAGE[:547]),
    "other magic": ("header.magic", lambda: header(magic=b".eiF")),
    "version 0": ("header.version", lambda: header(version=0)),
    "version 1": ("header.version", lambda: header(version=1)),
    "version 5": ("header.version", lambda: header(version=5)),
    "no section": ("header.section-count", lambda: header(section_count=0)),
    "one section": ("header.section-count", lambda: header(section_count=1)),
    "33 sections": ("header.section-count", lambda: header(section_count=33)),
    "unused entry": ("table.unused", lambda: header(sizes=(*unpack_header(IMAGE).sizes[:-1], 1))),
    "hidden section": ("file.trailing-bytes", lambda: header(section_count=4)),
    "overlap": ("table.order", lambda: table(1, offset=-1)),
    "unordered": ("table.order", lambda: table(2, offset=-200)),
    "first within the header": ("table.order", lambda: table(0, offset=-1)),
    "past 64 bits": ("table.range", lambda: table(4, size=2**64 - 1000)),
    "gap": ("table.gap", lambda: gap(2, 5)),
    "gap as large as a section": ("table.gap", lambda: gap(3, 12)),
    "tail of 11": ("file.trailing-bytes", lambda: with_crc(IMAGE + bytes(11))),
    "tail of a section": ("file.trailing-bytes", lambda: with_crc(IMAGE + bytes(12))),
    "one byte short": ("file.truncated", lambda: with_crc(IMAGE[:-1])),
    "header only": ("file.truncated", lambda: IMAGE[:548]),
    "wrong crc": ("file.crc", lambda: IMAGE[:544] + b"\0\0\0\1" + IMAGE[548:]),
    "type 0": ("section.type", lambda: assemble([*PARTS, (0, b"")])),
    "type 6": ("section.type", lambda: assemble([*PARTS, (6, b"x")])),
    "smaller in its header": ("section.size", lambda: section_size(0, 1)),
    "2^62 in its header": ("section.size", lambda: section_size(4, 2**62)),
    "2^64-12 in its header": ("section.size", lambda: section_size(4, 2**64 - 12)),
    "empty kernel": ("section.empty", lambda: build(small(kernel=b""))),
    "empty cmdline": ("section.empty", lambda: build(small(cmdline=b""))),
    "empty ramdisk": ("section.empty", lambda: build(small(ramdisks=[b"x", b""]))),
    "no kernel": ("kernel.missing", lambda: assemble([CMDLINE, METADATA])),
    "no cmdline": ("cmdline.missing", lambda: assemble([KERNEL, METADATA, FIRST])),
    "no ramdisk": ("ramdisk.missing", lambda: build(small(ramdisks=[]))),
    "no metadata": ("metadata.missing", lambda: assemble([KERNEL, CMDLINE, FIRST])),
    "two kernels": ("kernel.count", lambda: assemble([KERNEL, *PARTS])),
    "two cmdlines": ("cmdline.count", lambda: assemble([*PARTS, CMDLINE])),
    "two metadata": ("metadata.count", lambda: assemble([*PARTS, METADATA])),
    "two signatures": ("signature.count", lambda: assemble([*PARTS, SIGNATURE, SIGNATURE])),
    "ramdisk first": ("ramdisk.order", lambda: assemble([FIRST, KERNEL, CMDLINE, METADATA])),
    "metadata in version 3": ("section.version", lambda: assemble(PARTS, version=3)),
    "signature in version 2": (
        "section.version",
        lambda: assemble([KERNEL, CMDLINE, FIRST, SECOND, SIGNATURE], version=2),
    ),
    "large signature": ("signature.size", lambda: assemble([*PARTS, (4, bytes(32769))])),
    "large metadata": ("metadata.size", lambda: metadata(bytes((1 << 20) + 1))),
    "metadata empty": ("metadata.json", lambda: metadata("")),
    "metadata not json": ("metadata.json", lambda: metadata("{]")),
    "metadata not utf-8": ("metadata.json", lambda: metadata(b'"\xff"')),
    "metadata with bom": ("metadata.json", lambda: metadata("\ufeff" + dumped())),
    "metadata with NaN": ("metadata.json", lambda: metadata(dumped(CustomMetadata=float("nan")))),
    "metadata with 1e999": ("metadata.json", lambda: metadata(dumped()[:-5] + "1e999}")),
    "metadata with a long number": ("metadata.json", lambda: metadata("9" * 5000)),
    "metadata with half a pair": ("metadata.json", lambda: metadata(dumped(ImageName="\ud800"))),
    "metadata with a key twice": ("metadata.json", lambda: metadata(TWICE)),
    "metadata too deep": ("metadata.json", lambda: metadata(DEEP)),
    "metadata far too deep": ("metadata.json", lambda: metadata("[" * 500_000)),
    "metadata a list": ("metadata.shape", lambda: metadata("[]")),
    "metadata without a name": ("metadata.shape", lambda: metadata(dumped(ImageName=None))),
    "metadata without build": ("metadata.shape", lambda: metadata(dumped(BuildMetadata=[]))),
    "metadata without custom": ("metadata.shape", lambda: metadata('{"Cu' + dumped()[11:])),
}


def refused_for(image: bytes) -> str:
    with pytest.raises(ImageRefused) as refused:
        measure(image)
    return refused.value.reason


@pytest.mark.parametrize(("rule", "make"), BROKEN.values(), ids=list(BROKEN))
def test_rule__broken_alone__is_named(rule: str, make: Callable[[], bytes], tmp_path: Path) -> None:
    image = make()
    path = tmp_path / "image.eif"
    path.write_bytes(image)
    assert rule in {broken.rule for broken in inspect_file(path).broken}
    assert refused_for(image)


@pytest.mark.parametrize(
    "case",
    ["other magic", "overlap", "past 64 bits", "gap", "type 6", "wrong crc", "two kernels"],
)
def test_rule__broken_alone__is_the_reason(case: str) -> None:
    rule, make = BROKEN[case]
    assert refused_for(make()) == rule


def test_inspect__several_rules_broken__names_all(tmp_path: Path) -> None:
    path = tmp_path / "image.eif"
    path.write_bytes(assemble([FIRST, KERNEL, (6, b""), KERNEL], version=7)[:-1] + b"?")
    assert {broken.rule for broken in inspect_file(path).broken} >= {
        "header.version", "ramdisk.order", "section.type", "kernel.count", "cmdline.missing",
        "metadata.missing", "file.crc",
    }  # fmt: skip


def test_inspect__a_gap__still_measures_what_the_table_says(tmp_path: Path) -> None:
    path = tmp_path / "image.eif"
    path.write_bytes(IMAGE)
    whole = inspect_file(path)
    path.write_bytes(gap(2, 5))
    gapped = inspect_file(path)
    assert [broken.rule for broken in gapped.broken] == ["table.gap"]
    assert gapped.pcrs == whole.pcrs


@pytest.mark.parametrize(
    "text",
    ["null", dumped(Unknown=[1.5e300, {"a": "\U0001f600"}]), dumped(DockerInfo={"a": [1]})],
)
def test_metadata__what_aws_takes__is_taken(text: str) -> None:
    assert measure(metadata(text)).metadata == json.loads(text)


@pytest.mark.parametrize("version", [2, 3])
def test_older_version__without_metadata__is_taken(version: int) -> None:
    assert measure(build(small(version=version))).metadata is None


def test_header__reserved_bits_and_unused_fields__are_ignored() -> None:
    image = header(flags=0xFFFE, default_mem=2**64 - 1, default_cpus=0)
    assert measure(image).architecture == "x86_64"


def test_header__unpacked_and_packed__is_the_same() -> None:
    assert unpack_header(IMAGE).pack() == IMAGE[:548]


def test_refusal__its_text__names_rule_and_numbers() -> None:
    with pytest.raises(ImageRefused, match=r"table\.gap: 5 bytes before section 2 belong to no"):
        StreamingMeasurer().update(gap(2, 5))


def test_writer__thirty_two_sections__is_the_most() -> None:
    most = ImageSpec(b"k", b"c", [b"r"] * 29)
    assert measure(build(most)).size_bytes


def test_metadata__nested_deep_where_the_recursion_limit_was_raised__is_refused_not_a_crash(
    tmp_path: Path,
) -> None:
    """Libraries raise the limit (py-evm does); json's C scanner would then run off its stack."""
    nested = b'{"ImageName":' + b"[" * 500_000
    parts = [(1, b"kernel"), (2, b"cmdline"), (5, nested), (3, b"ramdisk")]
    path = tmp_path / "image.eif"
    path.write_bytes(assemble(parts))
    code = (
        "import sys; sys.setrecursionlimit(10**7); from pathlib import Path;"
        "from enclave.eif.measure import inspect_file;"
        "print({broken.rule for broken in inspect_file(Path(sys.argv[1])).broken})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-300:]
    assert "metadata.json" in done.stdout


@pytest.mark.parametrize("ending", [b"", b"\\"])
def test_metadata__a_mebibyte_of_escaped_quotes__is_refused_at_once(ending: bytes) -> None:
    parts = [(1, b"kernel"), (2, b"cmdline"), (5, b'"' + b'\\"' * 500_000 + ending), (3, b"disk")]
    assert refused_for(assemble(parts)) == "metadata.json"
