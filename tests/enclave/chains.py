"""Certificates for tests, each of whose properties can be spoiled."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

NOW = 1_750_000_000.25
MOMENT = datetime.fromtimestamp(NOW, UTC)


def issue(
    subject: str,
    key: ec.EllipticCurvePrivateKey,
    by: ec.EllipticCurvePrivateKey,
    *,
    issuer: str | x509.Name,
    authority: bool = True,
    length: int | None = None,
    usage: str | None = "",
    digest: hashes.SHA256 | hashes.SHA384 | hashes.SHA512 | None = None,
    extra: x509.ExtensionType | None = None,
    days: tuple[int, int] = (-1, 1),
) -> x509.Certificate:
    """A certificate, by default right for its place; `usage` is cert, sign, agree or none."""
    builder = x509.CertificateBuilder(
        name(issuer) if isinstance(issuer, str) else issuer, name(subject), key.public_key(), 1,
        MOMENT + timedelta(days=days[0]), MOMENT + timedelta(days=days[1]),
    )  # fmt: skip
    constraints = x509.BasicConstraints(authority, length)
    builder = builder.add_extension(constraints, critical=True)
    if usage is not None:
        kind = usage or ("cert" if authority else "sign")
        builder = builder.add_extension(_usage(kind), critical=True)
    if extra is not None:
        builder = builder.add_extension(extra, critical=True)
    return builder.sign(by, digest or hashes.SHA384())


def name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _usage(kind: str) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=kind == "sign",
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=kind == "agree",
        key_cert_sign=kind == "cert",
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
