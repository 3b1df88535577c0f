"""What an `enclaveUrl` may be. Users choose it, so this is an attack surface: strict, no I/O.

Accepted: `ipfs://CID[/path]`, a bare CID, `https://HOST/ipfs/CID[/path]`,
`https://CID.ipfs.HOST/[path]`, and `https://` anything with `#sha256=HEX` or `#sha384=HEX` where
the operator allows that host by name. All else is BadUrl, before any request. The addresses
that a name resolves to are checked by `enclave.web.http`, at connection time.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_to_bytes, urlsplit

from enclave.cid import RAW, SHA2_256, SHA2_384, BadCid, Cid, parse_cid
from faults import Refused

MAX_URL_CHARS: Final = 512  # the contract's own bound on enclaveUrl
MAX_PATH_NAMES: Final = 16

_PRINTABLE: Final = re.compile(r"[!-~]+")
_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_TOP_LABEL: Final = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")  # no number: no IPv4 in disguise
_BAD_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
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
    """A file on an allowed host; `cid` (raw) carries the digest of the whole file."""

    url: str
    host: str
    cid: Cid


def parse_image_url(text: str, *, allowed_hosts: Collection[str] = ()) -> IpfsUrl | HttpsUrl:
    """What an enclaveUrl asks for. `allowed_hosts`: lower-case names. Raises BadUrl."""
    if not 1 <= len(text) <= MAX_URL_CHARS:
        raise BadUrl(f"an image URL has 1 to {MAX_URL_CHARS} characters, this has {len(text)}")
    if not _PRINTABLE.fullmatch(text) or "\\" in text or _BAD_ESCAPE.search(text):
        raise BadUrl(f"{text!r}: an image URL is printable ASCII, escaped where it is not")
    if "://" not in text:
        return IpfsUrl(_cid(text))
    scheme, _, rest = text.partition("://")
    if scheme.lower() == "ipfs":
        return _from_names(_names(text, rest))
    if scheme.lower() != "https":
        raise BadUrl(f"{text!r}: only ipfs:// and https:// are fetched, not {scheme[:20]!r}")
    return _parse_https(text, allowed_hosts)


def check_public_host(host: str, text: str) -> str:
    """The host, lower-case, if it is a public DNS name by its looks. Raises BadUrl."""
    name = host.lower().removesuffix(".")
    labels = name.split(".")
    if len(labels) < 2 or len(name) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise BadUrl(f"{text!r}: the host must be a full DNS name, not an address")
    if not _TOP_LABEL.fullmatch(labels[-1]):
        raise BadUrl(f"{text!r}: the host is an IP address; only DNS names are asked")
    if labels[-1] in _SPECIAL:
        raise BadUrl(f"{text!r}: .{labels[-1]} names are private")
    return name


def https_host(text: str) -> str:
    """The public host of an https URL without user info and odd port. Raises BadUrl."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as fault:
        raise BadUrl(f"{text!r} is not a URL: {fault}") from None
    if parts.scheme != "https":
        raise BadUrl(f"{text!r}: only https:// is asked")
    if "@" in parts.netloc:
        raise BadUrl(f"{text!r}: user info has no place in an image URL")
    if port not in (None, 443) or parts.netloc.endswith(":"):
        raise BadUrl(f"{text!r}: only the standard port is asked")
    return check_public_host(parts.hostname or "", text)


def _parse_https(text: str, allowed_hosts: Collection[str]) -> IpfsUrl | HttpsUrl:
    host, parts = https_host(text), urlsplit(text)
    if parts.fragment:
        return _parse_plain(text, host, parts.fragment, allowed_hosts)
    label, _, parent = host.partition(".ipfs.")
    if parent and "." not in label:
        base = check_public_host(parent, text)
        return _from_names(_names(text, f"{label}{parts.path}"), hint=base)
    if parts.path.startswith("/ipfs/"):
        return _from_names(_names(text, parts.path.removeprefix("/ipfs/")), hint=host)
    raise BadUrl(
        f"{text!r} names no CID; a plain https:// URL needs #sha256=HEX or #sha384=HEX"
        " and a host that the operator allows"
    )


def _parse_plain(text: str, host: str, fragment: str, allowed: Collection[str]) -> HttpsUrl:
    if host not in allowed:
        raise BadUrl(f"{text!r}: plain https:// is fetched only from hosts the operator allows")
    match = _DIGEST.fullmatch(fragment)
    code, size = _DIGEST_CODES[match[1]] if match else (0, 0)
    if not match or len(match[2]) != 2 * size:
        raise BadUrl(f"{text!r}: the fragment must be sha256= and 64, or sha384= and 96 hex digits")
    return HttpsUrl(text.partition("#")[0], host, Cid(RAW, code, bytes.fromhex(match[2])))


def _names(text: str, path: str) -> list[str]:
    """The decoded names of CID/a/b; one slash at the end is forgiven."""
    if "?" in text or "#" in text:  # empty ones too, which urlsplit does not show
        raise BadUrl(f"{text!r}: an IPFS URL has no query and no fragment")
    raw = path.removesuffix("/").split("/")
    if len(raw) > MAX_PATH_NAMES + 1:
        raise BadUrl(f"{text!r}: the path has more than {MAX_PATH_NAMES} names")
    return [_name(text, part) for part in raw]


def _name(text: str, part: str) -> str:
    try:
        name = unquote_to_bytes(part).decode()
    except UnicodeDecodeError:
        raise BadUrl(f"{text!r}: the path is not UTF-8") from None
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise BadUrl(f"{text!r}: {name!r} is no name of a file")
    return name


def _from_names(names: list[str], hint: str | None = None) -> IpfsUrl:
    return IpfsUrl(_cid(names[0]), tuple(names[1:]), hint)


def _cid(text: str) -> Cid:
    try:
        return parse_cid(text)
    except BadCid as fault:
        raise BadUrl(f"no image by that CID: {fault}") from None
