"""URLs from a grammar of how people write them, with secrets in every place where one can be.

However content is written, it means its CID and path; whatever is refused says why and shows no
secret; an operator's place is read as a place that reads as itself. `make fuzz` looks longer.
"""

from __future__ import annotations

import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from enclave.cid import RAW, Cid, cid_of
from enclave.ipfs.configured_sources import gateway_url, kubo_multiaddr
from enclave.web.image_list import ImageList
from enclave.web.image_url import BadUrl, IpfsUrl, parse_image_url, told
from faults import UsageFault
from tests.fuzz.budget import examples

pytestmark = pytest.mark.unit

CID = cid_of(b"image")
BASE36 = "k2cwueb2gixf8tll8zw0f1qbxjhnze1gv0375yxdj8jzavisjlkn42t9"
# What comes before the CID, and the host that this names.
WRITINGS = [
    *((text, None) for text in ("", "ipfs://", "ipfs:", "IPFS://ipfs/", "/ipfs/", "ipfs/")),
    *((text, None) for text in ("web+ipfs://", "dweb:/ipfs/", "ipfs:///", "ipfs:///ipfs/")),
    ("https://inbrowser.link/#/ipfs/", None),
    *((text, "ipfs.io") for text in ("https://ipfs.io/ipfs/", "HTTPS://IPFS.io:443/ipfs/")),
    *((f"{host}/ipfs/", host) for host in ("ipfs.io", "gateway.ipfs.io", "a.ipfs.b.example")),
    *((f"https://{host}/ipfs/", host) for host in ("ipfs.infura.io", "x.mypinata.cloud")),
]
CIDS = [str(CID), str(CID).upper(), BASE36, "f" + bytes(CID).hex()]
NAMES = st.text("abc. \u00e4%?#&=@:\u0301", min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..") and name.isprintable()
)
ENDS = ["", "/", "?filename=x.eif", "?download=true&filename=%C3%A4", "/?download=1"]


@settings(max_examples=examples(150))
@given(
    st.sampled_from(WRITINGS),
    st.sampled_from(CIDS),
    st.lists(NAMES, max_size=3),
    st.sampled_from(ENDS),
)
def test_url__however_it_is_written__means_the_cid_and_the_path(
    writing: tuple[str, str | None], cid: str, path: list[str], end: str
) -> None:
    prefix, host = writing
    text = "/".join([prefix + cid, *(quote(name, safe="") for name in path)]) + end
    url = parse_image_url(text)
    assert isinstance(url, IpfsUrl)
    assert url.canonical == IpfsUrl(CID, tuple(path))
    assert url.hint == host
    assert ImageList.read([str(CID)]).names(text) is True


@settings(max_examples=examples(150))
@given(
    st.sampled_from(["https", "http", "ipfs", "ipns", "HTTPS"]),
    st.sampled_from(["ipfs.io", "localhost:8080", "a.ipfs.b.example", "10.0.0.1", ""]),
    st.sampled_from(["", f"/ipfs/{CID}", "/ipfs/x", "/ipns/x", "/a.eif"]),
    st.sampled_from(["{}@", "u:{}@", "?{}", "?token={}", "?filename=a&t={}", "#{}", "#token={}"]),
    st.sampled_from(["s3cret", "s3cret%20x", "s3cret==", "s3cret/x", "a=s3cret"]),
)
def test_url__with_a_secret_in_it__is_refused_or_read_and_never_shown(
    scheme: str, host: str, path: str, way: str, secret: str
) -> None:
    put = way.format(secret)
    user_info = way.endswith("@")
    text = f"{scheme}://{put if user_info else ''}{host}{path}{'' if user_info else put}"
    with pytest.raises(BadUrl) as refused:
        parse_image_url(text, allowed_hosts={"files.example"})
    assert "s3cret" not in str(refused.value)
    assert "s3cret" not in told(text)
    for read in (gateway_url, kubo_multiaddr, lambda entry: ImageList.read([entry])):
        with contextlib.suppress(UsageFault):
            read(text)
            pytest.fail(f"{text} was taken")
    for read in (gateway_url, kubo_multiaddr):
        with pytest.raises(UsageFault) as wrong:
            read(text)
        assert "s3cret" not in str(wrong.value)


@settings(max_examples=examples(150))
@given(st.text(max_size=40) | st.from_regex(r"[a-z]{0,5}:?/{0,2}[!-~]{0,30}", fullmatch=True))
def test_place__any_text__is_read_as_what_reads_as_itself_or_refused(text: str) -> None:
    for read in (gateway_url, kubo_multiaddr):
        with contextlib.suppress(UsageFault):
            found = read(text)
            assert read(found) == found


@settings(max_examples=examples(150))
@given(st.binary(min_size=1, max_size=30), st.sampled_from([RAW, 0x70]), st.data())
def test_list__any_spelling__lists_every_spelling(
    content: bytes, codec: int, data: st.DataObject
) -> None:
    cid = cid_of(content, codec)
    spellings = [str(cid), "f" + bytes(cid).hex(), str(cid).upper(), f"ipfs://{cid}"]
    if codec == 0x70:
        spellings.append(str(Cid(cid.codec, cid.hash_code, cid.digest, version=0)))
    one, other = (data.draw(st.sampled_from(spellings)) for _ in range(2))
    assert ImageList.read([one]).names(other) is True
    assert not ImageList.read([one]).names(str(cid_of(content + b"x", codec)))
