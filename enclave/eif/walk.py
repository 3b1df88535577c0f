"""Follow an image's table through its bytes, in pieces of any size, and judge what is met.

header -> (section header -> data) x n -> end. Every broken rule goes to `note`; a `note` that
raises stops the walk there, one that collects lets it go on for as long as sections can be told
apart. Nothing is kept but the header and the two small sections, whose sizes are judged first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from enclave.attest.pcr import certificate_pcr
from enclave.eif.format import (
    CRC_OFFSET,
    HEADER_BYTES,
    MEASURED,
    SECTION_HEADER_BYTES,
    Broken,
    Header,
    ImageRefused,
    Section,
    SectionType,
    end_faults,
    header_faults,
    missing_sections,
    read_section_header,
    section_faults,
    trailing_fault,
    unpack_header,
)
from enclave.eif.metadata import Json, read_metadata
from enclave.eif.pcr_sums import Hashes
from enclave.eif.signature import Signer, read_signature

# Below this, threads cost more than they bring.
THREADS_FROM_BYTES = 8 << 20


class Walk:
    """One pass over one file. `size_bytes`, when given, is judged as soon as the header is."""

    def __init__(
        self, note: Callable[[Broken], None], hashes: Hashes, size_bytes: int | None = None
    ) -> None:
        self.header: Header | None = None
        self.sections: list[Section] = []
        self.pcrs: dict[int, bytes] = {}
        self.metadata: dict[str, Json] | None = None
        self.signer: Signer | None = None
        self.position = 0
        self.unreadable = False
        self._note, self._hashes, self._size = note, hashes, size_bytes
        self._kept: dict[SectionType, bytearray] = {}
        self._collect(HEADER_BYTES, self._at_header)

    def feed(self, data: memoryview) -> None:
        """The next bytes of the file, which must not change any more."""
        body = data[max(0, HEADER_BYTES - self.position) :]
        rest = data
        while rest and not self.unreadable:
            piece, rest = rest[: self._left], rest[self._left :]
            self.position += len(piece)
            self._left -= len(piece)
            self._sink(piece)
            while not self._left and not self.unreadable:
                self._next()
        self._hashes.file(data)
        self._hashes.crc(body)

    def end(self) -> None:
        """There are no more bytes: judge what only the end shows."""
        self._hashes.finish()
        if self.header is None:
            self._guard(lambda: self._at_header(bytes(self._piece)))
        elif not self.unreadable:
            self._whole(self.header)

    # --- what comes next -----------------------------------------------------------------------

    def _expect(
        self, count: int, sink: Callable[[memoryview], None], then: Callable[[], None]
    ) -> None:
        self._left, self._sink, self._next = count, sink, then

    def _collect(self, count: int, then: Callable[[bytes], None]) -> None:
        self._piece = piece = bytearray()
        self._expect(count, piece.extend, lambda: then(bytes(piece)))

    def _at_header(self, raw: bytes) -> None:
        self.header = header = unpack_header(raw)
        self._note_all(header_faults(header, self._size))
        if self.unreadable:
            return
        if header.file_bytes >= THREADS_FROM_BYTES:
            self._hashes.start_threads()
        self._hashes.crc(memoryview(raw)[:CRC_OFFSET])
        self._to_section()

    def _to_section(self) -> None:
        """Skip a gap, which was noted with the header, and read the next section's header."""
        assert self.header is not None
        if len(self.sections) == self.header.section_count:
            self._expect(_FOREVER, self._at_trailing_bytes, self._to_section)
            return
        offset, _ = self.header.table[len(self.sections)]
        self._expect(offset - self.position, _ignore, self._to_section_header)

    def _to_section_header(self) -> None:
        self._collect(SECTION_HEADER_BYTES, self._at_section)

    def _at_section(self, raw: bytes) -> None:
        assert self.header is not None
        offset, size = self.header.table[len(self.sections)]
        section, faults = read_section_header(raw, offset, size)
        self._note_all(faults)
        self._note_all(section_faults(section, self.header.version, self.sections))
        self.sections.append(section)
        self._expect(size, self._sink_for(section), self._to_section)

    def _at_trailing_bytes(self, _: memoryview) -> None:
        """Noted at the first of them: a stranger's stream need not end."""
        self._note_all(trailing_fault(self.sections[-1].end))
        self._sink = _ignore

    def _sink_for(self, section: Section) -> Callable[[memoryview], None]:
        kind = section.type
        if kind in MEASURED:
            return self._hashes.section(kind)
        if kind is None or kind in self._kept or section.too_large:
            return _ignore
        self._kept[kind] = bytearray()
        return self._kept[kind].extend

    # --- what only the end shows ---------------------------------------------------------------

    def _whole(self, header: Header) -> None:
        if self.position < header.file_bytes:
            self._note_all(end_faults(header, self.position))
            return
        self._note_all(missing_sections(header.version, self.sections))
        if self._hashes.crc32 != header.crc32:
            text = f"the header says {header.crc32:08x}, the file sums to {self._hashes.crc32:08x}"
            self._note(Broken("file.crc", text))
        self.pcrs = self._hashes.pcrs()
        self._guard(self._read_metadata)
        self._guard(self._read_signature)

    def _read_metadata(self) -> None:
        if SectionType.METADATA in self._kept:
            self.metadata = read_metadata(bytes(self._kept[SectionType.METADATA]))

    def _read_signature(self) -> None:
        if SectionType.SIGNATURE not in self._kept:
            return
        signature = read_signature(bytes(self._kept[SectionType.SIGNATURE]))
        self.signer = signature.signer
        self.pcrs[8] = certificate_pcr(signature.certificate)
        self._note_all(signature.faults(self.pcrs[0]))

    def _guard(self, read: Callable[[], None]) -> None:
        try:
            read()
        except ImageRefused as error:
            self._note_all(error.broken)

    def _note_all(self, broken: Iterable[Broken]) -> None:
        for each in broken:
            self.unreadable = self.unreadable or each.hides_sections
            self._note(each)


# More bytes than a file can have.
_FOREVER = 1 << 64


def _ignore(_: memoryview) -> None:
    """What belongs to no section is summed and otherwise let go."""
