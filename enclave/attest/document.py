"""Verify Nitro attestation documents: who signed them, and whether they say what is expected.

The form is AWS's (`aws-nitro-enclaves-nsm-api`, docs/attestation_process.md): a COSE_Sign1 with
ES384 over a CBOR map, by a leaf certificate that a chain leads to the Nitro root. A document is
believed only when its form, chain and signature hold, and useful only when it says what the
caller expects; both in `verify`. ECDSA lets anyone make a second valid signature of the same
document, so its bytes are no key for anything.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from cryptography import x509

from enclave.attest import cose
from enclave.attest.cbor import CborRefused, Value, decode
from enclave.attest.certificates import (
    CLOCK_SKEW_SECONDS,
    ChainEarly,
    ChainRefused,
    aws_root,
    fingerprint,
    load_root,
    verify_chain,
)
from enclave.attest.pcr import PCR_BYTES, extended
from faults import Refused, UsageFault

# The Nitro security module's device answers in at most 0x3000 bytes (NSM_RESPONSE_MAX_SIZE).
MAX_DOCUMENT_BYTES = 0x3000
# From AWS's description of the fields; the user's two are 512, keys and certificates 1024.
_MAX_FIELD = {"public_key": 1024, "user_data": 512, "nonce": 512}
_MAX_CERTIFICATE = 1024
_MAX_BUNDLE = 8
_MAX_MODULE_ID = 128
_PCRS = range(32)
# These are zeros when the enclave runs in debug mode, and its memory can be read.
_DEBUG_PCRS = (0, 1, 2)
_INSTANCE_PCR = 4
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class AttestationRefused(Refused):
    """The document is not to be believed, or says something else; `reason` is a slug.

    Form: size, cose, payload, field. Chain: certificate, root, not-yet-valid, expired, authority,
    issuer, leaf. Then signature, debug-mode, pcr, instance, nonce, user-data, too-old, future.
    """

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(f"attestation refused ({reason}): {text}")
        self.reason = reason


class AttestationEarly(AttestationRefused):
    """The document holds and says what is expected, at a later time than this clock's.

    Nothing is wrong with the enclave: time mends it, or whoever sets this machine's clock.
    """


@dataclass(frozen=True)
class Expected:
    """What the document must say. None or an empty map means: not asked.

    `pcrs` maps register to hex. Every one named is compared, in debug mode too, where 0 to 2 are
    zeros whatever runs. So a caller that allows debug mode leaves those out here, and asks
    `Attestation.require_pcrs` for them when it is not `debug` after all. `max_age_seconds` counts
    from the document's own time to the time of the verification.
    """

    pcrs: Mapping[int, str] = field(default_factory=dict)
    instance_id: str | None = None
    nonce: bytes | None = None
    user_data: bytes | None = None
    max_age_seconds: float | None = None
    allow_debug: bool = False


@dataclass(frozen=True)
class Attestation:
    """What a verified document says. `timestamp` is Unix seconds, PCRs are lower-case hex."""

    module_id: str
    timestamp: float
    pcrs: Mapping[int, str]
    debug: bool
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None
    root_sha256: str

    @property
    def instance_id(self) -> str:
        """The EC2 instance that the module id names."""
        return self.module_id.partition("-enc")[0]

    def require_pcrs(self, expected: Mapping[int, str]) -> None:
        """Every register named has this value (hex); raises AttestationRefused."""
        for number, register in sorted(expected.items()):
            _check_pcr("pcr", self, number, register)


def pcr4_of(instance_id: str) -> str:
    """PCR4 of every enclave on this instance: the id, extended into zeros as bare bytes."""
    return extended(instance_id.encode()).hex()


def verify(
    document: bytes,
    *,
    at: float | datetime,
    expected: Expected,
    root: x509.Certificate | bytes | None = None,
) -> Attestation:
    """What `document` says, when it holds at the time `at` and says what is expected.

    `root` (a certificate, or PEM) stands in for the shipped AWS root: for simulations only.
    Raises AttestationRefused, AttestationEarly among them when all else holds; UsageFault for an
    unusable root or a time without a zone.
    """
    moment = _moment(at)
    trusted = aws_root() if root is None else load_root(root) if isinstance(root, bytes) else root
    if not 0 < len(document) <= MAX_DOCUMENT_BYTES:
        raise AttestationRefused("size", f"{len(document)} bytes are not 1 to {MAX_DOCUMENT_BYTES}")
    try:
        signed = cose.parse(document)
    except cose.CoseRefused as error:
        raise AttestationRefused("cose", f"not a COSE_Sign1: {error}") from error
    fields = _fields(signed.payload)
    early = _check_signature(signed, fields, trusted, moment)
    attestation = _attestation(fields, fingerprint(trusted))
    _check_debug(attestation, expected)
    _check_expected(attestation, expected)
    if early is not None:
        raise AttestationEarly(early.reason, f"{early}") from early
    _check_age(attestation, expected, moment)
    return attestation


@dataclass(frozen=True)
class _Fields:
    """The payload of a document, of the right form and not yet believed."""

    module_id: str
    timestamp_ms: int
    pcrs: dict[int, bytes]
    certificate: bytes
    bundle: list[bytes]
    optional: dict[str, bytes | None]


def _fields(payload: bytes) -> _Fields:
    try:
        values = decode(payload, indefinite=True)
    except CborRefused as error:
        raise AttestationRefused("payload", f"the payload is not CBOR: {error}") from error
    if not isinstance(values, dict):
        raise AttestationRefused("payload", "the payload is not a map")
    if values.get("digest") != "SHA384":
        raise AttestationRefused("field", "digest is not SHA384")
    return _Fields(
        module_id=_module_id(values.get("module_id")),
        timestamp_ms=_timestamp(values.get("timestamp")),
        pcrs=_pcrs(values.get("pcrs")),
        certificate=_octets("certificate", values.get("certificate"), 1, _MAX_CERTIFICATE),
        bundle=_bundle(values.get("cabundle")),
        optional={
            name: _optional(name, values.get(name), most) for name, most in _MAX_FIELD.items()
        },
    )


def _module_id(value: Value) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_MODULE_ID:
        raise AttestationRefused("field", "module_id is missing, empty or long")
    if not (value.isascii() and value.isprintable()):
        raise AttestationRefused("field", "module_id is not plain text")
    return value


def _timestamp(value: Value) -> int:
    if type(value) is not int or not 0 < value < 1 << 53:
        raise AttestationRefused("field", "timestamp is not a time in milliseconds")
    return value


def _pcrs(value: Value) -> dict[int, bytes]:
    if not isinstance(value, dict) or not 0 < len(value) <= len(_PCRS):
        raise AttestationRefused("field", "pcrs is not a map of 1 to 32")
    pcrs: dict[int, bytes] = {}
    for number, register in value.items():
        if not isinstance(number, int) or number not in _PCRS:
            raise AttestationRefused("field", "a PCR's number is not 0 to 31")
        pcrs[number] = _octets(f"PCR{number}", register, PCR_BYTES, PCR_BYTES)
    if not pcrs.keys() >= {*_DEBUG_PCRS}:
        raise AttestationRefused("field", "PCR0, PCR1 or PCR2 is missing")
    return pcrs


def _bundle(value: Value) -> list[bytes]:
    if not isinstance(value, list) or not 0 < len(value) <= _MAX_BUNDLE:
        raise AttestationRefused("field", f"cabundle is not a list of 1 to {_MAX_BUNDLE}")
    return [_octets("cabundle", der, 1, _MAX_CERTIFICATE) for der in value]


def _optional(name: str, value: Value, most: int) -> bytes | None:
    """Absent and null mean the same: real documents have null."""
    return None if value is None else _octets(name, value, 0, most)


def _octets(name: str, value: Value, least: int, most: int) -> bytes:
    if not isinstance(value, bytes) or not least <= len(value) <= most:
        raise AttestationRefused("field", f"{name} is not {least} to {most} bytes")
    return value


def _check_signature(
    signed: cose.Sign1, fields: _Fields, root: x509.Certificate, at: datetime
) -> ChainEarly | None:
    """What there is to say of the chain's beginning, once all else of it and the signature hold."""
    early = None
    try:
        key = verify_chain(fields.bundle, fields.certificate, root, at)
    except ChainEarly as error:
        early, key = error, error.key
    except ChainRefused as error:
        raise AttestationRefused(error.reason, f"{error}") from error
    try:
        signed.verify(key)
    except cose.CoseRefused as error:
        raise AttestationRefused("signature", f"{error}") from error
    return early


