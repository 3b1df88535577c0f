"""COSE_Sign1: what is signed verifies, and no other bytes do, bar ECDSA's twin."""

from __future__ import annotations

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from enclave.attest import cose

pytestmark = pytest.mark.unit

KEY = ec.generate_private_key(ec.SECP384R1())
DOCUMENT = cose.sign(b"payload", KEY)
P384_ORDER = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffff"
    "c7634d81f4372ddf581a0db248b0a77aecec196accc52973", 16
)  # fmt: skip


def verifies(data: bytes, key: ec.EllipticCurvePublicKey | None = None) -> bool:
    try:
        cose.parse(data).verify(key or KEY.public_key())
    except cose.CoseRefused:
        return False
    return True


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
@given(payload=st.binary(max_size=300))
def test_sign__each_curve__verifies_with_its_key_only(
    curve: ec.EllipticCurve, payload: bytes
) -> None:
    key = ec.derive_private_key(7, curve)
    signed = cose.sign(payload, key)
    assert cose.parse(signed).payload == payload
    assert verifies(signed, key.public_key())
    assert not verifies(signed, ec.derive_private_key(8, curve).public_key())


@given(st.integers(0, len(DOCUMENT) - 1), st.integers(1, 255))
def test_verify__any_byte_changed__fails(at: int, flip: int) -> None:
    changed = bytearray(DOCUMENT)
    changed[at] ^= flip
    assert not verifies(bytes(changed))


@given(st.integers(0, len(DOCUMENT)), st.binary(min_size=1, max_size=4))
def test_verify__bytes_put_in__fails(at: int, extra: bytes) -> None:
    assert not verifies(DOCUMENT[:at] + extra + DOCUMENT[at:])


def rewritten(index: int, value: object) -> bytes:
    array = cbor2.loads(DOCUMENT)
    array[index] = value
    return cbor2.dumps(array)


@pytest.mark.parametrize(
    "data",
    [
        b"\xd2" + DOCUMENT,
        b"\x98\x04" + DOCUMENT[1:],
        b"\x9f" + DOCUMENT[1:] + b"\xff",
        DOCUMENT + b"\0",
        b"",
        cbor2.dumps(cbor2.loads(DOCUMENT)[:3]),
        rewritten(0, b""),
        rewritten(0, b"\xa0"),
        rewritten(0, cbor2.dumps({1: -35, 4: b""})),
        rewritten(0, cbor2.dumps({1: -7})),
        rewritten(0, cbor2.dumps({1: "ES384"})),
        rewritten(0, cbor2.dumps({1: True})),
        rewritten(0, b"\xa1\x01\x39\x00\x22"),
        rewritten(1, {4: b"kid"}),
        rewritten(1, None),
        rewritten(2, None),
        rewritten(2, "payload"),
        rewritten(3, b""),
        rewritten(3, bytes(96)),
        rewritten(3, b"\xff" * 96),
        rewritten(3, bytes(1) + cbor2.loads(DOCUMENT)[3]),
    ],
)
def test_verify__another_form__fails(data: bytes) -> None:
    assert not verifies(data)


def test_verify__the_twin_signature__verifies_too() -> None:
    signature = cbor2.loads(DOCUMENT)[3]
    s = P384_ORDER - int.from_bytes(signature[48:])
    assert verifies(rewritten(3, signature[:48] + s.to_bytes(48)))


def test_algorithm__of_another_curve__is_refused() -> None:
    with pytest.raises(cose.CoseRefused, match="secp256k1"):
        cose.sign(b"", ec.generate_private_key(ec.SECP256K1()))
