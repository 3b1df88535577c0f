"""Measure an enclave image in one pass over its bytes, as they arrive or from a file.

The rules are in `eif.py`, the walk in `eif_walk.py`, the sums in `eif_hash.py`; this is the door.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from enclave.eif.format import Broken, Header, ImageRefused, Section
from enclave.eif.metadata import Json
from enclave.eif.pcr_sums import Hashes
from enclave.eif.signature import Signer
from enclave.eif.walk import Walk

MIB = 1 << 20
# Enclave memory must be at least four times the image (nitro-cli run-enclave's own rule).
MEMORY_FACTOR = 4
_READ_BYTES = MIB


@dataclass(frozen=True)
class Measured:
    """An image that keeps every rule, measured.

    `pcrs` maps 0, 1 and 2, and 8 when signed, to lower-case hex; `sha256` is the whole file's, in
    hex; `architecture` is in EC2's words; `version` is the format's. What `metadata` says, name
    and version of the image included, was written by its builder and is measured by nothing.
    """

    size_bytes: int
    sha256: str
    pcrs: Mapping[int, str]
    architecture: str
    version: int
    metadata: Mapping[str, Json] | None = field(repr=False)
    signer: Signer | None

    @property
    def signed(self) -> bool:
        """Whether there is a signature; it was then checked, and against this PCR0."""
        return self.signer is not None

    @property
    def image_name(self) -> str | None:
        """What the builder called it; any text at all."""
        return self._text("ImageName")

    @property
    def image_version(self) -> str | None:
        """The builder's version of it; any text at all."""
        return self._text("ImageVersion")

    @property
    def min_enclave_memory_mib(self) -> int:
        """The least memory an enclave of this image needs."""
        return min_enclave_memory_mib(self.size_bytes)

    def require_signer_valid_at(self, now: float) -> None:
        """nitro-cli refuses to run an image whose signing certificate is out of date.

        `now` is Unix seconds. Raises ImageRefused; never for an unsigned image.
        """
        if broken := signer_date_fault(self.signer, now):
            raise ImageRefused(broken)

    def _text(self, key: str) -> str | None:
        value = (self.metadata or {}).get(key)
        return value if isinstance(value, str) else None


@dataclass(frozen=True)
class Inspection:
    """What one pass found, whether or not the image may be launched: `broken` says why not.

    `header` is None for fewer than 548 bytes; `pcrs` (as in Measured) are empty when sections
    cannot be told apart or are cut short.
    """

    size_bytes: int
    header: Header | None
    sections: tuple[Section, ...]
    pcrs: Mapping[int, str]
    metadata: Mapping[str, Json] | None
    signer: Signer | None
    broken: tuple[Broken, ...]


class StreamingMeasurer:
    """Measures an image while it arrives: `update` in file order, then `finish`.

    Raises ImageRefused from the call that meets the first broken rule: a bad header is refused as
    soon as its 548 bytes are there, also for a total size other than `size_bytes` where that is
    given. To give up before `finish` returned, call `close` or leave the `with` block.
    """

    def __init__(self, *, size_bytes: int | None = None) -> None:
        self._hashes = Hashes(sha256=True)
        self._refusal = _Refusal()
        self._walk = Walk(self._refusal, self._hashes, size_bytes)

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes. A view of anything but `bytes` is copied, as it may change."""
        self._refusal.again()
        stable = data if isinstance(data, bytes) or type(data.obj) is bytes else bytes(data)
        self._walk.feed(memoryview(stable).cast("B"))

    def finish(self) -> Measured:
        """The measurements of the whole image; raises ImageRefused."""
        self._refusal.again()
        walk = self._walk
        walk.end()
        if walk.header is None:
            raise AssertionError("a walk without a header ends in a refusal")
        return Measured(
            size_bytes=walk.position,
            sha256=self._hashes.sha256,
            pcrs=_hex(walk.pcrs),
            architecture=walk.header.architecture,
            version=walk.header.version,
            metadata=walk.metadata,
            signer=walk.signer,
        )

    def close(self) -> None:
        """Let the threads go. Calling it at any time, and twice, is fine."""
        self._hashes.abandon()

    def __enter__(self) -> StreamingMeasurer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        # When the interpreter ends, threads no longer run and a lock may be held for ever.
        if not sys.is_finalizing():
            self.close()


class _Refusal:
    """Refuses at the first broken rule, and from then on. Apart, so that a measurer that nobody
    holds any more is in no cycle of references and ends its threads at once."""

    def __init__(self) -> None:
        self._error: ImageRefused | None = None

    def __call__(self, broken: Broken) -> NoReturn:
        self._error = ImageRefused(broken)
        raise self._error

    def again(self) -> None:
        if self._error:
            raise self._error


def measure_file(path: Path) -> Measured:
    """Measure the image at `path`; raises ImageRefused, and OSError when it cannot be read."""
    with StreamingMeasurer(size_bytes=path.stat().st_size) as measurer:
        _read(path, measurer.update)
        return measurer.finish()


def inspect_file(path: Path) -> Inspection:
    """All there is to say of the file at `path`, bar its SHA-256; raises OSError only."""
    broken: list[Broken] = []
    hashes = Hashes(sha256=False)
    walk = Walk(broken.append, hashes)
    try:
        _read(path, lambda data: walk.feed(memoryview(data)), until=lambda: walk.unreadable)
        walk.end()
    finally:
        hashes.abandon()
    return Inspection(
        size_bytes=path.stat().st_size if walk.unreadable else walk.position,
        header=walk.header,
        sections=tuple(walk.sections),
        pcrs=_hex(walk.pcrs),
        metadata=walk.metadata,
        signer=walk.signer,
        broken=tuple(broken),
    )


def min_enclave_memory_mib(size_bytes: int) -> int:
    """The least memory in MiB, rounded up, for an enclave of an image of this size."""
    return -(-MEMORY_FACTOR * size_bytes // MIB)


def signer_date_fault(signer: Signer | None, now: float) -> Broken | None:
    """The rule broken when the signing certificate is out of date at `now`, Unix seconds."""
    if signer is None or signer.not_before <= now <= signer.not_after:
        return None
    state = "not valid yet" if now < signer.not_before else "no longer valid"
    text = f"the signing certificate ({signer.subject}) is {state}, so nitro-cli won't run it"
    return Broken("signature.dates", text)


def _read(path: Path, take: Callable[[bytes], None], until: Callable[[], bool] = bool) -> None:
    with path.open("rb", buffering=0) as file:
        while not until() and (data := file.read(_READ_BYTES)):
            take(data)


def _hex(pcrs: Mapping[int, bytes]) -> dict[int, str]:
    return {number: value.hex() for number, value in sorted(pcrs.items())}