def _attestation(fields: _Fields, root_sha256: str) -> Attestation:
    return Attestation(
        module_id=fields.module_id,
        timestamp=fields.timestamp_ms / 1000,
        pcrs={number: register.hex() for number, register in sorted(fields.pcrs.items())},
        debug=not all(any(fields.pcrs[number]) for number in _DEBUG_PCRS),
        root_sha256=root_sha256,
        **fields.optional,
    )


def _check_debug(attestation: Attestation, expected: Expected) -> None:
    if attestation.debug and not expected.allow_debug:
        text = "PCR0 to PCR2 are zeros: it runs in debug mode, where its memory can be read"
        raise AttestationRefused("debug-mode", text)


def _check_expected(attestation: Attestation, expected: Expected) -> None:
    attestation.require_pcrs(expected.pcrs)
    if expected.instance_id is not None:
        if attestation.instance_id != expected.instance_id:
            text = f"it is of {attestation.instance_id}, not of {expected.instance_id}"
            raise AttestationRefused("instance", text)
        _check_pcr("instance", attestation, _INSTANCE_PCR, pcr4_of(expected.instance_id))
    for name in ("nonce", "user_data"):
        _check_echo(name, getattr(attestation, name), getattr(expected, name))


def _check_pcr(reason: str, attestation: Attestation, number: int, register: str) -> None:
    found = attestation.pcrs.get(number)
    if found != register.lower():
        text = f"PCR{number} is {found or 'missing'}, expected {register.lower()}"
        raise AttestationRefused(reason, text)


def _check_echo(name: str, found: bytes | None, expected: bytes | None) -> None:
    if expected is None:
        return
    if found is None or not hmac.compare_digest(found, expected):
        state = "is missing" if found is None else "is not the expected one"
        raise AttestationRefused(name.replace("_", "-"), f"its {name} {state}")


def _check_age(attestation: Attestation, expected: Expected, at: datetime) -> None:
    if expected.max_age_seconds is None:
        return
    age = (at - _EPOCH).total_seconds() - attestation.timestamp
    if age > expected.max_age_seconds:
        text = f"it is {age:.0f} s old, at most {expected.max_age_seconds:.0f} s are allowed"
        raise AttestationRefused("too-old", text)
    if age < -CLOCK_SKEW_SECONDS:
        text = f"it is from {-age:.0f} s in the future: check this machine's clock"
        raise AttestationEarly("future", text)


def _moment(at: float | datetime) -> datetime:
    if not isinstance(at, datetime):
        try:
            return _EPOCH + timedelta(seconds=at)
        except (OverflowError, ValueError) as error:
            raise UsageFault(f"{at} is not a time in Unix seconds") from error
    if at.tzinfo is None:
        raise UsageFault(f"the time {at} needs a time zone")
    return at.astimezone(UTC)
