"""What an `enclaveUrl` may be. Users choose it, so this is an attack surface: strict, no I/O.

Content is named by a CID, however people write that: `ipfs://CID[/path]`, a bare `CID[/path]`,
`/ipfs/CID`, `ipfs://ipfs/CID` and what else `_PREFIX` takes, and the links of gateways,
`https://HOST/ipfs/CID[/path]` and `https://CID.ipfs.HOST/[path]`, with or without their scheme and
with what share buttons append (`?filename=`). They all mean the CID and the path; the host is a
hint that is believed in nothing. `https://` anything with `#sha256=HEX` or `#sha384=HEX` is a plain
file where the operator allows that host by name. Where the market has images by their URL alone,
`https://` anything at a public host is one too (`OpenUrl`), and may be as long as object stores'
signed URLs are. All else is BadUrl, before any request, and says
what to write instead. The addresses that a name resolves to are checked by `enclave.web.http`, at
connection time. Sources: IPFS address docs, the gateway specifications, public reports.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from enclave.cid import RAW, SHA2_256, SHA2_384, BadCid, Cid, parse_cid
from enclave.web.slips import slip
from faults import Refused

MAX_URL_CHARS: Final = 512  # the contract's own bound on enclaveUrl
MAX_OPEN_URL_CHARS: Final = 2048  # signed URLs of object stores
MAX_PATH_NAMES: Final = 16

_PRINTABLE: Final = re.compile(r"[!-~]+")
# With "_", which names of hosts should not have and old buckets do (my_bucket.s3.amazonaws.com).
_LABEL: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_TOP_LABEL: Final = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")  # no number: no IPv4 in disguise
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# How people begin the address of content: schemes of IPFS's own documents and of browsers, then
# slashes as they come, then the namespace, which `ipfs://ipfs/CID` says twice.
_PREFIX: Final = re.compile(r"(?i:(?:web\+)?ipfs:|dweb:)/{0,3}(?:ipfs/)?|/?ipfs/")
_NAMES_A_NAME: Final = re.compile(r"(?i:(?:web\+)?ipns:|dweb:/*ipns/)|/?ipns/")
_CONTENT_PATH: Final = re.compile(r"/ipfs/[A-Za-z0-9]{46,}(?:/[^?#]*)?")
_LOWERED_V0: Final = re.compile(r"qm[0-9a-z]{44}")
# Of a gateway's link; they choose how a browser shows the bytes, and change none of them.
_IDLE_QUERY: Final = frozenset({"filename", "download", "x-ipfs-companion-no-redirect"})
_IDLE_FRAGMENT: Final = "x-ipfs-companion-no-redirect"
_IPNS_WORDS: Final = (
    "names no CID but an IPNS name, which can lead elsewhere tomorrow; write the CID that it leads"
    " to now"
)
_USER_INFO: Final = re.compile(r"(?:(?<=//)|\A(?!.*//)).*@")  # with what its secrets may hold
_QUERY_PIECE: Final = re.compile(r"(?<=[?&])(?:([A-Za-z_-]{1,30}=)(?=[^=&#]))?[^&#]+")
_FRAGMENT: Final = re.compile(r"#(?!(?:sha256|sha384)=|/).+")
_DIGEST: Final = re.compile(r"(sha256|sha384)=([0-9a-fA-F]+)")
_DIGEST_CODES: Final = {"sha256": (SHA2_256, 32), "sha384": (SHA2_384, 48)}
# Names that never mean a public host (RFC 6761, 6762, 8375, 9476; clouds' metadata names).
_SPECIAL: Final = frozenset(
    {"localhost", "local", "localdomain", "internal", "intranet", "lan", "home", "corp"}
    | {"private", "test", "invalid", "onion", "alt", "arpa"}
)


class BadUrl(Refused):
    """This enclaveUrl is not of a kind that is fetched."""


@dataclass(frozen=True, slots=True)
class IpfsUrl:
    """Content by CID; `hint` is a host that the user says has it, believed in nothing."""

    cid: Cid
    path: tuple[str, ...] = ()
    hint: str | None = None

    @property
    def canonical(self) -> IpfsUrl:
        """The same for every URL of the same content."""
        return IpfsUrl(self.cid.canonical, self.path)

    def __str__(self) -> str:
        return "/".join([f"ipfs://{self.cid}", *self.path])


@dataclass(frozen=True, slots=True)
class HttpsUrl:
    """A file on an allowed host; `cid` (raw) carries the digest of the whole file. `pinned`: it is
    that of the first fetch, and stands in no URL."""

    url: str = field(repr=False)  # its query may be a secret
    host: str
    cid: Cid
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class OpenUrl:
    """A file at a public host by its URL alone: what is there can be another file tomorrow."""

    url: str = field(repr=False)  # its query may be a secret
    host: str

    def pinned(self, sha256: str) -> HttpsUrl:
        """The file of that SHA-256 (hex), wherever the URL leads by now."""
        return HttpsUrl(self.url, self.host, Cid(RAW, SHA2_256, bytes.fromhex(sha256)), pinned=True)


def parse_image_url(text: str, *, allowed_hosts: Collection[str] = ()) -> IpfsUrl | HttpsUrl:
    """What an enclaveUrl asks for. `allowed_hosts`: lower-case names. Raises BadUrl."""
    found = _parsed(text, MAX_URL_CHARS, allowed_hosts)
    assert not isinstance(found, OpenUrl)  # which only any host gives
    return found


def parse_open_url(text: str) -> IpfsUrl | HttpsUrl | OpenUrl:
    """As `parse_image_url`, where files are taken from any public host and need no digest."""
    return _parsed(text, MAX_OPEN_URL_CHARS, None)


def _parsed(text: str, most: int, allowed: Collection[str] | None) -> IpfsUrl | HttpsUrl | OpenUrl:
    """`allowed` None: any public host, and no digest is needed."""
    if not 1 <= len(text) <= most:
        raise BadUrl(f"an image URL has 1 to {most} characters, this has {len(text)}")
    if not _PRINTABLE.fullmatch(text) or "\\" in text or _BAD_ESCAPE.search(text):
        raise BadUrl(f"{told(text)!r}: an image URL is printable ASCII, escaped where it is not")
    if prefix := _PREFIX.match(text):
        return _from_names(_names(text, text[prefix.end() :]))
    scheme, separator, _ = text.partition("://")
    if _NAMES_A_NAME.match(text):
        only = "only ipfs:// and https:// are fetched: " if separator else ""
        raise BadUrl(f"{told(text)!r}: {only}it {_IPNS_WORDS}")
    if wrong := slip(text):
        raise BadUrl(f"{told(text)!r}: {wrong}")
    if not separator and "." not in re.split("[/?#]", text, maxsplit=1)[0]:  # no host, no dot
        return _from_names(_names(text, text))
    if not separator:
        return _parse_https(f"https://{text}", allowed)
    if scheme.lower() != "https":
        raise BadUrl(
            f"{told(text)!r}: only ipfs:// and https:// are fetched, not {scheme[:20]!r}"
            + (_instead(text) or _over_tls(text))
        )
    return _parse_https(text, allowed)


def told(url: str) -> str:
    """The URL as it may be shown: what may be a secret (user info, the values of a query, a
    fragment) is replaced; an empty one stays."""
    hidden = _USER_INFO.sub("***@", url)
    hidden = _QUERY_PIECE.sub(lambda piece: f"{piece[1] or ''}***", hidden)
    return _FRAGMENT.sub("#***", hidden)


def check_public_host(host: str, text: str) -> str:
    """The host, lower-case, if it is a public DNS name by its looks. Raises BadUrl."""
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    if len(labels) < 2 or len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise BadUrl(f"{told(text)!r}: the host must be a full DNS name, not an address")
    if not _TOP_LABEL.fullmatch(labels[-1]):
        raise BadUrl(f"{told(text)!r}: the host is an IP address; only DNS names are asked")
    if labels[-1] in _SPECIAL:
        raise BadUrl(f"{told(text)!r}: .{labels[-1]} names are private")
    return name


def origin(url: str) -> tuple[str, str, int]:
    """(scheme, host, port) of an http or https URL. Raises BadUrl."""
    if not _PRINTABLE.fullmatch(url):
        raise BadUrl(f"{told(url)!r} is not a URL: it is not printable ASCII")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadUrl(f"{told(url)!r} is not a URL: its host or port is none") from None
    default = {"http": 80, "https": 443}.get(parts.scheme)
    if default is None or not parts.hostname or "@" in parts.netloc:
        raise BadUrl(f"{told(url)!r} is not an http:// or https:// URL of a host")
    return parts.scheme, parts.hostname, port or default


def https_host(text: str) -> str:
    """The public host of an https URL without user info and odd port. Raises BadUrl."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # whose own words repeat what may be a secret
        raise BadUrl(f"{told(text)!r} is not a URL: its host or port is none") from None
    if parts.scheme != "https":
        raise BadUrl(f"{told(text)!r}: only https:// is asked")
    if "@" in parts.netloc:
        raise BadUrl(f"{told(text)!r}: user info has no place in an image URL")
    if port not in (None, 443) or parts.netloc.endswith(":"):
        raise BadUrl(f"{told(text)!r}: only the standard port is asked")
    return check_public_host(parts.hostname or "", text)


