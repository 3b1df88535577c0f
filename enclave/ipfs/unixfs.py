"""UnixFS: from a path to a file, and from a file's blocks to its bytes in order.

Both walks are told verified blocks and say which block they want next; they fetch nothing. All
they refuse (BadDag) is proven by verified blocks, so asking another source would not help.
Sizes must add up at every node, so the bytes that a root promises bound everything below it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from unicodedata import normalize
from urllib.parse import quote

import mmh3

from enclave.cid import DAG_PB, RAW, BadCid, Cid, read_cid
from enclave.ipfs.car import MAX_BLOCK_BYTES
from enclave.ipfs.dagpb import BadDag, Kind, Link, Node, decode_node

MAX_DEPTH: Final = 32  # Kubo needs 4 levels for 240 TB
MAX_PENDING_LINKS: Final = 65_536  # on the way down to one leaf: about 13 MiB of memory
MAX_REMEMBERED: Final = 32_768  # subtrees whose place in the file is known: about 9 MiB
MAX_OVERHEAD_BYTES: Final = 128 << 20  # of blocks beside the file's bytes: a million links twice
MURMUR3_X64_64: Final = 0x22
_MAX_FANOUT: Final = 1024


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of the file that repeat what was already written at `start`."""

    start: int
    size: int


Piece = bytes | Span


@dataclass(slots=True)
class _Branch:
    """A node whose children are being read; `pending` is a stack of (CID, size)."""

    cid: Cid
    start: int
    pending: list[tuple[bytes, int]]


class FileWalk:
    """The bytes of one file, from its blocks in depth-first order.

    `wanted` is the next block, None when the file is whole. A subtree that was seen before is
    not wanted again: it comes out as a Span.
    """

    def __init__(self, root: Cid, *, max_blocks: int) -> None:
        self.wanted: Cid | None = root
        self.size_bytes: int | None = None
        self.position = 0
        self._expected: int | None = None
        self._branches: list[_Branch] = []
        self._places: dict[Cid, Span] = {}
        self._blocks_left = max_blocks
        self._pending_links = 0
        self._overhead_left = MAX_OVERHEAD_BYTES

    def accept(self, block: bytes) -> list[Piece]:
        """Take the wanted block (already verified); what follows in the file. Raises BadDag."""
        if self.wanted is None:
            raise ValueError("the file is whole")
        pieces = list(self._open(self.wanted, block))
        pieces += self._advance()
        return pieces

    def knows(self, cid: Cid) -> bool:
        """Was this subtree read already?"""
        return cid in self._places or any(branch.cid == cid for branch in self._branches)

    @property
    def wanted_bytes(self) -> int:
        """The file's bytes below the wanted block, as its parent says; 0 for the root."""
        return self._expected or 0

    def upcoming(self, count: int) -> list[Cid]:
        """The wanted block and its next siblings, for asking ahead."""
        if self.wanted is None:
            return []
        siblings = self._branches[-1].pending[:-count:-1] if self._branches else []
        return [self.wanted, *(_read_link(cid) for cid, _ in siblings)]

    def _open(self, cid: Cid, block: bytes) -> Iterator[Piece]:
        self._count()
        if cid.codec == RAW:
            self._check_size(cid, len(block))
            yield from self._write(cid, block)
            return
        node = decode_node(block)
        self._weigh(len(block) - len(node.data))
        self._check_size(cid, _size_of(cid, node))
        if not node.links:
            yield from self._write(cid, node.data)
            return
        self._descend(cid, node)
        if node.data:
            self.position += len(node.data)
            yield node.data

    def _write(self, cid: Cid, data: bytes) -> Iterator[Piece]:
        self._remember(cid, self.position, len(data))
        self.position += len(data)
        if data:
            yield data

    def _descend(self, cid: Cid, node: Node) -> None:
        if len(self._branches) >= MAX_DEPTH:
            raise BadDag(f"the file's DAG is deeper than {MAX_DEPTH} levels")
        self._pending_links += len(node.links)
        if self._pending_links > MAX_PENDING_LINKS:
            raise BadDag(f"the file's DAG has over {MAX_PENDING_LINKS} links on one way down")
        sizes = zip(node.links, node.block_sizes, strict=True)
        pending = [(link.cid, size) for link, size in sizes]
        pending.reverse()
        self._branches.append(_Branch(cid, self.position, pending))

    def _advance(self) -> Iterator[Piece]:
        """Go on to the next block that must come from outside."""
        self.wanted = None
        while self._branches:
            branch = self._branches[-1]
            if not branch.pending:
                self._branches.pop()
                self._remember(branch.cid, branch.start, self.position - branch.start)
                continue
            name, self._expected = branch.pending.pop()
            self._pending_links -= 1
            cid = _read_link(name)
            known = self._places.get(cid)
            if known is not None:
                self._count()
                self._check_size(cid, known.size)
                self.position += known.size
                yield known
            elif cid.inline is not None:
                yield from self._open(cid, cid.inline)
            else:
                self._check_child(cid, self._expected)
                self.wanted = cid
                return

    def _count(self) -> None:
        self._blocks_left -= 1
        if self._blocks_left < 0:
            raise BadDag("the file has more blocks than are accepted; store it in larger ones")

    def _weigh(self, overhead: int) -> None:
        """A file within its size limit could else be padded to any number of bytes to fetch."""
        self._overhead_left -= overhead
        if self._overhead_left < 0:
            raise BadDag(f"the file's blocks hold over {MAX_OVERHEAD_BYTES} bytes beside its own")

    def _check_size(self, cid: Cid, size: int) -> None:
        if self._expected is not None and size != self._expected:
            raise BadDag(f"block {cid} holds {size} bytes; its parent says {self._expected}")
        if self.size_bytes is None:
            self.size_bytes = size

    def _check_child(self, cid: Cid, size: int) -> None:
        if cid.codec == RAW and size > MAX_BLOCK_BYTES:
            raise BadDag(f"block {cid} has {size} bytes; at most {MAX_BLOCK_BYTES} are accepted")

    def _remember(self, cid: Cid, start: int, size: int) -> None:
        if len(self._places) < MAX_REMEMBERED:
            self._places.setdefault(cid, Span(start, size))


