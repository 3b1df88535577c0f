"""Lists of images compare what is named, not how it is written."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from enclave.cid import DAG_PB, RAW, SHA2_256, Cid, cid_of
from enclave.web.image_list import ImageList
from faults import UsageFault

pytestmark = pytest.mark.unit

NODE = cid_of(b"a dag-pb node", DAG_PB)
FILE = cid_of(b"image", RAW)
SHA256 = hashlib.sha256(b"image").hexdigest()
PCR0 = "ab" * 48
OTHER = cid_of(b"other", DAG_PB)


def spellings(cid: Cid) -> list[str]:
    """Texts of one CID: versions, bases, and the URLs that people make of it."""
    hexed = "f" + bytes(cid.canonical).hex()
    texts = [str(cid.canonical), str(cid.canonical).upper(), hexed, hexed.upper()]
    if cid.codec == DAG_PB:
        texts.append(str(Cid(DAG_PB, SHA2_256, cid.digest, version=0)))
    urls = [
        f"ipfs://{texts[0]}",
        f"https://ipfs.io/ipfs/{texts[-1]}?filename=a.eif",
        f"/ipfs/{hexed}",
    ]
    return [*texts, *urls]


@given(st.sampled_from(spellings(NODE)), st.sampled_from(spellings(NODE)))
def test_names__any_spelling_in_list_and_url__is_one_image(entry: str, url: str) -> None:
    listed = ImageList.read([entry])
    assert listed.names(url) is True
    assert listed.has(str(NODE), "", "")
    assert ImageList.read([str(OTHER)]).names(url) is False


@pytest.mark.parametrize("entry", [SHA256, SHA256.upper(), f"sha256:{SHA256}", f"0x{SHA256}"])
def test_names__a_digest__is_the_raw_cid_of_the_same_bytes(entry: str) -> None:
    listed = ImageList.read([entry])
    for url in (*spellings(FILE), f"https://a.example/x?y=z#sha256={SHA256.upper()}"):
        assert listed.names(url) is True
    assert listed.names(f"https://a.example/x#sha256={'0' * 64}") is False
    assert listed.has(str(NODE), SHA256, "")
    assert ImageList.read([str(FILE)]).has(str(NODE), SHA256, "")


@pytest.mark.parametrize(
    ("entries", "url", "answer"),
    [
        ([PCR0], f"ipfs://{NODE}", None),
        ([PCR0, str(OTHER)], f"ipfs://{NODE}", None),
        ([SHA256], f"ipfs://{NODE}", None),
        ([SHA256], f"ipfs://{cid_of(b'other')}", False),
        ([str(NODE)], f"ipfs://{NODE}/app.eif", True),
        ([str(OTHER)], f"ipfs://{NODE}/app.eif", None),
        ([str(FILE)], f"ipfs://{FILE}/app.eif", True),
        ([], f"ipfs://{NODE}/app.eif", False),
        ([], f"ipfs://{NODE}", False),
        ([str(NODE)], f"https://a.example/x#sha384={'0' * 96}", False),
        ([SHA256], f"https://a.example/x#sha384={'0' * 96}", None),
        ([str(OTHER)], "not a URL", None),
        ([str(OTHER)], "https://[", None),
    ],
)
def test_names__what_only_bytes_can_tell__is_left_open(
    entries: list[str], url: str, answer: bool | None
) -> None:
    assert ImageList.read(entries).names(url) is answer


def test_has__by_pcr0__whatever_the_rest_is() -> None:
    listed = ImageList.read([f" {PCR0.upper()} "])
    assert listed.has(str(NODE), "", PCR0)
    assert not listed.has("no cid", "", "")
    assert not listed.has(str(NODE), "", "")


@pytest.mark.parametrize(
    "entry",
    ["", "app.eif", PCR0[:-1], SHA256 + "0", f"ipfs://{NODE}/app.eif", "ipns://x", f"{NODE}x"],
)
def test_read__an_entry_that_names_no_image__is_refused(entry: str) -> None:
    with pytest.raises(UsageFault, match="neither a CID nor a SHA-256"):
        ImageList.read([str(NODE), entry])


def test_and__what_both_list__however_written() -> None:
    both = ImageList.read([SHA256, str(OTHER)]) & ImageList.read([str(FILE), PCR0])
    assert both
    assert both.names(str(FILE)) is True
    assert not ImageList.read([str(NODE)]) & ImageList.read([str(OTHER)])
