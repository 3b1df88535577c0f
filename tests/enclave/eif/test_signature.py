"""Image signatures: by the key in the certificate, over this image's PCR0, read in one way only."""

from __future__ import annotations

from datetime import UTC, datetime

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from enclave.attest import cose
from enclave.eif.format import ImageRefused
from enclave.eif.signature import read_signature, signed_payload
from enclave.eif.writer import SigningKey, assemble, build, make_signer, signature_section
from tests.enclave.images import measure, signer, small, walked

pytestmark = pytest.mark.unit

PCR0 = bytes(range(48))
SECTION = signature_section(signer(), PCR0)
PEM = signer().certificate_pem
COSE = cose.sign(signed_payload(PCR0), signer().key)


def section(pem: object = PEM, signature: object = COSE, **extra: object) -> bytes:
    entry = {
        "signing_certificate": list(pem) if isinstance(pem, bytes) else pem,
        "signature": list(signature) if isinstance(signature, bytes) else signature,
        **extra,
    }
    return cbor2.dumps([entry])


def rules(data: bytes, pcr0: bytes = PCR0) -> list[str]:
    try:
        return [broken.rule for broken in read_signature(data).faults(pcr0)]
    except ImageRefused as refused:
        return [refused.reason]


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_signature__each_curve__verifies(curve: ec.EllipticCurve) -> None:
    assert not rules(signature_section(make_signer(curve=curve), PCR0))


def test_signature__of_another_image__is_refused_unlike_by_awss_precheck() -> None:
    assert rules(SECTION, bytes(48)) == ["signature.other-image"]
    donor = list(walked(build(small(kernel=b"other", signer=signer()))))[-1]
    image = assemble([*walked(build(small())), donor])
    with pytest.raises(ImageRefused, match=r"signature\.other-image"):
        measure(image)


def test_signature__by_another_key__is_refused() -> None:
    other = cose.sign(signed_payload(PCR0), make_signer().key)
    assert rules(section(signature=other)) == ["signature.invalid"]


def test_signature__of_another_register__is_refused() -> None:
    payload = cbor2.dumps({"register_index": 1, "register_value": list(PCR0)})
    assert rules(section(signature=cose.sign(payload, signer().key))) == ["signature.other-image"]


def test_signature__register_as_byte_string__is_refused() -> None:
    payload = cbor2.dumps({"register_index": 0, "register_value": PCR0})
    assert rules(section(signature=cose.sign(payload, signer().key))) == ["signature.other-image"]


def test_signature__shorter_than_its_curve__is_refused_and_does_not_panic() -> None:
    array = cbor2.loads(COSE)
    for length in (0, 1, 47, 95, 97):
        array[3] = bytes(length)
        assert rules(section(signature=cbor2.dumps(array))) == ["signature.invalid"]


def test_signature__other_algorithm_than_the_key__is_refused() -> None:
    array = cbor2.loads(COSE)
    array[0] = cbor2.dumps({1: cose.ES256.number})
    assert rules(section(signature=cbor2.dumps(array))) == ["signature.invalid"]


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "signature.cbor"),
        (SECTION + b"\0", "signature.cbor"),
        (SECTION[:-1], "signature.cbor"),
        (cbor2.dumps([]), "signature.entries"),
        (cbor2.dumps({}), "signature.entries"),
        (cbor2.dumps([[]]), "signature.entries"),
        (cbor2.dumps([*cbor2.loads(SECTION), *cbor2.loads(SECTION)]), "signature.entries"),
        (section(more=1), "signature.entries"),
        (cbor2.dumps([{"signing_certificate": PEM, "signature": COSE}]), "signature.entries"),
        (section(pem=[256]), "signature.entries"),
        (section(pem=[-1]), "signature.entries"),
        (section(pem=[True]), "signature.entries"),
        (section(pem=[]), "signature.certificate"),
        (section(pem=b"hello"), "signature.certificate"),
        (section(pem=b" " + PEM), "signature.certificate"),
        (section(pem=PEM.replace(b"BEGIN", b"BEGIN TRUSTED") + PEM), "signature.certificate"),
        (section(pem=PEM.replace(b"\n", b"\nX: y\n", 1)), "signature.certificate"),
        (section(pem=PEM[:300] + PEM[-30:]), "signature.certificate"),
        (section(signature=[]), "signature.cose"),
        (section(signature=b"\xd2" + COSE), "signature.cose"),
        (section(signature=COSE + b"\0"), "signature.cose"),
    ],
)
def test_section__malformed__is_refused(data: bytes, rule: str) -> None:
    assert rules(data) == [rule]


def test_certificate__text_before_and_more_after__is_the_first() -> None:
    bundle = b"Certificate:\n    Data\n" + PEM + make_signer().certificate_pem
    assert read_signature(section(pem=bundle)).signer == read_signature(SECTION).signer


def test_certificate__rsa_key__is_refused() -> None:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(Encoding.PEM)
    assert rules(section(pem=pem)) == ["signature.certificate"]


def test_certificate__unprintable_subject__is_shown_without_control_characters() -> None:
    named = make_signer("evil\x1b[2Jname")
    found = read_signature(signature_section(named, PCR0)).signer
    assert found.subject.isprintable()


@given(st.integers(0, len(SECTION) - 1), st.integers(1, 255))
def test_section__any_byte_changed__is_refused_or_another_certificate(at: int, flip: int) -> None:
    changed = bytearray(SECTION)
    changed[at] ^= flip
    if not rules(bytes(changed)):
        # The certificate's own signature is nobody's proof; PCR8 then differs.
        assert read_signature(bytes(changed)).certificate != read_signature(SECTION).certificate


@given(st.binary(max_size=200))
def test_section__any_bytes__raise_nothing_else(data: bytes) -> None:
    assert rules(data)


def test_writer__its_signer__is_named() -> None:
    key: SigningKey = make_signer("somebody", not_before=1e9, not_after=2e9)
    found = read_signature(signature_section(key, PCR0)).signer
    assert (found.subject, found.curve) == ("CN=somebody", "secp384r1")
    assert (found.not_before, found.not_after) == (1e9, 2e9)
