"""The signature section of an image: who signed, and whether it is this image that was signed.

    CBOR [ { "signing_certificate": [PEM as integers], "signature": [COSE_Sign1 as integers] } ]

over the payload {"register_index": 0, "register_value": [48 integers]} (`defs/mod.rs:PcrSignature`,
`utils/eif_signer.rs`). AWS's precheck verifies the signature and not that the signed PCR0 is the
image's; both are asked here. Like there, no chain or usage is looked at: self-signed is normal. An
empty array and short signatures, which make AWS's reader panic, are refused, and so is every
reading on which it and this module could choose different certificates.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from enclave.attest import cose
from enclave.attest.cbor import CborRefused, Value, decode
from enclave.attest.certificates import UNREADABLE
from enclave.eif.format import Broken, ImageRefused
from enclave.shown import shown

_FIELDS = {"signing_certificate", "signature"}
# From the first "-----BEGIN", which must start a line: where OpenSSL begins to read as well.
_PEM = re.compile(
    rb"-----BEGIN CERTIFICATE-----\r?\n([A-Za-z0-9+/=\r\n]+)-----END CERTIFICATE-----"
)


@dataclass(frozen=True)
class Signer:
    """The signing certificate, for whoever asks: nobody vouches for the names in it."""

    subject: str
    curve: str
    sha256: str
    not_before: float
    not_after: float


@dataclass(frozen=True)
class ImageSignature:
    """A parsed signature section; `certificate` is DER, times are Unix seconds."""

    certificate: bytes
    signer: Signer
    signature: cose.Sign1
    key: ec.EllipticCurvePublicKey

    def faults(self, pcr0: bytes) -> Iterator[Broken]:
        """Why this does not sign the image that measures `pcr0`; nothing when it does."""
        try:
            self.signature.verify(self.key)
        except cose.CoseRefused as error:
            yield Broken("signature.invalid", f"by {self.signer.subject}: {error}")
        if self.signature.payload != signed_payload(pcr0):
            text = "what was signed is not this image's PCR0; sign the image as it is"
            yield Broken("signature.other-image", text)


def signed_payload(pcr0: bytes) -> bytes:
    """What a signature of an image with this PCR0 signs, byte for byte."""
    return cbor2.dumps({"register_index": 0, "register_value": list(pcr0)})


def read_signature(section: bytes) -> ImageSignature:
    """The section's one signature, parsed and not yet checked; raises ImageRefused."""
    pem, signed = _entry(section)
    der, key, signer = _certificate(pem)
    try:
        return ImageSignature(der, signer, cose.parse(signed), key)
    except cose.CoseRefused as error:
        _refuse("signature.cose", f"the signature is not a COSE_Sign1: {error}")


def _entry(section: bytes) -> tuple[bytes, bytes]:
    try:
        entries = decode(section)
    except CborRefused as error:
        _refuse("signature.cbor", f"{error}")
    if not isinstance(entries, list) or len(entries) != 1:
        _refuse("signature.entries", "it must be an array of one signature")
    entry = entries[0]
    if not isinstance(entry, dict) or set(entry) != _FIELDS:
        _refuse("signature.entries", f"an entry must have {' and '.join(sorted(_FIELDS))}")
    return _octets(entry["signing_certificate"]), _octets(entry["signature"])


def _octets(value: Value) -> bytes:
    if not isinstance(value, list):
        _refuse("signature.entries", "certificate and signature must be arrays of integers")
    octets = [item for item in value if type(item) is int and 0 <= item <= 255]
    if len(octets) != len(value):
        _refuse("signature.entries", "certificate and signature must hold integers of 0 to 255")
    return bytes(octets)


def _first_der(pem: bytes) -> bytes:
    start = pem.find(b"-----BEGIN")
    found = _PEM.match(pem, start) if start >= 0 else None
    if not found or (start and pem[start - 1 : start] != b"\n"):
        _refuse("signature.certificate", "the first PEM block is not a plain CERTIFICATE")
    try:
        return base64.b64decode(re.sub(rb"[\r\n]", b"", found[1]), validate=True)
    except binascii.Error as error:
        _refuse("signature.certificate", f"its PEM is not base64: {error}")


def _certificate(pem: bytes) -> tuple[bytes, ec.EllipticCurvePublicKey, Signer]:
    try:
        certificate = x509.load_der_x509_certificate(_first_der(pem))
        der = certificate.public_bytes(Encoding.DER)
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            _refuse("signature.certificate", "the certificate's key is not an elliptic curve's")
        return der, key, _signer(certificate, key.curve.name, der)
    except UNREADABLE as error:
        _refuse("signature.certificate", f"the certificate cannot be read: {error}"[:200])


def _signer(certificate: x509.Certificate, curve: str, der: bytes) -> Signer:
    return Signer(
        subject=shown(certificate.subject.rfc4514_string()),
        curve=curve,
        sha256=hashlib.sha256(der).hexdigest(),
        not_before=certificate.not_valid_before_utc.timestamp(),
        not_after=certificate.not_valid_after_utc.timestamp(),
    )


def _refuse(rule: str, text: str) -> NoReturn:
    raise ImageRefused(Broken(rule, f"signature section: {text}"))
