"""The bytes of a transaction: what is signed, what is sent, and its hash.

Twelve fields of RLP, so that every wallet, one whose key never leaves a KMS included, signs the
same 32 bytes. https://eips.ethereum.org/EIPS/eip-1559
Nine in the old form, for chains without base fees. https://eips.ethereum.org/EIPS/eip-155
"""

from __future__ import annotations

from dataclasses import dataclass

import rlp
from eth_utils.crypto import keccak

from agent.market.model import Address, Wei

TYPE = b"\x02"


@dataclass(frozen=True, slots=True)
class Fees:
    """Per gas: the most to pay, and of that the most to the block's builder."""

    max_fee: Wei
    tip: Wei


@dataclass(frozen=True, slots=True)
class Signature:
    """Over secp256k1, s in the lower half (EIP-2), with the parity of the point's y."""

    y_parity: int
    r: int
    s: int


@dataclass(frozen=True, slots=True)
class Unsigned:
    """`old_form`: with one gas price, `fees.max_fee`, all of which is paid."""

    chain_id: int
    nonce: int
    fees: Fees
    gas: int
    to: Address
    data: bytes
    value: int = 0
    old_form: bool = False

    def digest(self) -> bytes:
        """The 32 bytes to sign."""
        if self.old_form:
            return keccak(rlp.encode([*self._old_fields(), self.chain_id, 0, 0]))
        return keccak(TYPE + rlp.encode(self._fields()))

    def signed(self, signature: Signature) -> bytes:
        """The bytes to send."""
        rest = [signature.y_parity, signature.r, signature.s]
        if self.old_form:
            v = 2 * self.chain_id + 35 + signature.y_parity
            return bytes(rlp.encode([*self._old_fields(), v, *rest[1:]]))
        return TYPE + bytes(rlp.encode([*self._fields(), *rest]))

    def _fields(self) -> list[object]:
        fees = [self.fees.tip, self.fees.max_fee]
        return [self.chain_id, self.nonce, *fees, self.gas, self._to, self.value, self.data, []]

    def _old_fields(self) -> list[object]:
        return [self.nonce, self.fees.max_fee, self.gas, self._to, self.value, self.data]

    @property
    def _to(self) -> bytes:
        return bytes.fromhex(self.to.removeprefix("0x"))


def transaction_hash(raw: bytes) -> str:
    return "0x" + keccak(raw).hex()