class PathWalk:
    """From a root along the names of a path, through plain and sharded directories, to a file.

    `wanted` is the next block; None when `target` is the CID of what the path names.
    """

    def __init__(self, root: Cid, path: Sequence[str]) -> None:
        self._names = [name.encode() for name in reversed(path)]
        self._used_bits = 0
        self.target = root
        self.wanted: Cid | None = root if path else None

    def accept(self, block: bytes) -> None:
        """Take the wanted block (already verified). Raises BadDag."""
        if self.target.codec == RAW:
            raise BadDag(f"{self.target} is a file: the path cannot go on below it")
        node, name = decode_node(block), self._names[-1]
        if node.kind is Kind.DIRECTORY:
            found = [link for link in node.links if link.name == name]
            self._arrive(_only(found, name, node.links))
        elif node.kind is Kind.SHARD:
            self._through_shard(node, name)
        else:
            raise BadDag(f"{self.target} is a {node.kind.name.lower()}, not a directory")

    def _through_shard(self, node: Node, name: bytes) -> None:
        prefix, bits = _slot(node, name, self._used_bits)
        wanted = {prefix, prefix + name}
        link = _only([link for link in node.links if link.name in wanted], name, ())
        if link.name != prefix:
            self._arrive(link)
            return
        self._used_bits += bits
        self.target = self.wanted = _read_link(link.cid)

    def _arrive(self, link: Link) -> None:
        self._names.pop()
        self._used_bits = 0
        self.target = _read_link(link.cid)
        self.wanted = self.target if self._names else None


def _size_of(cid: Cid, node: Node) -> int:
    """The bytes of the file below a node; every rule that ties a node to its children."""
    if node.kind not in (Kind.FILE, Kind.RAW):
        hint = "; name the image inside it" if node.kind in (Kind.DIRECTORY, Kind.SHARD) else ""
        raise BadDag(f"{cid} is a {node.kind.name.lower()}, not a file{hint}")
    if len(node.links) != len(node.block_sizes):
        raise BadDag(f"{cid} has {len(node.links)} links and {len(node.block_sizes)} sizes")
    if 0 in node.block_sizes:
        raise BadDag(f"{cid} links to an empty part: nothing that writes files makes that")
    size = len(node.data) + sum(node.block_sizes)
    if node.file_size not in (None, size):
        raise BadDag(f"{cid} says {node.file_size} bytes; its parts are {size}")
    return size


def _slot(node: Node, name: bytes, used_bits: int) -> tuple[bytes, int]:
    """The two hex digits (or so) under which a shard keeps a name, and the bits they use up."""
    fanout = node.fanout or 0
    if node.hash_type != MURMUR3_X64_64 or not 8 <= fanout <= _MAX_FANOUT or fanout & (fanout - 1):
        raise BadDag(f"a sharded directory of hash {node.hash_type} and fanout {fanout}")
    bits = fanout.bit_length() - 1
    if used_bits + bits > 64:
        raise BadDag("a sharded directory is deeper than its hash")
    digest: int = mmh3.hash64(name, signed=False)[0]
    slot = digest >> (64 - used_bits - bits) & (fanout - 1)
    return f"{slot:0{len(f'{fanout - 1:X}')}X}".encode(), bits


def _only(links: list[Link], name: bytes, listed: Sequence[Link]) -> Link:
    """The one of that name; `listed` are all of the directory, where it shows them."""
    if len(links) != 1:
        found = "no entry" if not links else f"{len(links)} entries"
        hint = "" if links else _looks_alike(name.decode(errors="replace"), listed)
        raise BadDag(f"the directory has {found} named {name.decode(errors='replace')!r}{hint}")
    return links[0]


def _looks_alike(name: str, listed: Sequence[Link]) -> str:
    """What a person can't see: a name in another Unicode form is another name. macOS takes letters
    and accents apart (NFD), keyboards write them as one (NFC). Or overlooks: capitals."""
    for link in listed:
        other = link.name.decode(errors="replace")
        if normalize("NFC", other).casefold() == normalize("NFC", name).casefold():
            return f"; there is one that looks like it: write {quote(other)} in the URL"
    forms = (normalize(form, name) for form in ("NFC", "NFD"))
    other = next((text for text in forms if text != name), "")
    if other and not listed:  # a sharded directory is asked by name, and shows none
        return f"; in the other Unicode form it would be {quote(other)} in the URL"
    return ""


def _read_link(name: bytes) -> Cid:
    try:
        cid = read_cid(name)
    except BadCid as fault:
        raise BadDag(f"a link's CID is not accepted: {fault}") from None
    if cid.codec not in (RAW, DAG_PB):
        raise BadDag(f"{cid} is neither raw nor dag-pb")
    return cid
