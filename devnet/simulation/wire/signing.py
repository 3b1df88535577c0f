"""The provider's key in a storm: signs and is recognised, and is no cryptography.

A storm signs thousands of transactions and checks each; secp256k1 in Python would take most of
its time, and has tests of its own (tests/agent/chain). What counts here is that a signature is of
one digest and one key, and that other bytes do not pass.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import rlp

from agent.chain.encoding import TYPE, Fees, Signature, Unsigned
from agent.market.model import Address, Wei
from devnet.simulation.names import US


class NotOurs(ValueError):
    """Bytes that are no transaction of the provider."""


@dataclass(frozen=True, slots=True)
class StormSigner:
    """`agent.chain.wallet.Signer` for the provider of every storm."""

    address: Address = US

    async def sign(self, digest: bytes) -> Signature:
        return _signature(digest)


def _signature(digest: bytes) -> Signature:
    seal = hashlib.sha256(b"the storm's provider" + digest).digest()
    return Signature(seal[0] & 1, int.from_bytes(seal), int.from_bytes(seal[:31]))


def opened(raw: bytes) -> Unsigned:
    """What was signed. Raises NotOurs."""
    try:
        if raw[:1] != TYPE:
            raise NotOurs("no EIP-1559 transaction")
        chain, nonce, tip, most, gas, to, value, data, _access, *seal = rlp.decode(raw[1:])
        fees = Fees(Wei(int.from_bytes(most)), Wei(int.from_bytes(tip)))
        number = int.from_bytes
        bare = Unsigned(
            number(chain), number(nonce), fees, number(gas), Address("0x" + to.hex()), data,
            number(value),
        )  # fmt: skip
    except (rlp.DecodingError, ValueError) as wrong:
        raise NotOurs(str(wrong)) from None
    made = _signature(bare.digest())
    if tuple(map(int.from_bytes, seal)) != (made.y_parity, made.r, made.s):
        raise NotOurs("signed by somebody else")
    return bare
