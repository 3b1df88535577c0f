"""The Enclave Image Format, versions 2 to 4: the header, its table, and the rules of both.

    EifHeader (548 bytes) | { section header (12 bytes) | data } x num_sections     big-endian

Read by the table; facts from aws/aws-nitro-enclaves-image-format (`src/defs/mod.rs`, README). AWS's
own reader ignores the table and walks the file, QEMU follows it, the README is a third opinion; an
image is launched only when all three see the same sections. So each rule here is the strictest of
the three, above all `table.gap`: without gaps and without a tail their three notions of the CRC
coincide, and nothing can be measured by one reader and hidden from another.

This module judges what the header and the section headers say. `measure.py` reads the data.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum

from enclave.eif.other_files import looks_like
from faults import Refused

MAGIC = b".eif"
HEADER_BYTES = 548
SECTION_HEADER_BYTES = 12
CRC_OFFSET = 544
MAX_SECTIONS = 32
# defs/mod.rs: SIGNATURE_MAX_SIZE, stated in the README and enforced here.
MAX_SIGNATURE_BYTES = 32768
# Ours: the metadata is the one other section held in memory. AWS caps the user's part at 4096
# bytes; the rest is what `docker inspect` prints, tens of kilobytes at most.
MAX_METADATA_BYTES = 1 << 20
VERSIONS = range(2, 5)
FLAG_ARM64 = 1

_HEADER = struct.Struct(">4sHHQQHH32Q32QII")
_SECTION = struct.Struct(">HHQ")
_TOP = 1 << 64


class SectionType(IntEnum):
    """`defs/mod.rs:EifSectionType`."""

    KERNEL = 1
    CMDLINE = 2
    RAMDISK = 3
    SIGNATURE = 4
    METADATA = 5


_TYPES = {member.value: member for member in SectionType}
# The version that brought each type in.
SINCE = {SectionType.SIGNATURE: 3, SectionType.METADATA: 4}
# The sections that are held in memory, and their most bytes.
HELD = {SectionType.SIGNATURE: MAX_SIGNATURE_BYTES, SectionType.METADATA: MAX_METADATA_BYTES}
# Empty ones cannot boot (QEMU refuses them too).
MEASURED = frozenset({SectionType.KERNEL, SectionType.CMDLINE, SectionType.RAMDISK})


@dataclass(frozen=True)
class Broken:
    """One rule that a file breaks: a stable slug and a sentence about this file."""

    rule: str
    text: str

    @property
    def hides_sections(self) -> bool:
        """Whether sections cannot be told apart any more, so that nothing can be measured."""
        return self.rule in UNREADABLE


# After these there is no telling where a section begins.
UNREADABLE = frozenset({
    "header.magic", "header.truncated", "header.section-count", "table.order", "table.range",
})  # fmt: skip


class ImageRefused(Refused):
    """The file is not an image that may be launched; `broken` says by which rules."""

    def __init__(self, *broken: Broken) -> None:
        super().__init__("; ".join(f"{each.rule}: {each.text}" for each in broken))
        self.broken = broken

    @property
    def reason(self) -> str:
        """The slug of the first broken rule."""
        return self.broken[0].rule


@dataclass(frozen=True)
class Header:
    """The 548 bytes, as they are. Offsets are of section headers, sizes of the data alone."""

    magic: bytes
    version: int
    flags: int
    default_mem: int
    default_cpus: int
    section_count: int
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    crc32: int

    @property
    def is_eif(self) -> bool:
        """Whether it begins as an image does; if not, no field means anything."""
        return self.magic == MAGIC

    @property
    def architecture(self) -> str:
        """In EC2's words."""
        return "arm64" if self.flags & FLAG_ARM64 else "x86_64"

    @property
    def table(self) -> tuple[tuple[int, int], ...]:
        """(offset, size) of each section in use."""
        return tuple(zip(self.offsets, self.sizes, strict=True))[: self.section_count]

    @property
    def file_bytes(self) -> int:
        """Where the last section ends, which is where the file has to end."""
        offset, size = self.table[-1]
        return offset + SECTION_HEADER_BYTES + size

    def pack(self) -> bytes:
        """The bytes again."""
        return _HEADER.pack(
            self.magic, self.version, self.flags, self.default_mem, self.default_cpus, 0,
            self.section_count, *self.offsets, *self.sizes, 0, self.crc32,
        )  # fmt: skip


@dataclass(frozen=True)
class Section:
    """One section: `type` is None for a number that is not defined."""

    number: int
    offset: int
    size_bytes: int

    @property
    def type(self) -> SectionType | None:
        return _TYPES.get(self.number)

    @property
    def name(self) -> str:
        return self.type.name.lower() if self.type else f"type {self.number}"

    @property
    def end(self) -> int:
        """The offset of the byte after it."""
        return self.offset + SECTION_HEADER_BYTES + self.size_bytes

    @property
    def too_large(self) -> bool:
        return self.type in HELD and self.size_bytes > HELD[self.type]


