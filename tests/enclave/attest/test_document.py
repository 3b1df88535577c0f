"""Attestation documents: real ones get the manifest's verdict, forged ones never pass."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from devnet.guest.nsm import Misbehaviour, Request, SimulatedEnclave, SimulatedNsm
from enclave.attest import cose
from enclave.attest.certificates import AWS_ROOT_SHA256, aws_root, fingerprint
from enclave.attest.document import (
    MAX_DOCUMENT_BYTES,
    Attestation,
    AttestationEarly,
    AttestationRefused,
    Expected,
    pcr4_of,
    verify,
)
from faults import UsageFault
from tests.enclave.chains import NOW, der, issue
from tests.enclave.documents import Known, genuine, known_documents

pytestmark = pytest.mark.unit

HOURS = 3600
INSTANCE = "i-0123456789abcdef0"
PCRS = {0: "11" * 48, 1: "22" * 48, 2: "33" * 48}
ENCLAVE = SimulatedEnclave(INSTANCE, PCRS)
NSM = SimulatedNsm()
DOCUMENT = NSM.attest(ENCLAVE, now=NOW, request=Request(b"nonce", b"data", b"key"))
ALL = Expected(PCRS, INSTANCE, b"nonce", b"data", 60)
DEBUG_TOO = Expected(allow_debug=True)


def check(document: bytes, expected: Expected = ALL, at: float | datetime = NOW) -> Attestation:
    return verify(document, at=at, expected=expected, root=NSM.root_pem)


def reason(document: bytes, expected: Expected = ALL, at: float | datetime = NOW) -> str:
    with pytest.raises(AttestationRefused) as refused:
        check(document, expected, at)
    return refused.value.reason


# --- real documents --------------------------------------------------------------------------


@pytest.mark.parametrize("known", known_documents(), ids=lambda known: known.name)
def test_real__at_its_own_time__has_the_manifests_verdict(known: Known) -> None:
    expected = Expected(
        known.pcrs, known.module_id.partition("-enc")[0], max_age_seconds=1, allow_debug=True
    )
    if known.genuine:
        found = verify(known.data, at=known.at, expected=expected)
        assert found.module_id == known.module_id
        assert found.debug == known.debug
        assert found.pcrs.items() >= known.pcrs.items()
        assert found.timestamp == known.at
        assert found.root_sha256 == AWS_ROOT_SHA256
    else:
        with pytest.raises(AttestationRefused):
            verify(known.data, at=known.at, expected=DEBUG_TOO)


def test_real__in_debug_mode__is_refused_unless_allowed() -> None:
    for known in genuine():
        if known.debug:
            with pytest.raises(AttestationRefused, match=r"\(debug-mode\)"):
                verify(known.data, at=known.at, expected=Expected())
        else:
            verify(known.data, at=known.at, expected=Expected())


def test_real__outside_its_leafs_three_hours__is_refused() -> None:
    for known in genuine():
        for hours, slug in ((4, "expired"), (-4, "not-yet-valid")):
            with pytest.raises(AttestationRefused) as refused:
                verify(known.data, at=known.at + hours * HOURS, expected=DEBUG_TOO)
            assert refused.value.reason == slug


def test_real__with_a_byte_of_its_end_changed__is_refused() -> None:
    for known in genuine():
        changed = known.data[:-1] + bytes([known.data[-1] ^ 1])
        with pytest.raises(AttestationRefused, match=r"\(signature\)"):
            verify(changed, at=known.at, expected=DEBUG_TOO)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_real__any_byte_changed__is_refused(data: st.DataObject) -> None:
    known = data.draw(st.sampled_from(genuine()))
    at = data.draw(st.integers(0, len(known.data) - 1))
    changed = bytearray(known.data)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(AttestationRefused):
        verify(bytes(changed), at=known.at, expected=DEBUG_TOO)


def test_real__under_a_simulated_root__is_refused() -> None:
    for known in genuine():
        with pytest.raises(AttestationRefused, match=r"\(root\)"):
            verify(known.data, at=known.at, expected=DEBUG_TOO, root=NSM.root_pem)


# --- expectations ----------------------------------------------------------------------------


def test_verify__all_expected__says_what_the_enclave_said() -> None:
    found = check(DOCUMENT)
    assert (found.instance_id, found.module_id) == (INSTANCE, ENCLAVE.module_id)
    assert (found.nonce, found.user_data, found.public_key) == (b"nonce", b"data", b"key")
    assert found.timestamp == NOW
    assert found.pcrs[4] == pcr4_of(INSTANCE)
    assert not found.debug


def test_verify__under_the_aws_root__is_refused() -> None:
    with pytest.raises(AttestationRefused, match=r"\(root\)"):
        verify(DOCUMENT, at=NOW, expected=ALL)


@pytest.mark.parametrize(
    ("expected", "slug"),
    [
        (Expected({0: "44" * 48}), "pcr"),
        (Expected({8: "44" * 48}), "pcr"),
        (Expected({31: "00" * 48}), "pcr"),
        (Expected(instance_id="i-0123456789abcdef1"), "instance"),
        (Expected(instance_id="i-0123456789abcdef"), "instance"),
        (Expected(instance_id=""), "instance"),
        (Expected(nonce=b"Nonce"), "nonce"),
        (Expected(nonce=b""), "nonce"),
        (Expected(user_data=b"dat"), "user-data"),
    ],
)
def test_verify__something_else_expected__is_refused(expected: Expected, slug: str) -> None:
    assert reason(DOCUMENT, expected) == slug


def test_verify__nothing_to_echo__does_not_pass_for_an_empty_nonce() -> None:
    silent = NSM.attest(ENCLAVE, now=NOW)
    assert check(silent, Expected(PCRS)).nonce is None
    assert reason(silent, Expected(nonce=b"")) == "nonce"
    assert reason(silent, Expected(user_data=b"")) == "user-data"


def test_verify__upper_case_pcr__is_the_same() -> None:
    named = SimulatedEnclave(INSTANCE, {**PCRS, 0: "ab" * 48})
    assert check(NSM.attest(named, now=NOW), Expected({0: "AB" * 48}))


def test_verify__age__is_bounded_both_ways() -> None:
    aged = Expected(max_age_seconds=30)
    later = NSM.attest(ENCLAVE, now=NOW)
    check(later, aged, NOW + 30)
    assert reason(later, aged, NOW + 31) == "too-old"
    early = NSM.attest(ENCLAVE, now=NOW + HOURS)
    assert reason(early, aged, NOW) == "not-yet-valid"


@pytest.mark.parametrize("slow", [2, 4, 12, 59])
def test_verify__issued_just_now_by_a_clock_ahead_of_ours__is_taken(slow: float) -> None:
    """The simulated leaf begins with its document, as real ones do."""
    check(NSM.attest(ENCLAVE, now=NOW), Expected(PCRS, max_age_seconds=300), NOW - slow)


def test_verify__early__only_when_all_else_holds() -> None:
    """What time mends is told apart, so that nobody waits for what time does not mend."""
    early = NOW - HOURS
    with pytest.raises(AttestationEarly, match="check this machine's clock"):
        check(DOCUMENT, at=early)
    wrong = Expected({0: "ff" * 48})
    assert reason(DOCUMENT, wrong, early) == "pcr"
    for lie in (Misbehaviour.TAMPERED_SIGNATURE, Misbehaviour.WRONG_PCR4, Misbehaviour.OTHER_ROOT):
        with pytest.raises(AttestationRefused) as refused:
            check(NSM.attest(ENCLAVE, now=NOW, misbehave=lie), at=early)
        assert not isinstance(refused.value, AttestationEarly)


def test_verify__debug_mode__zeros_prove_nothing() -> None:
    debugged = NSM.attest(dataclasses.replace(ENCLAVE, debug=True), now=NOW)
    assert reason(debugged, Expected()) == "debug-mode"
    assert reason(debugged, Expected(PCRS, allow_debug=True)) == "pcr"
    found = check(debugged, Expected(instance_id=INSTANCE, allow_debug=True))
    assert found.debug
    with pytest.raises(AttestationRefused, match=r"\(pcr\)"):
        found.require_pcrs(PCRS)
    check(DOCUMENT, DEBUG_TOO).require_pcrs(PCRS)


@pytest.mark.parametrize(
    ("misbehave", "slug"),
    [
        (Misbehaviour.WRONG_PCR0, "pcr"),
        (Misbehaviour.WRONG_PCR4, "instance"),
        (Misbehaviour.EXPIRED_LEAF, "expired"),
        (Misbehaviour.WRONG_NONCE, "nonce"),
        (Misbehaviour.OTHER_ROOT, "root"),
        (Misbehaviour.TAMPERED_SIGNATURE, "signature"),
        (Misbehaviour.TAMPERED_PAYLOAD, "signature"),
        (Misbehaviour.LEAF_IS_AUTHORITY, "leaf"),
        (Misbehaviour.UNFIT_ISSUER, "authority"),
    ],
)
def test_verify__a_module_that_misbehaves__is_refused(misbehave: Misbehaviour, slug: str) -> None:
    request = Request(b"nonce", b"data", b"key")
    assert reason(NSM.attest(ENCLAVE, now=NOW, request=request, misbehave=misbehave)) == slug


def test_verify__times_and_roots__are_taken_in_either_form() -> None:
    check(DOCUMENT, at=datetime.fromtimestamp(NOW, UTC))
    root = x509.load_pem_x509_certificate(NSM.root_pem)
    verify(DOCUMENT, at=NOW, expected=ALL, root=root)
    with pytest.raises(UsageFault, match="zone"):
        check(DOCUMENT, at=datetime(2025, 6, 15))  # noqa: DTZ001  # what is tested
    for at in (float("nan"), float("inf"), 1e300):
        with pytest.raises(UsageFault):
            check(DOCUMENT, at=at)
    for pem in (b"", b"hello", NSM.root_pem * 2):
        with pytest.raises(UsageFault):
            verify(DOCUMENT, at=NOW, expected=ALL, root=pem)


def test_pcr4__of_a_real_document__is_of_its_instance() -> None:
    for known in genuine():
        assert pcr4_of(known.module_id.partition("-enc")[0]) == known.pcrs[4]


def test_aws_root__as_shipped__has_the_published_fingerprint() -> None:
    assert fingerprint(aws_root()) == AWS_ROOT_SHA256


# --- documents signed by a leaf that should not have said so ------------------------------------


@functools.cache
def _leaf() -> tuple[dict[str, object], ec.EllipticCurvePrivateKey]:
    """A leaf right under NSM's root, and its key, which NSM itself would keep to itself."""
    key = ec.generate_private_key(ec.SECP384R1())
    chain = issue("leaf", key, NSM._root.key, issuer=NSM._root.certificate.subject, authority=False)
    return {"certificate": der(chain), "cabundle": [NSM._root.der]}, key


