"""Whether an image brings a kernel that can be booted here, told by its first bytes alone."""

from __future__ import annotations

import os
from pathlib import Path

from enclave.eif.format import (
    HEADER_BYTES,
    SECTION_HEADER_BYTES,
    ImageRefused,
    SectionType,
    unpack_header,
)

# Of x86's boot protocol (linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").
_MAGIC_AT, _MAGIC = 0x202, b"HdrS"


def brings_kernel(image: Path) -> bool:
    """Whether its kernel section is a Linux bzImage. Raises OSError."""
    with image.open("rb") as file:
        descriptor = file.fileno()
        try:
            header = unpack_header(os.pread(descriptor, HEADER_BYTES, 0))
        except ImageRefused:
            return False
        for offset, _ in header.table:
            if os.pread(descriptor, 2, offset) == SectionType.KERNEL.to_bytes(2):
                at = offset + SECTION_HEADER_BYTES + _MAGIC_AT
                return os.pread(descriptor, len(_MAGIC), at) == _MAGIC
    return False