def unpack_header(raw: bytes) -> Header:
    """The header in the first 548 bytes, unjudged; raises ImageRefused when there are fewer."""
    if len(raw) < HEADER_BYTES:
        raise ImageRefused(
            Broken(
                "header.truncated",
                f"{len(raw)} bytes are fewer than the header's 548{_seems(raw)}",
            )
        )
    magic, version, flags, mem, cpus, _reserved, count, *rest = _HEADER.unpack(raw[:HEADER_BYTES])
    offsets, sizes = tuple(rest[:MAX_SECTIONS]), tuple(rest[MAX_SECTIONS : 2 * MAX_SECTIONS])
    return Header(magic, version, flags, mem, cpus, count, offsets, sizes, rest[-1])


def _seems(first: bytes) -> str:
    said = looks_like(first)
    return f"; this is {said}" if said else ""


def header_faults(header: Header, size_bytes: int | None = None) -> Iterator[Broken]:
    """What the header says wrong, and against the file's size where that is known."""
    if not header.is_eif:
        text = f"it begins with {header.magic.hex()} instead of 2e656966{_seems(header.pack())}"
        yield Broken("header.magic", text)
        return
    if header.version not in VERSIONS:
        yield Broken("header.version", f"version {header.version} is not 2, 3 or 4")
    if not 2 <= header.section_count <= MAX_SECTIONS:
        yield Broken("header.section-count", f"{header.section_count} sections are not 2 to 32")
        return
    yield from _table_faults(header)
    if size_bytes is not None:
        yield from end_faults(header, size_bytes)


def end_faults(header: Header, size_bytes: int) -> Iterator[Broken]:
    """The file must end where its last section does."""
    if size_bytes < header.file_bytes:
        yield Broken("file.truncated", f"{size_bytes} of {header.file_bytes} bytes are there")
    if size_bytes > header.file_bytes:
        yield from trailing_fault(header.file_bytes)


def trailing_fault(end: int) -> Iterator[Broken]:
    """Something follows the last section, which ends at `end`."""
    yield Broken("file.trailing-bytes", f"there are bytes after {end}, where the last section ends")


def _table_faults(header: Header) -> Iterator[Broken]:
    expected = HEADER_BYTES
    for index, (offset, size) in enumerate(header.table):
        end = offset + SECTION_HEADER_BYTES + size
        if offset < expected:
            text = f"section {index} at {offset} overlaps or precedes what ends at {expected}"
            yield Broken("table.order", text)
        if offset > expected:
            text = f"{offset - expected} bytes before section {index} belong to no section"
            yield Broken("table.gap", text)
        if end >= _TOP:
            yield Broken("table.range", f"section {index} ends at {end}, past 64 bits")
        expected = end
    if any(header.offsets[header.section_count :]) or any(header.sizes[header.section_count :]):
        yield Broken("table.unused", "entries beyond the number of sections are not zero")


def read_section_header(raw: bytes, offset: int, listed: int) -> tuple[Section, Iterable[Broken]]:
    """The section whose 12 bytes are at `offset`, and what disagrees with its table entry.

    The size is the table's. AWS's eif_sign leaves the table stale when it signs a second time
    (aws-nitro-enclaves-image-format, issue 54); such a file is refused here too.
    """
    number, _flags, size = _SECTION.unpack(raw)
    section = Section(number, offset, listed)
    if size == listed:
        return section, ()
    text = f"the table says {listed} bytes and the {section.name} section's header {size}"
    if section.type is SectionType.SIGNATURE:
        text += " (signed again by an eif_sign that forgets the table: build and sign anew)"
    return section, (Broken("section.size", text),)


def section_faults(section: Section, version: int, before: Iterable[Section]) -> Iterator[Broken]:
    """What is wrong with meeting `section` after `before` in an image of this version."""
    if section.type is None:
        yield Broken("section.type", f"{section.name} is not a section type")
        return
    if version < SINCE.get(section.type, 0):
        since = SINCE[section.type]
        text = f"a {section.name} section came with version {since}, this is version {version}"
        yield Broken("section.version", text)
    if section.type is not SectionType.RAMDISK and section.type in {each.type for each in before}:
        yield Broken(f"{section.name}.count", f"there is more than one {section.name} section")
    if section.type in MEASURED and not section.size_bytes:
        yield Broken("section.empty", f"the {section.name} section at {section.offset} is empty")
    if section.type is SectionType.RAMDISK and SectionType.KERNEL not in {b.type for b in before}:
        yield Broken("ramdisk.order", "a ramdisk precedes the kernel")
    if section.too_large:
        text = f"{section.size_bytes} bytes are more than {HELD[section.type]}"
        yield Broken(f"{section.name}.size", text)


def missing_sections(version: int, sections: Iterable[Section]) -> Iterator[Broken]:
    """What an image of this version needs and this one has not."""
    counts = Counter(section.type for section in sections)
    needed = [SectionType.KERNEL, SectionType.CMDLINE, SectionType.RAMDISK]
    if version >= SINCE[SectionType.METADATA]:
        needed.append(SectionType.METADATA)
    for each in needed:
        if not counts[each]:
            name = each.name.lower()
            yield Broken(f"{name}.missing", f"there is no {name} section")
