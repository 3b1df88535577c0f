"""Lists of images: what an entry means, however it is written, and what a URL says of its image.

An entry is a CID in any spelling (`ipfs://CID` and a gateway's link too), the SHA-256 of the image
file, or its PCR0. A URL names its image before a byte is fetched, as far as it goes: by its CID,
and by a digest where the CID is one of the whole file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from enclave.cid import RAW, SHA2_256, BadCid, Cid, parse_cid
from enclave.web.image_url import BadUrl, HttpsUrl, IpfsUrl, parse_image_url
from faults import UsageFault

_SHA256 = re.compile(r"(?:0x|sha256[:=])?([0-9a-f]{64})")
_PCR0 = re.compile(r"(?:0x|pcr0[:=])?([0-9a-f]{96})")


@dataclass(frozen=True, slots=True)
class ImageList:
    """What is listed: CIDs by codec and multihash; digests in lower-case hex."""

    cids: frozenset[Cid] = frozenset()
    sha256: frozenset[str] = frozenset()
    pcr0: frozenset[str] = frozenset()

    @classmethod
    def read(cls, entries: Iterable[str]) -> ImageList:
        """The list of these entries. Raises UsageFault: one is none of the three."""
        lists = [_entry(text) for text in entries]
        return cls(
            frozenset().union(*(one.cids for one in lists)),
            frozenset().union(*(one.sha256 for one in lists)),
            frozenset().union(*(one.pcr0 for one in lists)),
        )

    def __bool__(self) -> bool:
        return bool(self.cids or self.sha256 or self.pcr0)

    def __and__(self, other: ImageList) -> ImageList:
        """What both list."""
        return ImageList(self.cids & other.cids, self.sha256 & other.sha256, self.pcr0 & other.pcr0)

    def has(self, cid: str, sha256: str, pcr0: str) -> bool:
        """Whether an image that is known is listed. `cid`: of the file."""
        return sha256 in self.sha256 or pcr0 in self.pcr0 or _read(cid) in self.cids

    def names(self, url: str) -> bool | None:
        """Whether the image at a URL is listed; None: only its bytes can tell.

        A CID with a path below it lists and names all that is below, which can't change.
        """
        content = _content(url)
        if content is None:
            return None
        if content.cid in self.cids or _whole_digest(content) in self.sha256:
            return True
        known_by_bytes = self.pcr0 or (self.sha256 and not _whole_digest(content))
        below = isinstance(content, IpfsUrl) and content.path and self
        return None if known_by_bytes or below else False


def _entry(text: str) -> ImageList:
    """One entry. A SHA-256 is also listed as the raw CID that is the same digest, and the other
    way round."""
    given = text.strip()
    if digest := _PCR0.fullmatch(given.lower()):
        return ImageList(pcr0=frozenset({digest[1]}))
    if digest := _SHA256.fullmatch(given.lower()):
        return _of_digest(digest[1])
    content = _content(given)
    if not isinstance(content, IpfsUrl) or content.path:
        raise UsageFault(
            f"{text[:80]!r} is neither a CID nor a SHA-256 (64 hex digits) nor a PCR0 (96)"
        )
    if digest_hex := _whole_digest(content):
        return _of_digest(digest_hex)
    return ImageList(cids=frozenset({content.cid}))


def _of_digest(sha256: str) -> ImageList:
    cid = Cid(RAW, SHA2_256, bytes.fromhex(sha256))
    return ImageList(cids=frozenset({cid}), sha256=frozenset({sha256}))


def _content(url: str) -> IpfsUrl | HttpsUrl | None:
    """What it names, from whichever host: which hosts are allowed is asked elsewhere."""
    try:
        host = (urlsplit(url).hostname or "").removesuffix(".")
        return parse_image_url(url, allowed_hosts=frozenset({host}))
    except (BadUrl, ValueError):
        return None


def _whole_digest(content: IpfsUrl | HttpsUrl) -> str:
    """The SHA-256 of the file, where the URL says it: a raw CID is of a file in one block."""
    cid, path = content.cid, content.path if isinstance(content, IpfsUrl) else ()
    return cid.digest.hex() if (cid.codec, cid.hash_code, path) == (RAW, SHA2_256, ()) else ""


def _read(cid: str) -> Cid | None:
    try:
        return parse_cid(cid)
    except BadCid:
        return None
