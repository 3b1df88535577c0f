"""A local IPFS: files become blocks as Kubo makes them, and a trustless gateway serves them.

Honest by itself; tests override `Gateway.frames`, `Gateway.raw` and `Gateway.car_type` to lie, and
`Gateway.turns_away` to refuse. As strict as public ones: who does not say who asks is refused (as
Cloudflare does before ipfs.io), and `localhost` is sent to CID.ipfs.localhost (as Kubo does).
Everything is in memory. Source: the Trustless Gateway specification and Kubo's defaults.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from enclave.cid import DAG_PB, RAW, BadCid, Cid, cid_of, parse_cid, read_cid, write_varint
from enclave.ipfs.car import car_frame, car_header
from enclave.ipfs.dagpb import BadDag, Kind, decode_node
from enclave.ipfs.unixfs import PathWalk

CHUNK_BYTES: Final = 262_144  # Kubo's default chunker
WIDTH: Final = 174  # Kubo's default links a node
CAR_TYPE: Final = "application/vnd.ipld.car; version=1"
RAW_TYPE: Final = "application/vnd.ipld.raw"
_CONTENT: Final = re.compile(r"/ipfs/([A-Za-z0-9]+)(/[^?]*)?(\?.*)?")


@dataclass(frozen=True, slots=True)
class Part:
    """A subtree of a file: its CID, the bytes of the file in it, the bytes of its blocks."""

    cid: Cid
    size: int
    total: int


@dataclass
class Blocks:
    """Blocks by CID, and how files and directories become such."""

    by_cid: dict[Cid, bytes] = field(default_factory=dict)
    chunk_bytes: int = CHUNK_BYTES
    width: int = WIDTH

    def put(self, block: bytes, codec: int = DAG_PB) -> Cid:
        cid = cid_of(block, codec)
        self.by_cid[cid] = block
        return cid

    def add_file(self, data: bytes) -> Part:
        """As `ipfs add --cid-version 1`: raw leaves, a balanced tree."""
        starts = range(0, len(data), self.chunk_bytes) or range(1)
        parts = [self._leaf(data[start : start + self.chunk_bytes]) for start in starts]
        while len(parts) > 1:
            groups = range(0, len(parts), self.width)
            parts = [self.join(parts[start : start + self.width]) for start in groups]
        return parts[0]

    def add_directory(self, entries: Mapping[str, Part]) -> Part:
        links = [pb_link(part, name) for name, part in sorted(entries.items())]
        block = b"".join(links) + pb_bytes(1, pb_int(1, Kind.DIRECTORY))
        return Part(self.put(block), 0, len(block) + sum(part.total for part in entries.values()))

    def join(self, parts: Iterable[Part]) -> Part:
        """The node above these parts of a file."""
        parts = list(parts)
        size = sum(part.size for part in parts)
        sizes = b"".join(pb_int(4, part.size) for part in parts)
        unixfs = pb_int(1, Kind.FILE) + pb_int(3, size) + sizes
        block = b"".join(pb_link(part) for part in parts) + pb_bytes(1, unixfs)
        return Part(self.put(block), size, len(block) + sum(part.total for part in parts))

    def walk(self, cid: Cid, start: int = 0) -> Iterator[tuple[Cid, bytes]]:
        """The blocks of a file from byte `start` on, depth first, repeated ones again."""
        stack = [(cid, 0)]
        while stack:
            cid, at = stack.pop()
            block = cid.inline if cid.inline is not None else self.by_cid[cid]
            if cid.inline is None:
                yield cid, block
            if cid.codec != DAG_PB:
                continue
            node = decode_node(block)
            at += len(node.data)
            below = []
            for link, size in zip(node.links, node.block_sizes, strict=False):
                if at + size > start:
                    below.append((read_cid(link.cid), at))
                at += size
            stack += reversed(below)

    def _leaf(self, data: bytes) -> Part:
        return Part(self.put(data, RAW), len(data), len(data))


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that is none."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


NO_USER_AGENT = Refusal(403, b"error code: 1010")


class Gateway:
    """Serves blocks over HTTP on loopback, in threads; use it with `with`, or start and stop."""

    car_type = CAR_TYPE

    def __init__(self, blocks: Blocks, host: str = "127.0.0.1", port: int = 0) -> None:
        self.blocks = blocks
        self._server = _Server((host, port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Gateway:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def frames(self, cid: Cid, start: int, scope: str) -> Iterator[tuple[Cid, bytes]]:
        """The blocks of a CAR; the connection breaks where one is missing."""
        try:
            if scope == "block":
                yield cid, self.blocks.by_cid[cid]
            else:
                yield from self.blocks.walk(cid, start)
        except KeyError as missing:
            raise ConnectionAbortedError(f"no block {missing}") from None

    def raw(self, cid: Cid) -> bytes | None:
        """One block, or None for a 404."""
        return self.blocks.by_cid.get(cid)

    def turns_away(self, path: str) -> Refusal | None:
        """How a question is refused, if it is."""
        return None

    def resolve(self, path: str) -> Cid:
        """What /ipfs/CID/a/b leads to. Raises KeyError, BadDag, BadCid."""
        names = [unquote(name) for name in path.removeprefix("/ipfs/").strip("/").split("/")]
        walk = PathWalk(parse_cid(names[0]), names[1:])
        while walk.wanted is not None:
            walk.accept(self.blocks.by_cid[walk.wanted])
        return walk.target


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is nothing to report; all else is."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # as it came


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gateway: Gateway

    def do_GET(self) -> None:
        refusal = self._sent_below() or self.gateway.turns_away(self.path)
        if not self.headers.get("User-Agent"):
            refusal = NO_USER_AGENT
        if refusal is not None:
            self._refuse(refusal)
            return
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        try:
            cid = self.gateway.resolve(parts.path)
            if cid.inline is None and cid not in self.gateway.blocks.by_cid:
                raise KeyError(cid)
        except (KeyError, BadDag, BadCid):
            self.send_error(404)
            return
        self._answer(cid, query.get("format") or _format(self.headers.get("Accept", "")), query)

    def _sent_below(self) -> Refusal | None:
        """Kubo's `UseSubdomains` for localhost: each CID has a host of its own."""
        host, _, port = self.headers.get("Host", "").partition(":")
        match = _CONTENT.fullmatch(self.path)
        if host.endswith(".ipfs.localhost"):
            self.path = f"/ipfs/{host.partition('.')[0]}{self.path}"
        elif host == "localhost" and match is not None:
            cid = parse_cid(match[1]).canonical
            there = f"http://{cid}.ipfs.localhost:{port}{match[2] or '/'}{match[3] or ''}"
            return Refusal(301, headers={"Location": there})
        return None

    def _refuse(self, refusal: Refusal) -> None:
        self.send_response(refusal.status)
        for name, value in {"Content-Type": "text/plain", **refusal.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(refusal.body)))
        self.end_headers()
        self.wfile.write(refusal.body)

    def _answer(self, cid: Cid, kind: str, query: Mapping[str, str]) -> None:
        if kind == "car":
            start = int(query.get("entity-bytes", "0:*").partition(":")[0])
            frames = self.gateway.frames(cid, start, query.get("dag-scope", "all"))
            frame_bytes = (car_frame(name, block) for name, block in frames)
            self._send(self.gateway.car_type, [car_header(cid)], frame_bytes)
        elif kind == "raw":
            self._send_block(self.gateway.raw(cid))
        else:
            blocks = self.gateway.blocks.walk(cid)
            self._send("application/octet-stream", [], (_content(*one) for one in blocks))

    def _send_block(self, block: bytes | None) -> None:
        if block is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", RAW_TYPE)
        self.send_header("Content-Length", str(len(block)))
        self.end_headers()
        self.wfile.write(block)

    def _send(self, kind: str, *bodies: Iterable[bytes]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for body in bodies:
            for piece in body:
                if piece:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Silence: a gateway in a test or the devnet logs nothing."""


def _handler(gateway: Gateway) -> type[_Handler]:
    class Bound(_Handler):
        pass

    Bound.gateway = gateway
    return Bound


def _format(accept: str) -> str:
    if "vnd.ipld.car" in accept:
        return "car"
    return "raw" if "vnd.ipld.raw" in accept else ""


def _content(cid: Cid, block: bytes) -> bytes:
    return block if cid.codec == RAW else decode_node(block).data


def pb_int(number: int, value: int) -> bytes:
    """A protobuf field that is a number."""
    return write_varint(number << 3) + write_varint(value)


def pb_bytes(number: int, value: bytes) -> bytes:
    """A protobuf field that is bytes."""
    return write_varint(number << 3 | 2) + write_varint(len(value)) + value


def pb_link(part: Part, name: str = "") -> bytes:
    link = pb_bytes(1, bytes(part.cid)) + pb_bytes(2, name.encode()) + pb_int(3, part.total)
    return pb_bytes(2, link)
