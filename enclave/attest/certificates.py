"""The certificate chain of a Nitro document: from a pinned root down to the leaf that signed.

Facts from seven real documents of 2021 to 2026 and AWS's attestation process text: P-384 keys,
ECDSA with SHA-384, X.509 v3; root, region, zone and instance certificates are authorities whose
path lengths end at 0, and the leaf, good for three hours, is none. Every link is checked and
nothing is assumed of a certificate because of where it stands. Leaves are not backdated: those
documents are 0 to 456 s younger than theirs. Revocation lists are not fetched
(docs/security.md says why): a region's certificate lives 20 days, a zone's 6, an instance's one.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta
from importlib import resources

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from enclave.shown import shown
from faults import Refused, UsageFault

# AWS Nitro Enclaves root G1, SHA-256 of its DER as AWS publishes it.
AWS_ROOT_SHA256 = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"
_AWS_ROOT_FILE = "aws_nitro_root_g1.pem"

# A clock that is so far behind still verifies what AWS issues now: leaves are made when an enclave
# first asks, seconds before anybody sees them. What is signed is not believed any longer by it.
CLOCK_SKEW_SECONDS = 60.0

# A critical extension that is not understood makes a certificate unusable (RFC 5280, 4.2).
_UNDERSTOOD = frozenset({ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE})
# What `cryptography` raises for a certificate that is none, some of it only when a key, a name, a
# date or an extension is asked for; the last one where warnings are errors.
UNREADABLE = (
    ValueError, TypeError, OverflowError, LookupError, UnsupportedAlgorithm, x509.InvalidVersion,
    x509.DuplicateExtension, x509.UnsupportedGeneralNameType, CryptographyDeprecationWarning,
)  # fmt: skip
# An instance that is asked again shows the links of the last time: an instance's certificate lives
# a day, its leaf three hours. 200 bytes a link, and room for 16,000 instances.
LINKS_KEPT = 1 << 15


class ChainRefused(Refused):
    """A certificate or a link of the chain does not hold; `reason` is a slug."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(text)
        self.reason = reason


class ChainEarly(ChainRefused):
    """The chain holds in every way, from a later time on than was asked; `key` is its leaf's."""

    def __init__(self, text: str, key: ec.EllipticCurvePublicKey) -> None:
        super().__init__("not-yet-valid", text)
        self.key = key


@functools.cache
def aws_root() -> x509.Certificate:
    """The AWS Nitro Enclaves root that ships with this package, checked against its pin."""
    pem = resources.files("enclave.attest").joinpath(_AWS_ROOT_FILE).read_bytes()
    root = x509.load_pem_x509_certificate(pem)
    if fingerprint(root) != AWS_ROOT_SHA256:
        raise UsageFault(f"the shipped {_AWS_ROOT_FILE} was altered: install the package again")
    return root


@functools.lru_cache(maxsize=4)
def load_root(pem: bytes) -> x509.Certificate:
    """The one certificate in `pem`, to be trusted as a root; raises UsageFault."""
    try:
        (root,) = x509.load_pem_x509_certificates(pem)
    except UNREADABLE as error:
        raise UsageFault("the root must be a PEM file with exactly one certificate") from error
    return root


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the certificate's DER, in hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def verify_chain(
    bundle: Sequence[bytes], leaf: bytes, root: x509.Certificate, at: datetime
) -> ec.EllipticCurvePublicKey:
    """The leaf's key, when `bundle` (root first, DER) leads from `root` to it at that time.

    `at` may be CLOCK_SKEW_SECONDS before the chain begins. Raises ChainRefused; ChainEarly where
    time, or a clock set right, is all that is missing.
    """
    ders = (*bundle, leaf)
    try:
        chain = [x509.load_der_x509_certificate(der) for der in ders]
        return _verified(chain, [hashlib.sha256(der).digest() for der in ders], root, at)
    except UNREADABLE as error:
        text = f"a certificate cannot be read ({error!s:.120})"
        raise ChainRefused("certificate", text) from error


def _verified(
    chain: list[x509.Certificate], digests: list[bytes], root: x509.Certificate, at: datetime
) -> ec.EllipticCurvePublicKey:
    if len(chain) < 2 or chain[0] != root:
        raise ChainRefused("root", "its chain does not begin at the trusted root certificate")
    youngest = max(chain, key=lambda each: each.not_valid_before_utc)
    for depth, certificate in enumerate(chain):
        _check_form(certificate)
        _check_end(certificate, max(at, youngest.not_valid_before_utc))
        if depth < len(chain) - 1:
            # How many authorities stand between this one and the leaf.
            _check_authority(certificate, len(chain) - 2 - depth)
            _check_issued(chain, digests[depth] + digests[depth + 1], depth + 1)
    _check_leaf(chain[-1])
    key = _key(chain[-1])
    _check_begin(youngest, at, key)
    return key


