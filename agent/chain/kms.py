"""A signer whose key is in AWS KMS (ECC_SECG_P256K1) and never on this host.

KMS answers DER, s in either half and no parity; what Ethereum wants is computed here. The only
vendor call is kms:Sign, with kms:GetPublicKey once at start.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
)
from eth_keys.datatypes import PublicKey
from eth_keys.datatypes import Signature as Recoverable
from eth_keys.exceptions import BadSignature
from eth_utils.exceptions import ValidationError

from agent.chain.encoding import Signature
from agent.market.model import Address
from cloud.errors import translated
from cloud.kinds import OwnTrouble
from faults import MustStop, Refused, RetryLater, TryElsewhere

if TYPE_CHECKING:
    from types_boto3_kms import KMSClient

# The order of secp256k1 (SEC 2, 2.4.1).
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class KmsSigner:
    """Build with `await KmsSigner.open(client, key_id)`."""

    def __init__(self, client: KMSClient, key_id: str, public: PublicKey) -> None:
        self._client = client
        self._key_id = key_id
        self._public = public
        self.address = Address(public.to_checksum_address())

    def __repr__(self) -> str:
        return f"KmsSigner({self.address})"

    @classmethod
    async def open(cls, client: KMSClient, key_id: str) -> KmsSigner:
        """Raises MustStop: no such key, no permission, another curve. RetryLater: no answer."""
        der = await asyncio.to_thread(_public_key, client, key_id)
        return cls(client, key_id, _secp256k1(der, key_id))

    async def sign(self, digest: bytes) -> Signature:
        der = await asyncio.to_thread(_sign, self._client, self._key_id, digest)
        r, s = decode_dss_signature(der)
        return self._with_parity(digest, r, min(s, ORDER - s))

    def _with_parity(self, digest: bytes, r: int, s: int) -> Signature:
        for parity in (0, 1):
            try:
                signer = Recoverable(vrs=(parity, r, s)).recover_public_key_from_msg_hash(digest)
            except (BadSignature, ValidationError):
                continue
            if signer == self._public:
                return Signature(parity, r, s)
        raise MustStop(f"KMS signed for {self.address} with another key; check the key id")


def _public_key(client: KMSClient, key_id: str) -> bytes:
    try:
        with translated(f"asking KMS for the public key of {key_id}"):
            return client.get_public_key(KeyId=key_id)["PublicKey"]
    except (OwnTrouble, Refused) as fault:
        raise MustStop(f"{fault}; check the key, its state and the role's rights") from fault


def _sign(client: KMSClient, key_id: str, digest: bytes) -> bytes:
    """Raises RetryLater, whatever is the matter: who repairs the key or its rights meanwhile finds
    an agent that goes on."""
    try:
        with translated(f"signing with KMS key {key_id}"):
            return client.sign(
                KeyId=key_id, Message=digest, MessageType="DIGEST", SigningAlgorithm="ECDSA_SHA_256"
            )["Signature"]
    except (Refused, TryElsewhere) as fault:
        raise RetryLater(str(fault)) from fault


def _secp256k1(der: bytes, key_id: str) -> PublicKey:
    try:
        key = load_der_public_key(der)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256K1):
        raise MustStop(f"KMS key {key_id} is not of spec ECC_SECG_P256K1, usage SIGN_VERIFY")
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return PublicKey(point[1:])
