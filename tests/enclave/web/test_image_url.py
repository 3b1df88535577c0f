from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enclave.cid import RAW, SHA2_256, SHA2_384, Cid, cid_of
from enclave.web.image_url import (
    BadUrl,
    HttpsUrl,
    IpfsUrl,
    OpenUrl,
    parse_image_url,
    parse_open_url,
)

pytestmark = pytest.mark.unit

CID = cid_of(b"image")
KEY = "k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8"
BASE36 = "k2cwueb2gixf8tll8zw0f1qbxjhnze1gv0375yxdj8jzavisjlkn42t9"
V0 = Cid(0x70, SHA2_256, CID.digest, version=0)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (f"{CID}", IpfsUrl(CID)),
        (f"{V0}", IpfsUrl(V0)),
        (f"ipfs://{CID}", IpfsUrl(CID)),
        (f"IPFS://{V0}/", IpfsUrl(V0)),
        (f"ipfs://{CID}/a/b%20c.eif", IpfsUrl(CID, ("a", "b c.eif"))),
        (f"ipfs://{CID}/%C3%A4", IpfsUrl(CID, ("ä",))),
        (f"https://ipfs.io/ipfs/{CID}", IpfsUrl(CID, (), "ipfs.io")),
        (f"https://IPFS.io.:443/ipfs/{V0}/a/", IpfsUrl(V0, ("a",), "ipfs.io")),
        (f"https://{CID}.ipfs.dweb.link/a", IpfsUrl(CID, ("a",), "dweb.link")),
        (f"https://{CID}.ipfs.dweb.link", IpfsUrl(CID, (), "dweb.link")),
        (f"https://{CID}.ipfs.dweb.link/", IpfsUrl(CID, (), "dweb.link")),
        (f"{CID}/app.eif", IpfsUrl(CID, ("app.eif",))),
        (f"/ipfs/{V0}/", IpfsUrl(V0)),
        (f"ipfs/{CID}", IpfsUrl(CID)),
        (f"ipfs:{V0}", IpfsUrl(V0)),
        (f"ipfs:/ipfs/{CID}", IpfsUrl(CID)),
        (f"ipfs://ipfs/{V0}/a", IpfsUrl(V0, ("a",))),
        (f"ipfs:///ipfs/{CID}", IpfsUrl(CID)),
        (f"web+ipfs://{CID}", IpfsUrl(CID)),
        (f"dweb:/ipfs/{CID}/a", IpfsUrl(CID, ("a",))),
        (f"ipfs.io/ipfs/{CID}/", IpfsUrl(CID, (), "ipfs.io")),
        (f"{CID}.ipfs.w3s.link/a", IpfsUrl(CID, ("a",), "w3s.link")),
        (f"https://gateway.ipfs.io/ipfs/{V0}", IpfsUrl(V0, (), "gateway.ipfs.io")),
        (f"https://gw.ipfs.example.com/ipfs/{V0}", IpfsUrl(V0, (), "gw.ipfs.example.com")),
        (f"https://name.mypinata.cloud/ipfs/{V0}", IpfsUrl(V0, (), "name.mypinata.cloud")),
        (f"https://ipfs.infura.io/ipfs/{V0}", IpfsUrl(V0, (), "ipfs.infura.io")),
        (f"https://{CID}.ipfs.ipfs.io/ipfs/x", IpfsUrl(CID, ("ipfs", "x"), "ipfs.io")),
        (f"https://{CID}.ipfs.gw.example.com/", IpfsUrl(CID, (), "gw.example.com")),
        (f"https://{BASE36}.ipfs.inbrowser.dev/a", IpfsUrl(CID, ("a",), "inbrowser.dev")),
        (f"https://inbrowser.link/#/ipfs/{CID}/a", IpfsUrl(CID, ("a",))),
        (f"https://xn--bcher-kva.example/ipfs/{CID}", IpfsUrl(CID, (), "xn--bcher-kva.example")),
        (f"https://ipfs.xn--p1ai/ipfs/{CID}", IpfsUrl(CID, (), "ipfs.xn--p1ai")),
        (f"ipfs://%{ord(str(CID)[0]):x}{str(CID)[1:]}/%61", IpfsUrl(CID, ("a",))),
        (f"https://inbrowser.link#/ipfs/{CID}", IpfsUrl(CID)),
        (f"https://ipfs.io/ipfs/{CID}?filename=app.eif", IpfsUrl(CID, (), "ipfs.io")),
        (f"https://ipfs.io/ipfs/{CID}?download=true&filename=a", IpfsUrl(CID, (), "ipfs.io")),
        (f"https://{CID}.ipfs.dweb.link/a?filename=b%20c", IpfsUrl(CID, ("a",), "dweb.link")),
        (f"ipfs://{CID}?filename=app.eif", IpfsUrl(CID)),
        (f"{CID}?filename=app.eif", IpfsUrl(CID)),
        (f"https://ipfs.io/ipfs/{CID}#x-ipfs-companion-no-redirect", IpfsUrl(CID, (), "ipfs.io")),
    ],
)
def test_parse__an_accepted_form__is_read(text: str, url: IpfsUrl) -> None:
    assert parse_image_url(text) == url


