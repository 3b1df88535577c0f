"""Gateways that lie, each in one way: the devnet's honest one with its answers bent."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterator

from devnet.ipfs.blocks import Blocks, Gateway, Refusal
from enclave.cid import DAG_PB, RAW, Cid, cid_of, read_cid
from enclave.ipfs.dagpb import decode_node

Frames = Iterator[tuple[Cid, bytes]]


class Counting(Gateway):
    """Honest; remembers what it was asked: ("car", start) and ("raw", CID)."""

    def __init__(self, blocks: Blocks) -> None:
        super().__init__(blocks)
        self.asked: list[tuple[str, object]] = []

    def frames(self, cid: Cid, start: int, scope: str) -> Frames:
        self.asked.append(("car", start))
        yield from self.bent(super().frames(cid, start, scope))

    def raw(self, cid: Cid) -> bytes | None:
        self.asked.append(("raw", cid))
        return super().raw(cid)

    def bent(self, frames: Frames) -> Frames:
        return frames


class NoRaw(Counting):
    """Sends CARs only, so what it does not send in one it does not have."""

    def raw(self, cid: Cid) -> bytes | None:
        super().raw(cid)
        return None

    def frames(self, cid: Cid, start: int, scope: str) -> Frames:
        if scope == "block" and self.asked.count(("car", 0)) > 2:
            raise ConnectionAbortedError
        yield from super().frames(cid, start, scope)


class NoCar(Counting):
    """Answers a request for a CAR with the file's bytes and 200, as js-ipfs does."""

    car_type = "text/plain; charset=utf-8"


class Flips(Counting):
    """One bit of the second leaf is another."""

    def bent(self, frames: Frames) -> Frames:
        for number, (cid, block) in enumerate(frames):
            yield cid, (block[:-1] + bytes([block[-1] ^ 1]) if number == 4 else block)


class FlipsRaw(NoCar):
    """Single blocks are wrong, from the fourth on."""

    def raw(self, cid: Cid) -> bytes | None:
        block = super().raw(cid)
        return block and (block if len(self.asked) < 5 else b"?" + block[1:])


class Swaps(Counting):
    """Two leaves under each other's names."""

    def bent(self, frames: Frames) -> Frames:
        listed = list(frames)
        leaves = [at for at, (cid, _) in enumerate(listed) if cid.codec == RAW]
        one, other = leaves[1], leaves[2]
        swapped = {one: listed[other][1], other: listed[one][1]}
        for at, (cid, block) in enumerate(listed):
            yield cid, swapped.get(at, block)


class Leaves(Counting):
    """Another root's blocks, all sound, none asked for."""

    def bent(self, frames: Frames) -> Frames:
        for number, _ in enumerate(frames):
            block = b"another file %d" % number
            yield cid_of(block), block


class Floods(Counting):
    """Blocks that nobody asked for, without end."""

    def bent(self, frames: Frames) -> Frames:
        for number in itertools.count():
            block = number.to_bytes(8, "big") * 32_768
            yield cid_of(block), block


class Cuts(Counting):
    """The connection breaks after some blocks, each time."""

    after = 6

    def bent(self, frames: Frames) -> Frames:
        yield from itertools.islice(frames, self.after)
        raise ConnectionAbortedError


class EndsEarly(Counting):
    """A clean end in the middle, with status 200."""

    def bent(self, frames: Frames) -> Frames:
        return itertools.islice(frames, 6)


class Misses(Counting):
    """One leaf is left out of the CAR; asked by itself it is there."""

    def bent(self, frames: Frames) -> Frames:
        return (frame for number, frame in enumerate(frames) if number != 5)


class Stalls(Counting):
    """Sends some blocks and then nothing, with the connection open."""

    def __init__(self, blocks: Blocks) -> None:
        super().__init__(blocks)
        self.over = threading.Event()

    def stop(self) -> None:
        self.over.set()
        super().stop()

    def bent(self, frames: Frames) -> Frames:
        yield from itertools.islice(frames, 6)
        self.over.wait(30)


class Dribbles(Stalls):
    """Never silent, and nothing of use: the root over and over."""

    def bent(self, frames: Frames) -> Frames:
        listed = list(itertools.islice(frames, 5))
        yield from listed
        while not self.over.wait(0.02):
            yield listed[0]


class Silent(Stalls):
    """Accepts and says nothing at all."""

    def raw(self, cid: Cid) -> bytes | None:
        self.over.wait(30)
        return None


class SlowToBegin(Stalls):
    """Looks for providers before the first byte of each answer, and then sends all at once."""

    seconds = 3 * 0.4  # three times the stall of the tests

    def raw(self, cid: Cid) -> bytes | None:
        self.over.wait(self.seconds)
        return super(Stalls, self).raw(cid)

    def bent(self, frames: Frames) -> Frames:
        self.over.wait(self.seconds)
        return frames


class LosesTheFirst(Stalls):
    """What it is asked first is lost on its way."""

    def raw(self, cid: Cid) -> bytes | None:
        block = super(Stalls, self).raw(cid)
        if len(self.asked) == 1:
            self.over.wait(30)
        return block

    def bent(self, frames: Frames) -> Frames:
        return frames


class Refuses(Counting):
    """Answers everything with one status and sentence; `times`, and then as it should."""

    refusal = Refusal(404)
    times = 1_000_000

    def turns_away(self, path: str) -> Refusal | None:
        self.asked.append(("refused", path))
        return self.refusal if self.refused <= self.times else None

    @property
    def refused(self) -> int:
        return sum(kind == "refused" for kind, _ in self.asked)


class Doubles(Counting):
    """Every block twice."""

    def bent(self, frames: Frames) -> Frames:
        return (frame for one in frames for frame in (one, one))


class NoDups(Counting):
    """Repeated blocks come once, whatever was asked."""

    def bent(self, frames: Frames) -> Frames:
        return iter(dict(frames).items())


class BreadthFirst(Counting):
    def frames(self, cid: Cid, start: int, scope: str) -> Frames:
        self.asked.append(("car", start))
        if scope == "block":
            yield cid, self.blocks.by_cid[cid]
            return
        waiting = deque([cid])
        while waiting:
            cid = waiting.popleft()
            yield cid, self.blocks.by_cid[cid]
            if cid.codec == DAG_PB:
                waiting += [
                    read_cid(link.cid) for link in decode_node(self.blocks.by_cid[cid]).links
                ]


class Backwards(Counting):
    """The last block first."""

    def bent(self, frames: Frames) -> Frames:
        return reversed(list(frames))


class IgnoresRange(Cuts):
    """Breaks once, and sends all from the start when asked for the rest."""

    def frames(self, cid: Cid, start: int, scope: str) -> Frames:
        if not any(asked == ("car", 0) for asked in self.asked):
            yield from super().frames(cid, start, scope)
        self.asked.append(("car", start))
        yield from self.blocks.walk(cid)


class FromTheStart(Counting):
    """Honest, and knows nothing of parts of a file: always all of it."""

    def frames(self, cid: Cid, start: int, scope: str) -> Frames:
        self.asked.append(("car", start))
        yield from self.blocks.walk(cid)


class TooLarge(Counting):
    """A frame that is larger than any block may be."""

    def bent(self, frames: Frames) -> Frames:
        yield next(frames)
        block = bytes((2 << 20) + 1)
        yield cid_of(block), block


class Down(Counting):
    """Knows nothing."""

    def resolve(self, path: str) -> Cid:
        raise KeyError(path)