def forged(spoil: Callable[[dict[str, Any]], object] = bool) -> bytes:
    """A document whose payload was spoiled before it was signed."""
    chain, key = _leaf()
    payload: dict[str, Any] = cbor2.loads(cbor2.loads(DOCUMENT)[2]) | chain
    spoil(payload)
    return cose.sign(cbor2.dumps(payload), key)


def test_forged__nothing_spoiled__verifies() -> None:
    check(forged())
    check(forged(lambda payload: payload.update(unknown=[1])))
    check(forged(lambda payload: payload.pop("public_key")))


FIELDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "no digest": lambda p: p.pop("digest"),
    "other digest": lambda p: p.update(digest="SHA256"),
    "no module": lambda p: p.pop("module_id"),
    "empty module": lambda p: p.update(module_id=""),
    "module in bytes": lambda p: p.update(module_id=b"i-1-enc1"),
    "module with control characters": lambda p: p.update(module_id="i-\x1b[2J"),
    "long module": lambda p: p.update(module_id="i" * 129),
    "no time": lambda p: p.pop("timestamp"),
    "time 0": lambda p: p.update(timestamp=0),
    "negative time": lambda p: p.update(timestamp=-1),
    "true time": lambda p: p.update(timestamp=True),
    "huge time": lambda p: p.update(timestamp=2**64 - 1),
    "no pcrs": lambda p: p.pop("pcrs"),
    "pcrs a list": lambda p: p.update(pcrs=[bytes(48)]),
    "empty pcrs": lambda p: p.update(pcrs={}),
    "no pcr 1": lambda p: p["pcrs"].pop(1),
    "pcr 32": lambda p: p["pcrs"].update({32: bytes(48)}),
    "pcr -1": lambda p: p["pcrs"].update({-1: bytes(48)}),
    "pcr by name": lambda p: p["pcrs"].update({"0": bytes(48)}),
    "short pcr": lambda p: p["pcrs"].update({0: bytes(32)}),
    "long pcr": lambda p: p["pcrs"].update({0: bytes(64)}),
    "pcr as text": lambda p: p["pcrs"].update({0: "11" * 24}),
    "no certificate": lambda p: p.pop("certificate"),
    "null certificate": lambda p: p.update(certificate=None),
    "empty certificate": lambda p: p.update(certificate=b""),
    "long certificate": lambda p: p.update(certificate=bytes(1025)),
    "no bundle": lambda p: p.pop("cabundle"),
    "empty bundle": lambda p: p.update(cabundle=[]),
    "bundle of nine": lambda p: p.update(cabundle=p["cabundle"] * 9),
    "bundle of text": lambda p: p.update(cabundle=["x"]),
    "long nonce": lambda p: p.update(nonce=bytes(513)),
    "long user data": lambda p: p.update(user_data=bytes(513)),
    "long public key": lambda p: p.update(public_key=bytes(1025)),
    "nonce as text": lambda p: p.update(nonce="nonce"),
}


