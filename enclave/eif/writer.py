"""Write enclave images: for tests, the devnet and the benchmarks, as AWS's builder lays them out.

kernel, cmdline, metadata (version 4), ramdisks, signature, without gaps
(`utils/mod.rs:EifBuilder::{sections_offsets,write_to}`). `assemble` takes any sections in any
order, so that a test can also write what no builder would.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from enclave.attest import cose
from enclave.attest.pcr import extended
from enclave.eif.format import (
    CRC_OFFSET,
    FLAG_ARM64,
    HEADER_BYTES,
    MAGIC,
    MAX_SECTIONS,
    SECTION_HEADER_BYTES,
    Header,
    SectionType,
)
from enclave.eif.metadata import Json
from enclave.eif.signature import signed_payload

# What AWS's builder writes into the two fields that nobody reads.
DEFAULT_MEM = 1 << 30
DEFAULT_CPUS = 2

Part = tuple[int, bytes]


@dataclass(frozen=True)
class SigningKey:
    """An image signer: an EC key and its certificate in PEM."""

    key: ec.EllipticCurvePrivateKey
    certificate_pem: bytes


def default_metadata(name: str = "image", version: str = "1") -> dict[str, Json]:
    """Metadata with the keys that AWS's reader asks for."""
    return {
        "ImageName": name,
        "ImageVersion": version,
        "BuildMetadata": {
            "BuildTime": "2026-01-01T00:00:00+00:00",
            "BuildTool": "oyster-provider",
            "BuildToolVersion": "0",
            "OperatingSystem": "Linux",
            "KernelVersion": "4.14",
        },
        "DockerInfo": None,
        "CustomMetadata": None,
    }


@dataclass(frozen=True)
class ImageSpec:
    """What goes into an image. Metadata goes in from version 4 on, a signature from version 3."""

    kernel: bytes
    cmdline: bytes
    ramdisks: Sequence[bytes]
    version: int = 4
    arm64: bool = False
    metadata: Mapping[str, Json] | None = field(default_factory=default_metadata)
    signer: SigningKey | None = None


def build(spec: ImageSpec) -> bytes:
    """The image file."""
    parts: list[Part] = [(SectionType.KERNEL, spec.kernel), (SectionType.CMDLINE, spec.cmdline)]
    if spec.version >= 4:
        text = json.dumps(spec.metadata, separators=(",", ":"), ensure_ascii=False)
        parts.append((SectionType.METADATA, text.encode()))
    parts += [(SectionType.RAMDISK, ramdisk) for ramdisk in spec.ramdisks]
    if spec.signer:
        measured = [spec.kernel, spec.cmdline, *spec.ramdisks]
        parts.append((SectionType.SIGNATURE, signature_section(spec.signer, pcr(measured))))
    return assemble(parts, version=spec.version, flags=FLAG_ARM64 if spec.arm64 else 0)


def assemble(parts: Sequence[Part], *, version: int = 4, flags: int = 0) -> bytes:
    """A file of these (type, data) sections in this order, gapless and with its CRC."""
    sizes = [len(data) for _, data in parts]
    offsets = [
        HEADER_BYTES + sum(sizes[:index]) + SECTION_HEADER_BYTES * index
        for index in range(len(parts))
    ]
    header = Header(
        MAGIC, version, flags, DEFAULT_MEM, DEFAULT_CPUS, len(parts),
        _padded(offsets), _padded(sizes), 0,
    )  # fmt: skip
    body = [struct.pack(">HHQ", kind, 0, len(data)) + data for kind, data in parts]
    return with_crc(b"".join([header.pack(), *body]))


def with_crc(image: bytes) -> bytes:
    """`image` with the CRC that its bytes have: after a test has changed some."""
    crc = zlib.crc32(image[HEADER_BYTES:], zlib.crc32(image[:CRC_OFFSET]))
    return image[:CRC_OFFSET] + crc.to_bytes(4) + image[HEADER_BYTES:]


def pcr(contents: Sequence[bytes]) -> bytes:
    """The PCR of what these contents make up together."""
    return extended(hashlib.sha384(b"".join(contents)).digest())


def signature_section(signer: SigningKey, pcr0: bytes) -> bytes:
    """The data of a signature section for an image that measures `pcr0`."""
    signature = cose.sign(signed_payload(pcr0), signer.key)
    entry = {"signing_certificate": list(signer.certificate_pem), "signature": list(signature)}
    return cbor2.dumps([entry])


def make_signer(
    name: str = "image signer",
    *,
    curve: ec.EllipticCurve | None = None,
    not_before: float = 1_577_836_800,
    not_after: float = 4_102_444_800,
) -> SigningKey:
    """A new self-signed signer, P-384 unless told; dates in Unix seconds, 2020 to 2100."""
    key = ec.generate_private_key(curve or ec.SECP384R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(_date(not_before))
        .not_valid_after(_date(not_after))
        .sign(key, hashes.SHA384())
    )
    return SigningKey(key, certificate.public_bytes(Encoding.PEM))


def _date(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _padded(values: Sequence[int]) -> tuple[int, ...]:
    return (*values, *[0] * MAX_SECTIONS)[:MAX_SECTIONS]