def _parse_https(text: str, allowed: Collection[str] | None) -> IpfsUrl | HttpsUrl | OpenUrl:
    host, parts = https_host(text), urlsplit(text)
    label, kind, parent = _first_labels(host)
    rest = text.partition("://")[2][len(parts.netloc) :]
    if kind == "ipfs" and _is_cid(label):
        return _from_names(_names(text, f"{label}{rest}"), check_public_host(parent, text))
    if parts.path.startswith("/ipfs/") and not _DIGEST.match(parts.fragment):
        return _from_names(_names(text, rest.removeprefix("/ipfs/")), hint=host)
    if rest.lstrip("/").startswith("#/ipfs/"):  # inbrowser.link, which is asked for nothing
        return _from_names(_names(text, parts.fragment.removeprefix("/ipfs/")))
    if parts.fragment:
        return _parse_plain(text, host, parts.fragment, allowed)
    if kind == "ipns" or parts.path.startswith("/ipns/"):
        raise BadUrl(f"{told(text)!r} {_IPNS_WORDS}")
    if kind == "ipfs":
        _cid(label)
    if allowed is None:
        return OpenUrl(text, host)
    raise BadUrl(
        f"{told(text)!r} names no CID; a plain https:// URL needs #sha256=HEX or #sha384=HEX"
        " and a host that the operator allows"
    )