@pytest.mark.parametrize("spoil", FIELDS.values(), ids=list(FIELDS))
def test_field__against_its_rule__is_refused(spoil: Callable[[dict[str, Any]], object]) -> None:
    assert reason(forged(spoil)) == "field"


def _zero(number: int) -> Callable[[dict[str, Any]], object]:
    return lambda payload: payload["pcrs"].update({number: bytes(48)})


def test_field__zero_pcr_among_the_first_three__is_debug_mode() -> None:
    for number in (0, 1, 2):
        zeroed = forged(_zero(number))
        assert reason(zeroed, Expected()) == "debug-mode"


def test_verify__a_document_from_the_future__is_refused_when_age_counts() -> None:
    ahead = forged(lambda payload: payload.update(timestamp=int((NOW + 61) * 1000)))
    assert reason(ahead, Expected(max_age_seconds=30)) == "future"
    check(ahead, Expected())


def test_verify__garbage_certificates__are_refused() -> None:
    assert reason(forged(lambda p: p.update(certificate=b"\x30\x00"))) == "certificate"
    assert reason(forged(lambda p: p.update(cabundle=[b"x"]))) == "certificate"


@pytest.mark.parametrize(
    ("document", "slug"),
    [
        (b"", "size"),
        (bytes(MAX_DOCUMENT_BYTES + 1), "size"),
        (b"\x84", "cose"),
        (b"\xd2" + DOCUMENT, "cose"),
        (DOCUMENT + b"\0", "cose"),
        (cose.sign(b"", _leaf()[1]), "payload"),
        (cose.sign(b"\x80", _leaf()[1]), "payload"),
        (cose.sign(b"\xbf" * 5000, _leaf()[1]), "payload"),
        (cose.sign(b"\xa1\x66digest\x66SHA256", _leaf()[1]), "field"),
    ],
)
def test_form__not_a_document__is_refused(document: bytes, slug: str) -> None:
    assert reason(document) == slug


