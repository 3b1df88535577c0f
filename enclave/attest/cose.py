"""COSE_Sign1 (RFC 9052, section 4.2) with ECDSA, as Nitro documents and image signatures use it.

Only what they write is read: untagged, definite lengths, shortest encodings, an empty unprotected
map and nothing but the algorithm in the protected one. Outside the signature itself there is then
no byte that can change without the verdict changing; (r, n-s) beside (r, s) remains, by ECDSA.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cbor2
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from enclave.attest.cbor import CborRefused, decode
from faults import Refused


class CoseRefused(Refused):
    """Not a COSE_Sign1 of the accepted form, or its signature does not verify."""


class Algorithm(NamedTuple):
    """An ECDSA algorithm: its COSE number (RFC 9053, table 1), curve, hash, bytes of r and of s."""

    number: int
    curve: str
    digest: hashes.HashAlgorithm
    width: int


ES256 = Algorithm(-7, "secp256r1", hashes.SHA256(), 32)
ES384 = Algorithm(-35, "secp384r1", hashes.SHA384(), 48)
ES512 = Algorithm(-36, "secp521r1", hashes.SHA512(), 66)
_BY_CURVE = {algorithm.curve: algorithm for algorithm in (ES256, ES384, ES512)}


def algorithm_for(key: ec.EllipticCurvePublicKey) -> Algorithm:
    """The algorithm that goes with the key's curve; raises CoseRefused for any other curve."""
    try:
        return _BY_CURVE[key.curve.name]
    except KeyError as error:
        raise CoseRefused(f"the curve {key.curve.name} is not P-256, P-384 or P-521") from error


@dataclass(frozen=True)
class Sign1:
    """A parsed and not yet verified COSE_Sign1."""

    protected: bytes
    algorithm: int
    payload: bytes
    signature: bytes

    def verify(self, key: ec.EllipticCurvePublicKey) -> None:
        """Return if `key` signed this with its curve's algorithm; raises CoseRefused."""
        algorithm = algorithm_for(key)
        if self.algorithm != algorithm.number:
            raise CoseRefused(
                f"it names the algorithm {self.algorithm}, the key is for {algorithm.number}"
            )
        if len(self.signature) != 2 * algorithm.width:
            raise CoseRefused(
                f"the signature has {len(self.signature)} bytes instead of {2 * algorithm.width}"
            )
        try:
            key.verify(
                encode_dss_signature(*_halves(self.signature)),
                _signed(self.protected, self.payload),
                ec.ECDSA(algorithm.digest),
            )
        except InvalidSignature as error:
            raise CoseRefused("the signature does not verify") from error


def parse(data: bytes) -> Sign1:
    """The COSE_Sign1 that `data` is; raises CoseRefused."""
    try:
        outer = decode(data)
        if not isinstance(outer, list) or len(outer) != 4:
            raise CoseRefused("it is not an array of four")
        protected, unprotected, payload, signature = outer
        if not (
            isinstance(protected, bytes)
            and isinstance(payload, bytes)
            and isinstance(signature, bytes)
        ):
            raise CoseRefused("protected header, payload and signature must be byte strings")
        if unprotected != {}:
            raise CoseRefused("the unprotected header is not an empty map")
        return Sign1(protected, _algorithm(protected), payload, signature)
    except CborRefused as error:
        raise CoseRefused(f"{error}") from error


def sign(payload: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """The COSE_Sign1 of `payload` by `key`, encoded."""
    algorithm = algorithm_for(key.public_key())
    protected = cbor2.dumps({1: algorithm.number})
    der = key.sign(_signed(protected, payload), ec.ECDSA(algorithm.digest))
    signature = b"".join(half.to_bytes(algorithm.width) for half in decode_dss_signature(der))
    return cbor2.dumps([protected, {}, payload, signature])


def _algorithm(protected: bytes) -> int:
    header = decode(protected)
    if not isinstance(header, dict) or list(header) != [1]:
        raise CoseRefused("the protected header must hold the algorithm and nothing else")
    number = header[1]
    if isinstance(number, bool) or not isinstance(number, int):
        raise CoseRefused("the algorithm is not a number")
    return number


def _halves(signature: bytes) -> tuple[int, int]:
    half = len(signature) // 2
    return int.from_bytes(signature[:half]), int.from_bytes(signature[half:])


def _signed(protected: bytes, payload: bytes) -> bytes:
    return cbor2.dumps(["Signature1", protected, b"", payload])
