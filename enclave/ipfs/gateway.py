"""Where blocks come from, and trustless gateways, the usual place.

A source is believed in nothing: each block is checked against its CID before it leaves here.
Source of the HTTP side: the Trustless Gateway specification (ipfs specs).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Final, Protocol

import httpcore

from enclave.cid import Cid
from enclave.ipfs.answers import FINAL, BadAnswer, Busy, bad_answer, sentence
from enclave.ipfs.car import MAX_BLOCK_BYTES, BadCar, CarReader, Lie
from enclave.ipfs.configured_sources import gateway_url
from enclave.ipfs.dagpb import BadDag
from enclave.shown import shown
from enclave.web.guard import Guard
from enclave.web.http import HttpSession, Resolve, body, header, is_packed
from faults import Refused, RetryLater, TryElsewhere

CAR_TYPE: Final = "application/vnd.ipld.car"
RAW_TYPE: Final = "application/vnd.ipld.raw"
# What caches and object stores say of bytes that they don't know: nothing. The bytes tell.
_UNSAID: Final = ("", "application/octet-stream", "binary/octet-stream")
PROOF_BYTES: Final = 2 * MAX_BLOCK_BYTES  # read of a single block, to prove that it is too large
_ACCEPT_CAR: Final = f"{CAR_TYPE}; version=1; order=dfs; dups=y"


Blocks = Generator[tuple[Cid, bytes]]


class Session(Protocol):
    """One source within one fetch."""

    guard: Guard
    parallel: int  # blocks that may be asked for at the same time

    def car(self, root: Cid, start: int) -> Blocks:
        """Verified blocks of a file from byte `start` on, in any order, perhaps not all, perhaps
        others. Raises BadAnswer, BadCar, Lie, and what `net` raises."""
        ...

    def block(self, cid: Cid) -> bytes:
        """One verified block. Raises as `car` does."""
        ...

    def close(self) -> None: ...


class Source(Protocol):
    """A place to ask; `name` is for people and for the record of how it behaved."""

    @property
    def name(self) -> str: ...

    def open(self, guard: Guard) -> Session: ...


@dataclass(frozen=True, slots=True)
class Gateway:
    """A trustless gateway at `url`, as `gateway_url` reads it; it raises UsageFault.

    `configured`: the operator named it, so it may be anywhere, loopback too, and without TLS.
    """

    url: str
    configured: bool = True
    resolve: Resolve | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", gateway_url(self.url))

    @property
    def name(self) -> str:
        return self.url

    def open(self, guard: Guard) -> Session:
        trusted = self.url if self.configured else None
        return _GatewaySession(self.url, HttpSession(guard, trusted=trusted, resolve=self.resolve))


class _GatewaySession:
    parallel = 8

    def __init__(self, base: str, http: HttpSession) -> None:
        self._base = base
        self._http = http
        self.guard = http.guard

    def car(self, root: Cid, start: int) -> Blocks:
        rest = f"&entity-bytes={start}:*" if start else ""
        return self._car(root, f"dag-scope=entity{rest}")

    def block(self, cid: Cid) -> bytes:
        try:
            return self._raw(cid)
        except BadAnswer as fault:
            if fault.status in FINAL or isinstance(fault, Busy):
                raise
            return self._block_of_car(cid, fault)

    def close(self) -> None:
        self._http.close()

    def _car(self, root: Cid, scope: str) -> Blocks:
        url, reader = f"{self._base}/ipfs/{root}?format=car&{scope}", CarReader()
        with self._http.get(url, {"Accept": _ACCEPT_CAR}) as response:
            _check_answer(response, CAR_TYPE)
            for data in body(response):
                yield from reader.feed(data)
                if reader.just_begun:
                    self.guard.expect()
            reader.finish()

    def _raw(self, cid: Cid) -> bytes:
        url = f"{self._base}/ipfs/{cid}?format=raw"
        with self._http.get(url, {"Accept": RAW_TYPE}) as response:
            is_said = _check_answer(response, RAW_TYPE) and _says_its_end(response)
            block = read_bounded(body(response))
        if not block and not cid.matches(block):
            raise BadAnswer("the gateway answers with nothing at all")
        if not is_said and not cid.matches(block):
            raise BadAnswer(f"what the gateway sends for {cid} is another thing, or cut off")
        return verified(cid, block)

    def _block_of_car(self, cid: Cid, fault: BadAnswer) -> bytes:
        """For gateways that send CARs and no single blocks; if it is none, `fault` is raised."""
        with suppress(BadAnswer), closing(self._car(cid, "dag-scope=block")) as blocks:
            for found, block in blocks:
                if found == cid:
                    return block
        raise fault


class SourceBroke(TryElsewhere):
    """Asking this source ended by a bug, of a library or ours: it is one source less, no more."""


@contextmanager
def unbroken(source: Source) -> Iterator[None]:
    """Whatever a source does, it is a fault of that source. Raises SourceBroke for what is none."""
    try:
        yield
    except (TryElsewhere, RetryLater, Refused):
        raise
    except Exception as broken:
        text = f"{source.name} can't be asked: {shown(repr(broken), 120)}"
        raise SourceBroke(text) from broken


def gateway_for(host: str, resolve: Resolve | None = None) -> Gateway:
    """A gateway that a user's URL hints at: public addresses and https only."""
    return Gateway(f"https://{host}", configured=False, resolve=resolve)


def read_bounded(pieces: Iterator[bytes], limit: int = PROOF_BYTES) -> bytes:
    """All of a body, unless it is longer than a block may be. Raises BadCar."""
    block = bytearray()
    for piece in pieces:
        block += piece
        if len(block) > limit:
            raise BadCar(f"a block longer than {limit} bytes")
    return bytes(block)


def verified(cid: Cid, block: bytes) -> bytes:
    """The block, if it is what the CID names. Raises Lie; BadDag if it is, and is too large."""
    if not cid.matches(block):
        raise Lie(f"block {cid} is not what its CID says")
    if len(block) > MAX_BLOCK_BYTES:
        raise BadDag(
            f"block {cid} has {len(block)} bytes; at most {MAX_BLOCK_BYTES} are accepted, as IPFS"
            " nodes pass on: add the image again without --chunker"
        )
    return block


def _says_its_end(response: httpcore.Response) -> bool:
    """Whether a body that breaks off is known to; else it ends where the connection does."""
    return bool(header(response, "content-length") or header(response, "transfer-encoding"))


def _check_answer(response: httpcore.Response, wanted: str) -> bool:
    """Whether it says that it is what is wanted; False: it may be. Raises BadAnswer: it is not."""
    if response.status != 200:
        raise bad_answer(response)
    kind = header(response, "content-type").partition(";")[0].strip().lower()
    if kind not in (wanted, *_UNSAID):
        said = sentence(response)
        raise BadAnswer(
            f"the gateway answers with {shown(kind, 60) or 'no type'}, not {wanted}"
            + (f": {said}" if said else "")
        )
    if is_packed(response):
        raise BadAnswer("the gateway compresses what must be exact, though nobody asked for that")
    return kind == wanted