def _first_labels(host: str) -> tuple[str, str, str]:
    """The first label, the second, and the host behind both, as of CID.ipfs.HOST."""
    first, _, rest = host.partition(".")
    second, _, parent = rest.partition(".")
    return first, second if parent else "", parent


def _parse_plain(text: str, host: str, fragment: str, allowed: Collection[str] | None) -> HttpsUrl:
    if allowed is not None and host not in allowed:
        raise BadUrl(
            f"{told(text)!r}: plain https:// is fetched only from hosts the operator allows"
        )
    match = _DIGEST.fullmatch(fragment)
    code, size = _DIGEST_CODES[match[1]] if match else (0, 0)
    if not match or len(match[2]) != 2 * size:
        raise BadUrl(
            f"{told(text)!r}: the fragment must be sha256= and 64, or sha384= and 96 hex digits"
        )
    return HttpsUrl(text.partition("#")[0], host, Cid(RAW, code, bytes.fromhex(match[2])))


def _names(text: str, rest: str) -> list[str]:
    """The decoded names of CID/a/b; one slash at the end is forgiven, and what share buttons
    append. What else is asked may change the bytes, or be a secret."""
    path, marked, fragment = rest.partition("#")
    path, asked, query = path.partition("?")
    if "@" in path and not _is_cid(path.partition("/")[0]):
        raise BadUrl(f"{told(text)!r}: user info has no place in an image URL")
    keys = {piece.partition("=")[0] for piece in query.split("&")}
    if (asked and not keys <= _IDLE_QUERY) or (marked and fragment != _IDLE_FRAGMENT):
        raise BadUrl(f"{told(text)!r}: an IPFS URL has no query and no fragment{_instead(text)}")
    raw = path.removesuffix("/").split("/")
    if len(raw) > MAX_PATH_NAMES + 1:
        raise BadUrl(f"{told(text)!r}: the path has more than {MAX_PATH_NAMES} names")
    return [_name(text, part) for part in raw]


def _name(text: str, part: str) -> str:
    try:
        name = unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise BadUrl(f"{told(text)!r}: the path is not UTF-8") from None
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise BadUrl(f"{told(text)!r}: {name!r} is no name of a file")
    return name


def _from_names(names: list[str], hint: str | None = None) -> IpfsUrl:
    return IpfsUrl(_cid(names[0]), tuple(names[1:]), hint)


def _cid(text: str) -> Cid:
    if _LOWERED_V0.fullmatch(text):
        lowered = "its capitals were lost (browsers write hosts in small letters)"
        raise BadUrl(f"{text!r} is no CID: {lowered}; write it as `ipfs cid base32` does")
    if "." in text and not _is_cid(text.partition(".")[0]):  # a domain, whose DNSLink is meant
        raise BadUrl(f"{text!r} {_IPNS_WORDS}")
    try:
        return parse_cid(text)
    except BadCid as fault:
        raise BadUrl(f"no image by that CID: {fault}") from None


def _is_cid(text: str) -> bool:
    try:
        parse_cid(text)
    except BadCid:
        return False
    return True


def _over_tls(text: str) -> str:
    if not text.lower().startswith("http://"):
        return ""
    return "; write https:// where the host answers by it, or an ipfs:// URL"


def _instead(text: str) -> str:
    """What to write, where the CID can be seen."""
    found = _CONTENT_PATH.search(text)
    if found is None or not _is_cid(found[0].split("/")[2]):
        return ""
    return f"; write ipfs://{found[0].removeprefix('/ipfs/')}"
