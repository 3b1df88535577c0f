"""The operator's own Kubo node as a source of blocks, through ipfshttpclient.

The client reads whole bodies, unpacks and follows redirects as it is told, lets requests' errors
through and can't be stopped; here it gets none of that. `connect()` refuses today's daemons,
`Client` does not. Blocks are asked one by one: `cat` and `dag.export` hide errors that come after
the first byte.
"""

from __future__ import annotations

import http.client
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Protocol

from enclave.cid import Cid
from enclave.ipfs.answers import BadAnswer, NotReached
from enclave.ipfs.configured_sources import kubo_multiaddr
from enclave.ipfs.gateway import PROOF_BYTES, Blocks, Session, read_bounded, verified
from enclave.shown import USER_AGENT, shown
from enclave.web.guard import Guard, in_time
from enclave.web.http import FREE_PIECES, LEAST_PIECE_BYTES
from enclave.web.words import first_bytes, words

_READ_BYTES: Final = 64 << 10


class KuboNode:
    """A node by its RPC address, as `kubo_multiaddr` reads it; it raises UsageFault."""

    def __init__(self, address: str) -> None:
        self._address = kubo_multiaddr(address)

    @property
    def name(self) -> str:
        return f"kubo:{self._address}"

    def open(self, guard: Guard) -> Session:
        return _KuboSession(self._address, guard)


class _KuboSession:
    parallel = 1

    def __init__(self, address: str, guard: Guard) -> None:
        from ipfshttpclient import Client
        from ipfshttpclient.exceptions import Error

        # urllib3 warns of an argument that ipfshttpclient passes; nobody here can do anything.
        warnings.filterwarnings("ignore", "The 'strict' parameter", FutureWarning)
        self.guard = guard
        headers = {"Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        try:
            self._client = Client(address, headers=headers, auth=self._taming, session=True)
        except Error as fault:
            raise BadAnswer(f"{address} can't be asked: {shown(fault)}") from None
        _go_directly(self._client, address)

    def car(self, root: Cid, start: int) -> Blocks:
        raise BadAnswer("a Kubo node is asked block by block")

    def block(self, cid: Cid) -> bytes:
        self.guard.expect()
        return verified(cid, in_time(self.guard, lambda: self._asked(cid)))

    def close(self) -> None:
        self._client.close()

    def _asked(self, cid: Cid) -> bytes:
        from ipfshttpclient import exceptions
        from urllib3.exceptions import HTTPError

        try:
            with self._client.block.get(
                str(cid), stream=True, timeout=self.guard.remaining()
            ) as pieces:
                return read_bounded(pieces)
        # Besides its own errors the client lets those of requests (OSError) and urllib3 through.
        except (
            exceptions.Error,
            HTTPError,
            http.client.HTTPException,
            OSError,
            ArithmeticError,
            ValueError,
        ) as fault:
            text = f"the Kubo node does not give {cid}: {shown(_said(fault))}"
            silent = isinstance(fault, exceptions.ConnectionError | exceptions.TimeoutError)
            raise (NotReached if silent else BadAnswer)(text) from None

    def _taming(self, request: Any) -> Any:
        """requests' own door for looking at answers before anybody reads them (`AuthBase`)."""
        request.register_hook("response", self._tame)
        return request

    def _tame(self, answer: _Answer, **_: object) -> None:
        if answer.is_redirect:
            answer.close()
            raise BadAnswer("the Kubo node sends elsewhere, where nobody is asked")
        if (odd := _no_rpc(answer.status_code, answer.headers.get("Content-Type", ""))) is not None:
            said = words(first_bytes(self._pieces(answer)), "")
            answer.close()
            raise BadAnswer(f"{odd}: {said}" if said else odd)
        answer.iter_content = lambda chunk_size: self._pieces(answer)

    def _pieces(self, answer: _Answer) -> Iterator[bytes]:
        """The body as it comes and never unpacked, of an error's text too."""
        left, pieces = PROOF_BYTES + 1, 0
        while left > 0 and (piece := answer.raw.read1(_READ_BYTES, decode_content=False)):
            self.guard.heard()
            self.guard.remaining()
            left, pieces = left - len(piece), pieces + 1
            if pieces > FREE_PIECES and PROOF_BYTES - left < pieces * LEAST_PIECE_BYTES:
                raise BadAnswer("the Kubo node answers in crumbs")
            yield piece


def _go_directly(client: Any, address: str) -> None:
    """Images are fetched through no proxy, and requests goes by the environment's ALL_PROXY. Only
    an argument of each request is heard instead, which the client keeps for UNIX sockets; the host
    by its name, since another entry would be put into the environment of all threads."""
    kind, host = address.split("/")[1:3]
    if kind != "unix":
        client._client._request_proxies = {"no_proxy": host}  # noqa: SLF001 - no other way


def _said(fault: BaseException) -> object:
    """The sentence of the node's own, or what is within: its libraries put one fault into another,
    the last with a URL before the reason, which is cut off then."""
    from ipfshttpclient.exceptions import ErrorResponse

    if isinstance(fault, ErrorResponse):
        return fault
    held = [getattr(fault, "original", None), getattr(fault, "reason", None), *fault.args]
    within = next((one for one in held if isinstance(one, BaseException)), None)
    return fault if within is None else _said(within)


def _no_rpc(status: int, kind: str) -> str | None:
    """What it means that no block came and no error of Kubo's own, which is a 500 with JSON."""
    page = kind.partition(";")[0].strip().lower()
    if status < 400:
        odd = page in ("text/html", "application/json")
        return f"what answers is no Kubo RPC: it sends {page}" if odd else None
    if status in (401, 403):
        return f"the Kubo node refuses (status {status}): it wants a key, and none is sent"
    if status in (404, 405):
        what = "no Kubo RPC, but the node's gateway perhaps, which is named as a gateway"
        return f"what answers (status {status}) is {what}"
    return None if page == "application/json" else f"the Kubo node answers with status {status}"


class _Body(Protocol):
    """As much of urllib3's response as is used."""

    def read1(self, amt: int, *, decode_content: bool) -> bytes: ...


class _Answer(Protocol):
    """As much of requests' response as is used."""

    is_redirect: bool
    status_code: int
    headers: Mapping[str, str]
    raw: _Body
    iter_content: Callable[[int | None], Iterator[bytes]]

    def close(self) -> None: ...
