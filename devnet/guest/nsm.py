"""A simulation of the Nitro security module: attestation documents under a root of its own.

Nothing here is hardware and its documents prove nothing to anyone. They have the shape of real
ones, down to the five certificates (root, region, zone, instance, leaf for three hours), so that
whatever verifies AWS's documents verifies these when it is told to trust the simulated root. It
misbehaves on request, in the ways that a verifier must notice.
"""

from __future__ import annotations

import contextlib
import enum
import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from enclave.attest import cose
from enclave.attest.document import pcr4_of
from faults import UsageFault

_PCR_BYTES = 48
_REGISTERS = 16
_DEBUG_ZEROS = (0, 1, 2)
_LEAF_SECONDS = 3 * 3600
_KEY_FILE = "simulated-nitro-root.key"
# The real root's dates, so that a test may stand at any time that a real document has.
_ROOT_DATES = (datetime(2019, 10, 28, tzinfo=UTC), datetime(2049, 10, 28, tzinfo=UTC))


class Misbehaviour(enum.Enum):
    """What a document may get wrong on request."""

    NONE = "none"
    WRONG_PCR0 = "another image's PCR0"
    WRONG_PCR4 = "another instance's PCR4"
    EXPIRED_LEAF = "a leaf that ran out before the document's time"
    WRONG_NONCE = "another nonce than asked for"
    OTHER_ROOT = "a chain from another root"
    TAMPERED_SIGNATURE = "a signature with one bit flipped"
    TAMPERED_PAYLOAD = "a PCR changed after signing"
    LEAF_IS_AUTHORITY = "a leaf that may issue certificates"
    UNFIT_ISSUER = "an instance certificate that may not issue"


@dataclass(frozen=True)
class SimulatedEnclave:
    """What the module knows of a running enclave. `pcrs` are hex, as measured from its image."""

    instance_id: str
    pcrs: Mapping[int, str]
    enclave_number: int = 1
    debug: bool = False

    @property
    def module_id(self) -> str:
        """The form of real ones: i-...-enc and sixteen hex digits."""
        return f"{self.instance_id}-enc{self.enclave_number:016x}"


@dataclass(frozen=True)
class Request:
    """What the enclave hands to the module: at most 512, 512 and 1024 bytes."""

    nonce: bytes | None = None
    user_data: bytes | None = None
    public_key: bytes | None = None


@dataclass(frozen=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)


class SimulatedNsm:
    """Issues documents under one simulated root.

    `SimulatedNsm()` makes a root for this process alone; `open` shares one between processes.
    `lasting`: an instance keeps its certificates for an hour, as real ones do for three; without,
    each document has its own.
    """

    def __init__(
        self, root: _Authority | None = None, *, region: str = "us-east-1", lasting: bool = False
    ) -> None:
        self._root = root or _new_root()
        self._region = region
        self._lasting = lasting
        self._kept: dict[tuple[str, int], tuple[list[_Authority], _Authority]] = {}
        self._zones: dict[int, list[_Authority]] = {}

    @classmethod
    def open(cls, directory: Path, *, region: str = "us-east-1") -> SimulatedNsm:
        """The module whose root is in `directory`; the first to come makes it."""
        directory.mkdir(parents=True, exist_ok=True)
        if not (directory / _KEY_FILE).exists():
            _save(_new_root(), directory)
        return cls(_load(directory), region=region)

    @property
    def root_pem(self) -> bytes:
        """The certificate that a verifier must be told to trust."""
        return self._root.certificate.public_bytes(Encoding.PEM)

    def attest(
        self,
        enclave: SimulatedEnclave,
        *,
        now: float,
        request: Request | None = None,
        misbehave: Misbehaviour = Misbehaviour.NONE,
    ) -> bytes:
        """A document about `enclave` at `now` (Unix seconds), as raw bytes."""
        asked = request or Request()
        said = {
            "module_id": enclave.module_id,
            "digest": "SHA384",
            "timestamp": int(now * 1000),
            "pcrs": _registers(enclave),
            "public_key": asked.public_key,
            "user_data": asked.user_data,
            "nonce": asked.nonce,
        }
        return self.sign(said, enclave, now=now, misbehave=misbehave)

    def sign(
        self,
        said: Mapping[str, Any],
        enclave: SimulatedEnclave,
        *,
        now: float,
        misbehave: Misbehaviour = Misbehaviour.NONE,
    ) -> bytes:
        """The document of what a module says of `enclave`; its certificates are replaced."""
        moment = datetime.fromtimestamp(now, UTC)
        root = _new_root() if misbehave is Misbehaviour.OTHER_ROOT else self._root
        chain, leaf = self._certificates(root, enclave, moment, misbehave)
        payload = {
            "module_id": said["module_id"],
            "digest": said["digest"],
            "timestamp": said["timestamp"],
            "pcrs": _lied(said["pcrs"], enclave.debug, misbehave),
            "certificate": leaf.der,
            "cabundle": [each.der for each in chain],
            "public_key": said["public_key"],
            "user_data": said["user_data"],
            "nonce": _other(said["nonce"], misbehave),
        }
        return _tampered(cose.sign(cbor2.dumps(payload), leaf.key), misbehave)

    def _certificates(
        self, root: _Authority, enclave: SimulatedEnclave, now: datetime, misbehave: Misbehaviour
    ) -> tuple[list[_Authority], _Authority]:
        """The authorities, root first, and the leaf."""
        hour = int(now.timestamp()) // 3600
        key = (enclave.module_id, hour)
        if self._lasting and misbehave is Misbehaviour.NONE and key in self._kept:
            return self._kept[key]
        if not self._lasting:
            above = self._shared(root, now)
        elif hour not in self._zones:
            self._zones = {hour: self._shared(self._root, now)}
            above = self._zones[hour]
        else:
            above = self._zones[hour]
        chain = self._authorities(above, enclave.instance_id, now, misbehave)
        leaf = _leaf(chain[-1], f"{enclave.module_id}.{self._region}.aws", now, misbehave)
        if self._lasting and misbehave is Misbehaviour.NONE:
            self._kept[key] = (chain, leaf)
        return chain, leaf

    def _shared(self, root: _Authority, now: datetime) -> list[_Authority]:
        """Root, region, zone: with the path lengths and the lives of the real ones."""
        base = f"{self._region}.aws.nitro-enclaves"
        days, hours = timedelta(days=1), timedelta(hours=1)
        region = _issue(root, f"simulated.{base}", now - 4 * days, 20 * days, 2)
        zone = _issue(region, f"simulated.zonal.{base}", now - 8 * hours, 6 * days, 1)
        return [root, region, zone]

    def _authorities(
        self, above: list[_Authority], instance_id: str, now: datetime, misbehave: Misbehaviour
    ) -> list[_Authority]:
        fit = misbehave is not Misbehaviour.UNFIT_ISSUER
        name = f"{instance_id}.{self._region}.aws.nitro-enclaves"
        born = now - timedelta(minutes=15)
        return [*above, _issue(above[-1], name, born, timedelta(days=1), 0 if fit else None)]


