"""The chain: every link is checked, at the time that was asked."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.attest import certificates
from enclave.attest.certificates import ChainRefused, aws_root, verify_chain
from faults import UsageFault
from tests.enclave.chains import MOMENT, der, issue, name

pytestmark = pytest.mark.unit

ROOT_KEY, MIDDLE_KEY, LEAF_KEY, OTHER_KEY = (
    ec.generate_private_key(ec.SECP384R1()) for _ in range(4)
)
P256 = ec.generate_private_key(ec.SECP256R1())
CRITICAL = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b"")
ROOT = issue("root", ROOT_KEY, ROOT_KEY, issuer="root")

Spoil = dict[str, Any]


def middle(**spoil: Any) -> x509.Certificate:
    given: Spoil = {"key": MIDDLE_KEY, "by": ROOT_KEY, "issuer": "root", "length": 0} | spoil
    return issue("middle", **given)


def leaf(**spoil: Any) -> x509.Certificate:
    given: Spoil = {
        "key": LEAF_KEY,
        "by": MIDDLE_KEY,
        "issuer": "middle",
        "authority": False,
    } | spoil
    return issue("leaf", **given)


def reason(
    *chain: x509.Certificate, root: x509.Certificate = ROOT, at: datetime = MOMENT
) -> str | None:
    ders = [der(each) for each in chain]
    try:
        key = verify_chain(ders[:-1], ders[-1], root, at)
    except ChainRefused as refused:
        return refused.reason
    assert key == chain[-1].public_key()
    return None


GOOD = tuple(der(each) for each in (ROOT, middle(), leaf()))


def test_chain__nothing_spoiled__gives_the_leafs_key() -> None:
    assert reason(ROOT, middle(), leaf()) is None
    assert reason(ROOT, leaf(by=ROOT_KEY, issuer="root")) is None


@pytest.mark.parametrize(
    ("spoil", "slug"),
    [
        ({"authority": False, "length": None}, "authority"),
        ({"usage": None}, "authority"),
        ({"usage": "sign"}, "authority"),
        ({"digest": hashes.SHA256()}, "certificate"),
        ({"days": (1, 2)}, "not-yet-valid"),
        ({"days": (-2, -1)}, "expired"),
        ({"extra": CRITICAL}, "certificate"),
        ({"by": OTHER_KEY}, "issuer"),
        ({"issuer": "another root"}, "issuer"),
        ({"key": OTHER_KEY}, "issuer"),
        ({"key": P256}, "certificate"),
    ],
)
def test_chain__an_authority_spoiled__is_refused(spoil: Spoil, slug: str) -> None:
    assert reason(ROOT, middle(**spoil), leaf()) == slug


@pytest.mark.parametrize(
    ("spoil", "slug"),
    [
        ({"authority": True}, "leaf"),
        ({"usage": None}, "leaf"),
        ({"usage": "agree"}, "leaf"),
        ({"key": P256}, "certificate"),
        ({"digest": hashes.SHA512()}, "certificate"),
        ({"days": (1, 2)}, "not-yet-valid"),
        ({"days": (-2, -1)}, "expired"),
        ({"extra": CRITICAL}, "certificate"),
        ({"by": ROOT_KEY}, "issuer"),
        ({"issuer": "root"}, "issuer"),
    ],
)
def test_chain__the_leaf_spoiled__is_refused(spoil: Spoil, slug: str) -> None:
    assert reason(ROOT, middle(), leaf(**spoil)) == slug


def test_chain__longer_than_a_path_length__is_refused() -> None:
    second = issue("second", OTHER_KEY, MIDDLE_KEY, issuer="middle")
    end = leaf(by=OTHER_KEY, issuer="second")
    assert reason(ROOT, middle(length=1), second, end) is None
    assert reason(ROOT, middle(length=0), second, end) == "authority"


def test_chain__not_from_the_trusted_root__is_refused() -> None:
    twin = issue("root", OTHER_KEY, OTHER_KEY, issuer="root")
    assert reason(twin, middle(by=OTHER_KEY), leaf()) == "root"
    assert reason(middle(), leaf()) == "root"
    assert reason(middle(), ROOT, leaf()) == "root"
    assert reason(ROOT) == "root"
    assert reason(ROOT, middle(), leaf(), root=aws_root()) == "root"


def test_chain__root_twice_or_out_of_order__is_refused() -> None:
    assert reason(ROOT, leaf(), middle()) is not None
    assert reason(ROOT, middle(), middle(), leaf()) is not None


def test_chain__root_out_of_date__is_refused() -> None:
    old = issue("root", ROOT_KEY, ROOT_KEY, issuer="root", days=(-3, -2))
    assert reason(old, middle(), leaf(), root=old) == "expired"


def test_chain__the_last_and_the_first_second__are_valid() -> None:
    end = leaf()
    last, first = end.not_valid_after_utc, end.not_valid_before_utc
    assert reason(ROOT, middle(), end, at=last) is None
    assert reason(ROOT, middle(), end, at=first) is None
    assert reason(ROOT, middle(), end, at=last + timedelta(microseconds=1)) == "expired"


@pytest.mark.parametrize("young", ["root", "middle", "leaf"])
def test_chain__a_clock_behind_its_beginning__a_minute_is_forgiven(young: str) -> None:
    """Leaves are not backdated: a clock that is 4 s slow would refuse what AWS has just signed."""
    root = ROOT
    if young == "root":
        root = issue("root", ROOT_KEY, ROOT_KEY, issuer="root", days=(0, 1))
    days = {young: {"days": (0, 1)}}
    chain = (root, middle(**days.get("middle", {})), leaf(**days.get("leaf", {})))
    first = {"root": root, "middle": chain[1], "leaf": chain[2]}[young].not_valid_before_utc
    skew = timedelta(seconds=certificates.CLOCK_SKEW_SECONDS)
    assert reason(*chain, root=root, at=first - skew) is None
    late = first - skew - timedelta(microseconds=1)
    assert reason(*chain, root=root, at=late) == "not-yet-valid"


@pytest.mark.parametrize(
    ("spoil", "slug"),
    [
        ({"usage": None}, "leaf"),
        ({"by": OTHER_KEY}, "issuer"),
        ({"extra": CRITICAL}, "certificate"),
    ],
)
def test_chain__not_yet_valid_and_something_else__is_refused_for_the_other(
    spoil: Spoil, slug: str
) -> None:
    """Who is told to wait can be sure that waiting is all."""
    assert reason(ROOT, middle(), leaf(days=(1, 2), **spoil)) == slug


def test_chain__over_before_its_leaf_begins__is_never_valid() -> None:
    assert reason(ROOT, middle(days=(-1, 0)), leaf(days=(1, 2))) == "expired"


def test_chain__an_ed25519_leaf__is_refused() -> None:
    end = leaf(key=Ed25519PrivateKey.generate())
    assert reason(ROOT, middle(), end) == "certificate"


def test_chain__a_subject_with_control_characters__is_shown_without() -> None:
    evil = issue("\x1b[2J\nfine", MIDDLE_KEY, OTHER_KEY, issuer="root")
    with pytest.raises(ChainRefused) as refused:
        verify_chain([der(ROOT), der(evil)], der(leaf()), ROOT, MOMENT)
    assert str(refused.value).isprintable()
    assert name("x")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_chain__bytes_of_a_certificate_changed__raises_nothing_else(data: st.DataObject) -> None:
    """Also where `cryptography` parses late, and never accepted: signatures cover it all."""
    ders = [*GOOD]
    which = data.draw(st.integers(0, 2))
    changed = bytearray(ders[which])
    for _ in range(data.draw(st.integers(1, 2))):
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    if bytes(changed) == ders[which]:
        return
    ders[which] = bytes(changed)
    with pytest.raises(ChainRefused):
        verify_chain(ders[:2], ders[2], ROOT, MOMENT)


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The subjects whose signatures were verified, with a memory of links that is empty."""
    seen: list[str] = []
    check = certificates._check_signed

    def counted(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
        seen.append(certificate.subject.rfc4514_string())
        check(certificate, issuer)

    monkeypatch.setattr(certificates, "_check_signed", counted)
    monkeypatch.setattr(certificates, "_LINKS", certificates._Links(8))
    return seen


def test_links__the_same_chain_again__verifies_no_signature_twice(verified: list[str]) -> None:
    chain = (ROOT, middle(), leaf())
    assert [reason(*chain) for _ in range(3)] == [None] * 3
    assert verified == ["CN=middle", "CN=leaf"]
    other = leaf(key=OTHER_KEY)
    assert reason(*chain[:2], other) is None
    assert verified == ["CN=middle", "CN=leaf", "CN=leaf"]


def test_links__known_under_one_issuer__are_none_under_another(verified: list[str]) -> None:
    """The other has the same name, and all of its own chain holds."""
    end, twin = leaf(), middle(key=OTHER_KEY)
    assert reason(ROOT, middle(), end) is None
    assert reason(ROOT, twin, leaf(by=OTHER_KEY)) is None
    assert reason(ROOT, twin, end) == "issuer"
    assert reason(ROOT, end) == "issuer"
    assert verified.count("CN=leaf") == 4


def test_links__known_and_out_of_date__are_refused(verified: list[str]) -> None:
    chain = (ROOT, middle(), leaf())
    assert reason(*chain) is None
    assert reason(*chain, at=MOMENT + timedelta(days=2)) == "expired"
    assert reason(*chain, at=MOMENT - timedelta(days=2)) == "not-yet-valid"
    assert reason(*chain) is None
    assert len(verified) == 2


def test_links__known_below_another_root__is_refused(verified: list[str]) -> None:
    chain = (ROOT, middle(), leaf())
    assert reason(*chain) is None
    other = issue("root", OTHER_KEY, OTHER_KEY, issuer="root")
    assert reason(*chain, root=other) == "root"
    assert reason(other, *chain[1:], root=other) == "issuer"


def test_links__of_a_place_that_may_not_issue__are_refused_though_known(
    verified: list[str],
) -> None:
    """A link says who signed whom, and nothing of what the signer may do."""
    plain = middle(authority=False, length=None)
    end = leaf()
    for _ in range(2):
        assert reason(ROOT, plain, end) == "authority"
    assert reason(ROOT, middle(), middle(by=MIDDLE_KEY, issuer="middle"), end) is not None


def test_links__refused__are_checked_again(verified: list[str]) -> None:
    chain = (ROOT, middle(), leaf(by=OTHER_KEY))
    assert [reason(*chain) for _ in range(3)] == ["issuer"] * 3
    assert verified == ["CN=middle", *["CN=leaf"] * 3]


def test_links__however_many__are_bounded(verified: list[str]) -> None:
    above = middle()
    for _ in range(12):
        assert reason(ROOT, above, leaf()) is None
    assert len(certificates._LINKS) == 8
    assert reason(ROOT, above, leaf()) is None
    assert verified.count("CN=middle") == 2  # the oldest went first


def test_aws_root__altered_on_disk__is_not_trusted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    aws_root.cache_clear()
    monkeypatch.setattr(certificates, "AWS_ROOT_SHA256", "0" * 64)
    try:
        with pytest.raises(UsageFault, match="altered"):
            aws_root()
    finally:
        aws_root.cache_clear()
