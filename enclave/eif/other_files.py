"""What is given for an enclave image by mistake, told by its first bytes.

An image that was packed, or put into an archive; what stands for it (a pointer of Git LFS, the CAR
of its blocks, its text in base64); a page about it. Nothing is done with any of them.
"""

from __future__ import annotations

from typing import Final

_BEGINS: Final = (
    (b"\x1f\x8b", "a gzip file, which is not unpacked"),
    (b"\xfd7zXZ\0", "an xz file, which is not unpacked"),
    (b"\x28\xb5\x2f\xfd", "a zstd file, which is not unpacked"),
    (b"BZh", "a bzip2 file, which is not unpacked"),
    (b"PK\x03\x04", "a zip archive, which is not unpacked"),
    (b"7z\xbc\xaf", "a 7z archive, which is not unpacked"),
    (b"version https://git-lfs", "a pointer of Git LFS: the file itself is elsewhere"),
    (b"\x0a\xa1gversion\x02", "a CAR of blocks: import it, and name the CID of its root"),
    (b"\x7fELF", "a program or a kernel (ELF)"),
    (b"QFI\xfb", "a disk image (qcow2)"),
    (b"LmVpZ", "text in base64"),
    (b"<", "a page (HTML or XML)"),
    (b"{", "JSON"),
)
_TAR: Final = slice(257, 262)


def looks_like(first: bytes) -> str:
    """What a file that begins with these bytes seems to be, in words; empty: nothing known."""
    if first[1:8] == b"\xa2eroots":  # behind the length of its header
        return "a CAR of blocks: import it, and name the CID of its root"
    if first[_TAR] == b"ustar":
        return "a tar archive (of a container, perhaps), which is not unpacked"
    return next((said for begin, said in _BEGINS if first.startswith(begin)), "")