def test_parse__plain_https_of_an_allowed_host__carries_the_digest() -> None:
    for name, code, size in (("sha256", SHA2_256, 32), ("sha384", SHA2_384, 48)):
        text = f"https://Files.example/a.eif?x=1#{name}={'ab' * size}"
        url = parse_image_url(text, allowed_hosts={"files.example"})
        assert url == HttpsUrl(
            "https://Files.example/a.eif?x=1", "files.example", Cid(RAW, code, b"\xab" * size)
        )


@pytest.mark.parametrize(
    ("fragment", "why"),
    [
        ("", "names no CID"),
        ("#sha256=abcd", "64, or sha384"),
        (f"#sha384={'ab' * 32}", "64, or sha384"),
        (f"#md5={'ab' * 32}", "64, or sha384"),
        (f"#sha256={'ab' * 32}&x=y", "64, or sha384"),
    ],
)
def test_parse__plain_https_without_a_whole_digest__is_refused(fragment: str, why: str) -> None:
    with pytest.raises(BadUrl, match=why):
        parse_image_url(f"https://files.example/a{fragment}", allowed_hosts={"files.example"})


def test_parse__plain_https_of_another_host__is_refused() -> None:
    with pytest.raises(BadUrl, match="only from hosts the operator allows"):
        parse_image_url(
            f"https://x.files.example/a#sha256={'0' * 64}", allowed_hosts={"files.example"}
        )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 512"),
        ("ipfs://" + "a" * 600, "1 to 512"),
        (f"http://ipfs.io/ipfs/{CID}", "only ipfs:// and https://"),
        (f"ftp://ipfs.io/ipfs/{CID}", "only ipfs:// and https://"),
        ("file:///etc/passwd", "only ipfs:// and https://"),
        (f"ipns://{CID}", "only ipfs:// and https://"),
        ("data:text/plain,x", "no image by that CID"),
        (f"https://127.0.0.1/ipfs/{CID}", "IP address"),
        (f"https://127.1/ipfs/{CID}", "IP address"),
        (f"https://2130706433/ipfs/{CID}", "full DNS name"),
        (f"https://0x7f.0.0.0x1/ipfs/{CID}", "IP address"),
        (f"https://[::1]/ipfs/{CID}", "full DNS name"),
        (f"https://[::1/ipfs/{CID}", "not a URL"),
        (f"https://[::ffff:10.0.0.1]/ipfs/{CID}", "full DNS name"),
        (f"https://localhost/ipfs/{CID}", "full DNS name"),
        (f"https://a.localhost/ipfs/{CID}", "private"),
        (f"https://metadata.google.internal/ipfs/{CID}", "private"),
        (f"https://router.lan./ipfs/{CID}", "private"),
        (f"https://{CID}.ipfs.localhost/a", "private"),
        (f"https://{CID}.ipfs.127.0.0.1/a", "IP address"),
        (f"https://user@ipfs.io/ipfs/{CID}", "user info"),
        (f"https://user:pass@ipfs.io/ipfs/{CID}", "user info"),
        (f"https://@ipfs.io/ipfs/{CID}", "user info"),
        (f"https://ipfs.io:8443/ipfs/{CID}", "standard port"),
        (f"https://ipfs.io:/ipfs/{CID}", "standard port"),
        (f"https://ipfs.io:99999/ipfs/{CID}", "not a URL"),
        (f"https://ipfs.io:x/ipfs/{CID}", "not a URL"),
        (f"https://ipfs..io/ipfs/{CID}", "full DNS name"),
        (f"https://-ipfs.io/ipfs/{CID}", "full DNS name"),
        (f"https://ipfs%2eio/ipfs/{CID}", "full DNS name"),
        (f"https:///ipfs/{CID}", "full DNS name"),
        ("https://ipfs.io/ipfs/", "no image by that CID|no name of a file"),
        ("https://ipfs.io/ipns/name", "names no CID"),
        (f"https://ipfs.io/ipfs/{CID}?format=car", "no query"),
        (f"https://ipfs.io/ipfs/{CID}/a?", "no query"),
        (f"https://ipfs.io/ipfs/{CID}#", "no query"),
        (f"https://{CID}.ipfs.dweb.link/?", "no query"),
        (f"ipfs://{CID}?x", "no query"),
        (f"ipfs://{CID}#x", "no query"),
        (f"ipfs://{CID}/../x", "no name of a file"),
        (f"ipfs://{CID}/%2e%2e/x", "no name of a file"),
        (f"ipfs://{CID}/a%2Fb", "no name of a file"),
        (f"ipfs://{CID}/a%00b", "no name of a file"),
        (f"ipfs://{CID}//a", "no name of a file"),
        (f"ipfs://{CID}/%ff", "not UTF-8"),
        (f"ipfs://{CID}/%zz", "printable ASCII"),
        (f"ipfs://{CID}/a b", "printable ASCII"),
        (f"ipfs://{CID}\n", "printable ASCII"),
        (f"https://ipfs.io\\@evil.example/ipfs/{CID}", "printable ASCII"),
        (f"https://ipfs.io/ipfs/{CID}/ä", "printable ASCII"),
        (f"https://bücher.example/ipfs/{CID}", "printable ASCII"),
        (f"ipfs://{CID}" + "/a" * 17, "more than 16 names"),
        ("ipfs://notacid", "no image by that CID"),
        (f"ipfs://{str(V0).lower()}", "capitals were lost.*ipfs cid base32"),
        (f"https://{str(V0).lower()}.ipfs.dweb.link/", "capitals were lost"),
        ("https://gateway.ipfs.io/index.html", "no image by that CID"),
        ("https://gw.ipfs.example.com/", "no image by that CID"),
        (f"https://ipfs.io/ipfs/{CID}?pinataGatewayToken=s3cret", f"no query.*write ipfs://{CID}"),
        (f"https://ipfs.io/ipfs/{CID}?filename=a&token=x", "no query"),
        (f"https://ipfs.io/ipfs/{CID}?s3cret", "no query"),
        (f"http://ipfs.io/ipfs/{CID}/a", f"not 'http'; write ipfs://{CID}/a"),
        (f"http://127.0.0.1:8080/ipfs/{CID}", f"not 'http'; write ipfs://{CID}"),
        ("ipns://docs.ipfs.tech", "IPNS name, which can lead elsewhere"),
        ("/ipns/docs.ipfs.tech", "IPNS name"),
        ("https://docs-ipfs-tech.ipns.dweb.link/", "IPNS name"),
        ("https://ipfs.io/ipns/docs.ipfs.tech", "IPNS name"),
        (f"https://x.example/#/ipns/{CID}", "only from hosts"),
        (KEY, "names a key .IPNS."),
        (f"{CID}//", "no name of a file"),
        (f"//ipfs/{CID}", "no name of a file"),
        ("hello", "no image by that CID"),
        ("ipfs://docs.ipfs.tech/a.eif", "'docs.ipfs.tech' names no CID but an IPNS name"),
        (f"ipfs://{CID}.car", "no image by that CID"),
        (f"ipfs://{str(V0)[:-1]}", "one has 46 characters, this has 45"),
        ("ipfs://baga6ea4seaqao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq", "Filecoin"),
        ("https://my_bucket/a.eif", "full DNS name"),
        ("https://files.my_tld/a.eif", "IP address"),
    ],
)  # fmt: skip
def test_parse__anything_else__is_refused_and_says_why(text: str, why: str) -> None:
    with pytest.raises(BadUrl, match=why):
        parse_image_url(text, allowed_hosts={"files.example"})