def test_form__indefinite_maps_in_the_payload__are_read() -> None:
    """As eight of 75 real documents have them."""
    chain, key = _leaf()
    payload = cbor2.loads(cbor2.loads(DOCUMENT)[2]) | chain
    pairs = [cbor2.dumps(name) + cbor2.dumps(value) for name, value in payload.items()]
    check(cose.sign(b"\xbf" + b"".join(pairs) + b"\xff", key))


@settings(deadline=None)
@given(st.binary(max_size=300) | st.integers(0, len(DOCUMENT)).map(lambda end: DOCUMENT[:end]))
def test_form__any_bytes__are_refused_and_raise_nothing_else(document: bytes) -> None:
    if document != DOCUMENT:
        assert reason(document)


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, len(DOCUMENT) - 1),
    st.integers(0, 255),
    st.sampled_from(["change", "put", "cut"]),
)
def test_form__a_byte_changed_put_in_or_cut__is_refused(at: int, byte: int, how: str) -> None:
    end = at if how == "put" else at + 1
    changed = DOCUMENT[:at] + (b"" if how == "cut" else bytes([byte])) + DOCUMENT[end:]
    if changed != DOCUMENT:
        assert reason(changed)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_payload__any_change_under_a_good_signature__raises_nothing_else(
    data: st.DataObject,
) -> None:
    """The deepest a stranger gets: everything before the chain runs on bytes of their choice."""
    chain, key = _leaf()
    payload = cbor2.dumps(cbor2.loads(cbor2.loads(DOCUMENT)[2]) | chain)
    changed = bytearray(payload)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(AttestationRefused):
        check(cose.sign(bytes(changed), key), DEBUG_TOO)