def _registers(enclave: SimulatedEnclave) -> dict[int, bytes]:
    registers = {number: bytes(_PCR_BYTES) for number in range(_REGISTERS)}
    registers |= {number: bytes.fromhex(value) for number, value in enclave.pcrs.items()}
    return {**registers, 4: bytes.fromhex(pcr4_of(enclave.instance_id))}


def _lied(pcrs: Mapping[int, bytes], debug: bool, misbehave: Misbehaviour) -> dict[int, bytes]:
    registers = dict(pcrs)
    if debug:
        registers |= {number: bytes(_PCR_BYTES) for number in _DEBUG_ZEROS}
    wrong = {Misbehaviour.WRONG_PCR0: 0, Misbehaviour.WRONG_PCR4: 4}.get(misbehave)
    if wrong is not None:
        registers[wrong] = hashlib.sha384(registers[wrong]).digest()
    return registers


def _other(nonce: bytes | None, misbehave: Misbehaviour) -> bytes | None:
    wrong = misbehave is Misbehaviour.WRONG_NONCE
    return hashlib.sha256(nonce or b"").digest() if wrong else nonce


def _tampered(document: bytes, misbehave: Misbehaviour) -> bytes:
    if misbehave is Misbehaviour.TAMPERED_SIGNATURE:
        return document[:-1] + bytes([document[-1] ^ 1])
    if misbehave is Misbehaviour.TAMPERED_PAYLOAD:
        register = document.index(bytes(_PCR_BYTES))
        return document[:register] + b"\x01" + document[register + 1 :]
    return document


def _leaf(issuer: _Authority, name: str, now: datetime, misbehave: Misbehaviour) -> _Authority:
    """Made in the second in which it is first asked for and not backdated, as the real ones are:
    the younger of two clocks sees it before it is valid."""
    life = timedelta(seconds=_LEAF_SECONDS)
    born = now - 2 * life if misbehave is Misbehaviour.EXPIRED_LEAF else now
    authority = 0 if misbehave is Misbehaviour.LEAF_IS_AUTHORITY else None
    return _issue(issuer, name, born, life, authority)


def _new_root() -> _Authority:
    key = ec.generate_private_key(ec.SECP384R1())
    name = _x509_name("simulated aws.nitro-enclaves")
    builder = _builder(name, name, key, *_ROOT_DATES)
    return _Authority(_extended(builder, _ANY_LENGTH).sign(key, hashes.SHA384()), key)


def _issue(
    issuer: _Authority, name: str, born: datetime, life: timedelta, path_length: int | None
) -> _Authority:
    """A certificate good for `life` from `born` on; without a path length it may not issue."""
    key = ec.generate_private_key(ec.SECP384R1())
    subject = _x509_name(name)
    builder = _builder(subject, issuer.certificate.subject, key, born, born + life)
    return _Authority(_extended(builder, path_length).sign(issuer.key, hashes.SHA384()), key)


_ANY_LENGTH = -1


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    first: datetime,
    last: datetime,
) -> x509.CertificateBuilder:
    serial = x509.random_serial_number()
    return x509.CertificateBuilder(issuer, subject, key.public_key(), serial, first, last)


def _extended(builder: x509.CertificateBuilder, path_length: int | None) -> x509.CertificateBuilder:
    authority = path_length is not None
    length = None if path_length == _ANY_LENGTH else path_length
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )
    constraints = x509.BasicConstraints(ca=authority, path_length=length)
    return builder.add_extension(constraints, critical=True).add_extension(usage, critical=True)


def _x509_name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COUNTRY_NAME, "US"),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Simulation"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]),
        ]
    )


def _save(root: _Authority, directory: Path) -> None:
    """Write key and certificate as one file, whole or not at all; who comes second keeps theirs."""
    key = root.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    descriptor, name = tempfile.mkstemp(dir=directory, prefix=_KEY_FILE)
    with os.fdopen(descriptor, "wb") as part:
        part.write(key + root.certificate.public_bytes(Encoding.PEM))
    with contextlib.suppress(FileExistsError):
        (directory / _KEY_FILE).hardlink_to(name)
    Path(name).unlink()


def _load(directory: Path) -> _Authority:
    pem = (directory / _KEY_FILE).read_bytes()
    key = load_pem_private_key(pem, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UsageFault(f"{directory / _KEY_FILE} is not a simulated root's: delete it")
    return _Authority(x509.load_pem_x509_certificate(pem), key)