@given(
    st.text(max_size=100)
    | st.from_regex(r"(ipfs|https?|file):/{0,3}[!-~]{0,80}", fullmatch=True)
    | st.from_regex(r"https://[a-z0-9.@:\[\]%-]{1,40}/ipfs/", fullmatch=True).map(
        lambda text: text + str(CID)
    )
)
@example("https://[")
@example("https://a.b:٣/ipfs/x")
def test_parse__any_text__a_public_name_or_badurl(text: str) -> None:
    try:
        url = parse_image_url(text, allowed_hosts={"files.example"})
    except BadUrl:
        return
    if isinstance(url, HttpsUrl):
        assert url.host == "files.example"
        return
    assert parse_image_url(str(url.cid)) == IpfsUrl(url.cid)
    if url.hint is not None:
        assert not set(url.hint) - set("abcdefghijklmnopqrstuvwxyz0123456789.-")
        assert url.hint.rpartition(".")[2][0].isalpha()


def test_canonical__urls_of_one_content__are_one() -> None:
    texts = (f"{V0}", f"ipfs://{V0.canonical}/", f"https://ipfs.io/ipfs/{V0}")
    urls = [parse_image_url(text) for text in texts]
    assert len({url.canonical for url in urls if isinstance(url, IpfsUrl)}) == 1


