"""A certificate authority of a test's own, trusted only where the test says so."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

DAY = datetime.timedelta(days=1)


def named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])


def pem(made: x509.Certificate) -> bytes:
    return made.public_bytes(serialization.Encoding.PEM)


# As RFC 5280 has it, which Python's clients insist on from 3.13 on.
CRITICAL = (x509.BasicConstraints, x509.KeyUsage)


@dataclass
class Authority:
    """The authority, and what it signs."""

    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )

    def sign(self, subject: str, key: Any, *more: x509.ExtensionType, ends: Any = DAY) -> bytes:
        now = datetime.datetime.now(datetime.UTC)
        made = x509.CertificateBuilder(
            named("a CA of a test"), named(subject), key.public_key(), x509.random_serial_number(),
            now - 3 * DAY, now + ends,
        )  # fmt: skip
        for one in more:
            made = made.add_extension(one, critical=isinstance(one, CRITICAL))
        return pem(made.sign(self.key, hashes.SHA256()))

    def itself(self) -> bytes:
        identifier = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        usage = x509.KeyUsage(
            digital_signature=False, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        basic = x509.BasicConstraints(True, None)
        return self.sign("a CA of a test", self.key, basic, usage, identifier)

    def server(self, host: str, ends: Any = DAY) -> bytes:
        """Key and certificate, in one PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )  # fmt: skip
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return private + self.sign(host, key, names, issuer, ends=ends)
