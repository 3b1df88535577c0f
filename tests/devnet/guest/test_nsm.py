"""The simulated module: the real documents' shape, one root between processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cbor2
import pytest
from cryptography import x509

from devnet.guest.nsm import Misbehaviour, SimulatedEnclave, SimulatedNsm
from enclave.attest.document import Expected, verify
from tests.enclave.documents import genuine

pytestmark = pytest.mark.unit

NOW = 1_750_000_000.0
ENCLAVE = SimulatedEnclave("i-0123456789abcdef0", {0: "11" * 48, 1: "22" * 48, 2: "33" * 48})


def shape(document: bytes) -> dict[str, object]:
    """What must look the same in a real document and a simulated one."""
    protected, unprotected, payload, signature = cbor2.loads(document)
    fields = cbor2.loads(payload)
    certificates = [
        x509.load_der_x509_certificate(der) for der in [*fields["cabundle"], fields["certificate"]]
    ]
    constraints = [
        each.extensions.get_extension_for_class(x509.BasicConstraints).value
        for each in certificates
    ]
    leaf = certificates[-1]
    return {
        "outer": (protected, unprotected, len(signature)),
        "fields": set(fields),
        "registers": sorted(fields["pcrs"]),
        "module": len(fields["module_id"]),
        "authorities": [(each.ca, each.path_length) for each in constraints],
        "leaf life": round((leaf.not_valid_after_utc - leaf.not_valid_before_utc).seconds / 60),
    }


def test_attest__beside_real_documents__has_their_shape() -> None:
    simulated = shape(SimulatedNsm().attest(ENCLAVE, now=NOW))
    for known in genuine():
        assert shape(known.data) == simulated


def test_open__several_at_once__share_one_root(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        modules = list(pool.map(lambda _: SimulatedNsm.open(tmp_path / "nsm"), range(8)))
    assert len({module.root_pem for module in modules}) == 1
    document = modules[0].attest(ENCLAVE, now=NOW)
    verify(document, at=NOW, expected=Expected(), root=modules[-1].root_pem)
    (key,) = (tmp_path / "nsm").iterdir()
    assert key.stat().st_mode & 0o777 == 0o600


def test_root__in_its_names__says_that_it_is_simulated() -> None:
    root = x509.load_pem_x509_certificate(SimulatedNsm().root_pem)
    assert "simulated" in root.subject.rfc4514_string()
    assert "Amazon" not in root.subject.rfc4514_string()


@pytest.mark.parametrize("misbehave", Misbehaviour)
def test_misbehaviour__each__changes_the_document(misbehave: Misbehaviour) -> None:
    document = SimulatedNsm().attest(ENCLAVE, now=NOW, misbehave=misbehave)
    assert len(cbor2.loads(document)) == 4