OPEN = "https://files.example/a/base.eif"


@pytest.mark.parametrize(
    "url",
    [
        OPEN, "https://FILES.example/x?X-Amz-Signature=ab&Expires=5", "files.example/x.eif",
        f"{OPEN}?{'k=v&' * 480}z=1", "https://host.example/",
        "https://my_bucket.s3.amazonaws.com/a.eif",
    ],
)  # fmt: skip
def test_open__any_public_host__is_a_file_by_its_url_alone(url: str) -> None:
    found = parse_open_url(url)
    assert isinstance(found, OpenUrl)
    assert found.host == found.host.lower()
    with pytest.raises(BadUrl):
        parse_image_url(url, allowed_hosts={found.host})
    pinned = found.pinned("ab" * 32)
    assert (pinned.cid.digest.hex(), pinned.url, pinned.pinned) == ("ab" * 32, found.url, True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{CID}.car", "name of a file.*write ipfs://CID"), ("app.eif", "name of a file"),
        (f"{V0}.eif", "name of a file"), ("base-blue_v3.0.0_linux_amd64.EIF", "name of a file"),
        ("/home/me/app.eif", "its writer's machine"), ("./app.eif", "its writer's machine"),
        ("~/app.eif", "its writer's machine"), ("C:/app.eif", "its writer's machine"),
        ("https:/files.example/x", "scheme is cut; write https://"),
        ("https//files.example/x", "scheme is cut"), ("http:files.example/x", "scheme is cut"),
        ("http://files.example/x", "not 'http'; write https:// where the host answers by it"),
    ],
)  # fmt: skip
def test_open__what_no_host_can_be_meant_by__is_told_as_what_it_is(text: str, why: str) -> None:
    for parse in (parse_open_url, parse_image_url):
        with pytest.raises(BadUrl, match=why):
            parse(text)


@pytest.mark.parametrize(
    "url", ["files.example", "files.example/app.eif", "https://dealers.car", "www.app.zip"]
)
def test_open__a_host_with_and_without_its_scheme__is_asked(url: str) -> None:
    assert isinstance(parse_open_url(url), OpenUrl)


def test_open__what_names_its_content__does_as_ever() -> None:
    digest = f"{OPEN}#sha256={'ab' * 32}"
    found = parse_open_url(digest)
    assert found == parse_image_url(digest, allowed_hosts={"files.example"})
    cid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
    for text in (f"ipfs://{cid}", f"https://ipfs.io/ipfs/{cid}", f"https://{cid}.ipfs.dweb.link/"):
        assert parse_open_url(text) == parse_image_url(text)


@pytest.mark.parametrize(
    "url",
    [
        "http://files.example/x.eif", "ftp://files.example/x", "file:///etc/passwd",
        "https://127.0.0.1/x", "https://[::1]/x", "https://localhost/x", "https://metadata/x",
        "https://10.0.0.1/x", "https://2130706433/x", "https://0x7f.1/x", "https://a.internal/x",
        "https://user:pass@files.example/x", "https://files.example:8443/x",
        "https://files.example:/x", "https://files.example/x#latest", "https://files.example/%zz",
        "https://files.example/\\x", "https://files.example/ x", "", "https://ipfs.io/ipns/a.example",
        OPEN + "?" + "k" * 2048,
    ],
)  # fmt: skip
def test_open__what_no_tls_to_a_public_host_is__is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(BadUrl) as no:
        parse_open_url(url)
    assert "user:pass" not in str(no.value)
