"""The sums of one pass over an image: PCR0, PCR1, PCR2, the CRC, and SHA-256 of the whole file.

    PCRn = SHA384(48 zero bytes || SHA384(content_n))

content_0 is kernel, cmdline and all ramdisks in file order, content_1 the same without the later
ramdisks, content_2 the later ramdisks (aws-nitro-enclaves-image-format, `utils/mod.rs:get_pcrs`,
`defs/eif_hasher.rs`). PCR1 is a copy of PCR0's state where the second ramdisk begins, so no byte
goes through SHA-384 more than twice, and those two run side by side.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from isal import isal_zlib

from enclave.attest.pcr import extended
from enclave.eif.format import SectionType
from enclave.eif.hash_lanes import Lane


class Hashes:
    """All sums, fed by the walk; results are there after `finish`. Data must not change later."""

    def __init__(self, *, sha256: bool) -> None:
        self._whole, self._later, self._sums = self._lanes = (Lane(), Lane(), Lane())
        self._h0, self._h2 = hashlib.sha384(), hashlib.sha384()
        self._h1: hashlib._Hash | None = None
        self._sha256 = hashlib.sha256() if sha256 else None
        self._ramdisks = 0
        self._crc = 0

    def start_threads(self) -> None:
        """Work in parallel from here on: worth it for large images."""
        for lane in self._lanes:
            lane.start()

    def file(self, data: memoryview) -> None:
        """The next bytes of the file, all of them, for SHA-256."""
        if self._sha256 is not None:
            self._sums.do(self._sha256.update, data)

    def crc(self, data: memoryview) -> None:
        """The next bytes that the CRC covers."""
        self._sums.do(self._add_crc, data)

    def section(self, kind: SectionType) -> Callable[[memoryview], None]:
        """Where the data of the next kernel, cmdline or ramdisk section goes."""
        if kind is SectionType.RAMDISK:
            self._ramdisks += 1
            if self._ramdisks > 1:
                self._whole.do(self._part, b"")
                return self._to_later
        return self._to_first

    def finish(self) -> None:
        """Wait for the lanes."""
        for lane in self._lanes:
            lane.finish()

    def abandon(self) -> None:
        """Let the lanes end, without waiting."""
        for lane in self._lanes:
            lane.abandon()

    def pcrs(self) -> dict[int, bytes]:
        """PCR0, PCR1 and PCR2 of what was fed."""
        states = {0: self._h0, 1: self._h1 or self._h0, 2: self._h2}
        return {number: extended(state.digest()) for number, state in states.items()}

    @property
    def crc32(self) -> int:
        return self._crc

    @property
    def sha256(self) -> str:
        """Hex; empty when it was not asked for."""
        return self._sha256.hexdigest() if self._sha256 else ""

    def _part(self, _: object) -> None:
        """PCR1 leaves PCR0: only the first time."""
        self._h1 = self._h1 or self._h0.copy()

    def _to_first(self, data: memoryview) -> None:
        self._whole.do(self._update_first, data)

    def _update_first(self, data: bytes | memoryview) -> None:
        self._h0.update(data)
        if self._h1 is not None:
            self._h1.update(data)

    def _to_later(self, data: memoryview) -> None:
        self._whole.do(self._h0.update, data)
        self._later.do(self._h2.update, data)

    def _add_crc(self, data: bytes | memoryview) -> None:
        self._crc = isal_zlib.crc32(data, self._crc)
