"""Platform configuration registers, as the Nitro secure module extends them.

    PCRn = SHA384(48 zero bytes || digest)

aws-nitro-enclaves-image-format, `defs/eif_hasher.rs`.
"""

from __future__ import annotations

import hashlib

PCR_BYTES = 48


def extended(digest: bytes) -> bytes:
    """A PCR that was zeros, after it was extended with `digest`."""
    return hashlib.sha384(bytes(PCR_BYTES) + digest).digest()


def certificate_pcr(der: bytes) -> bytes:
    """PCR8 of an image that the certificate with this DER signed."""
    return extended(hashlib.sha384(der).digest())