def _check_form(certificate: x509.Certificate) -> None:
    if certificate.version is not x509.Version.v3:
        raise ChainRefused("certificate", f"{_name(certificate)} is not an X.509 v3 certificate")
    if certificate.signature_algorithm_oid != SignatureAlgorithmOID.ECDSA_WITH_SHA384:
        raise ChainRefused("certificate", f"{_name(certificate)} is not signed ECDSA with SHA-384")
    _key(certificate)
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            oid = extension.oid.dotted_string
            text = f"{_name(certificate)} has the critical extension {oid}, which is not understood"
            raise ChainRefused("certificate", text)


def _key(certificate: x509.Certificate) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise ChainRefused("certificate", f"{_name(certificate)} has no P-384 key")
    return key


def _check_end(certificate: x509.Certificate, at: datetime) -> None:
    last = certificate.not_valid_after_utc
    if at > last:
        text = f"{_name(certificate)} was valid until {last:%FT%TZ}, no longer at {at:%FT%TZ}"
        raise ChainRefused("expired", text)


def _check_begin(youngest: x509.Certificate, at: datetime, key: ec.EllipticCurvePublicKey) -> None:
    """Last of all: who is told that only time is missing knows that all else holds."""
    first = youngest.not_valid_before_utc
    if at + timedelta(seconds=CLOCK_SKEW_SECONDS) < first:
        text = (
            f"{_name(youngest)} is valid from {first:%FT%TZ}, not yet at {at:%FT%TZ}:"
            " check this machine's clock"
        )
        raise ChainEarly(text, key)


def _check_authority(certificate: x509.Certificate, below: int) -> None:
    constraints = _basic_constraints(certificate)
    if constraints is None or not constraints.ca:
        raise ChainRefused("authority", f"{_name(certificate)} may not issue certificates")
    if constraints.path_length is not None and constraints.path_length < below:
        text = (
            f"{_name(certificate)} allows {constraints.path_length} authorities below, not {below}"
        )
        raise ChainRefused("authority", text)
    usage = _key_usage(certificate)
    if usage is None or not usage.key_cert_sign:
        text = f"{_name(certificate)} has a key that may not sign certificates"
        raise ChainRefused("authority", text)


class _Links:
    """Which links were found to hold, the newest `most`: by the SHA-256 of both certificates.

    Name and signature of a link are the same at any time; dates, form and what a certificate may
    do are checked each time, and what was refused is not kept. Threads share it.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held: dict[bytes, None] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._held)

    def holds(self, link: bytes) -> bool:
        return link in self._held

    def note(self, link: bytes) -> None:
        with self._lock:
            self._held[link] = None
            if len(self._held) > self._most:
                del self._held[next(iter(self._held))]


_LINKS = _Links(LINKS_KEPT)


def _check_issued(chain: Sequence[x509.Certificate], link: bytes, depth: int) -> None:
    """The certificate at `depth` was issued by the one above it; a link that is known holds."""
    if not _LINKS.holds(link):
        _check_signed(chain[depth], chain[depth - 1])
        _LINKS.note(link)


def _check_signed(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature as error:
        text = f"{_name(certificate)} was not signed by {_name(issuer)}"
        raise ChainRefused("issuer", text) from error
    except UNREADABLE as error:
        text = f"{_name(certificate)} does not name {_name(issuer)} as its issuer"
        raise ChainRefused("issuer", text) from error


def _check_leaf(certificate: x509.Certificate) -> None:
    constraints = _basic_constraints(certificate)
    if constraints is not None and constraints.ca:
        raise ChainRefused(
            "leaf", f"{_name(certificate)} is an authority; it may not sign documents"
        )
    usage = _key_usage(certificate)
    if usage is None or not usage.digital_signature:
        raise ChainRefused("leaf", f"{_name(certificate)} has a key that may not sign documents")


def _basic_constraints(certificate: x509.Certificate) -> x509.BasicConstraints | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return None


def _key_usage(certificate: x509.Certificate) -> x509.KeyUsage | None:
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return None


def _name(certificate: x509.Certificate) -> str:
    return shown(certificate.subject.rfc4514_string(), 120)
