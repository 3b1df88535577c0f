"""Fetching from gateways that lie, break, stall and do not have it."""

from __future__ import annotations

import itertools
import math
import random
import socket
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import pytest

from devnet.ipfs.blocks import Blocks, Part, Refusal
from enclave.cid import IDENTITY, RAW, Cid, cid_of
from enclave.ipfs import race
from enclave.ipfs.answers import Busy
from enclave.ipfs.dagpb import BadDag
from enclave.ipfs.gateway import Gateway, Session, Source
from enclave.ipfs.kubo import KuboNode
from enclave.ipfs.retrieval import IpfsFetch, Unavailable
from enclave.ipfs.source_standing import Standings
from enclave.ipfs.unixfs import Piece, Span
from enclave.web.guard import Guard, OutOfTime
from enclave.web.image_url import IpfsUrl
from faults import UsageFault
from tests.enclave import gateway as lying

pytestmark = pytest.mark.integration

DATA = random.Random(7).randbytes(60_000)
STALL_SECONDS = 0.4


@dataclass
class World:
    """Some gateways over the same blocks, and one fetch from them."""

    blocks: Blocks = field(default_factory=lambda: Blocks(chunk_bytes=3000, width=4))
    standings: Standings = field(default_factory=Standings)
    used: list[str] = field(default_factory=list)
    stack: ExitStack = field(default_factory=ExitStack)
    seconds: float = 10.0
    stall_seconds: float = STALL_SECONDS
    ahead: float = 0.0  # seconds by which the guards' clock was set on

    def now(self) -> float:
        return time.monotonic() + self.ahead

    def gateway(self, kind: type[lying.Counting] = lying.Counting) -> lying.Counting:
        made = kind(self.blocks)
        self.stack.enter_context(made)
        return made

    def fetch(self, root: Cid, *gateways: lying.Counting, rounds: int = 1) -> bytes:
        return self.fetch_from(root, [Gateway(one.url) for one in gateways], rounds)

    def fetch_from(self, root: Cid, sources: Sequence[Source], rounds: int = 1) -> bytes:
        guard = Guard(self.now, self.now() + self.seconds, self.stall_seconds)
        fetch = IpfsFetch(sources, self.standings, guard, rounds=rounds)
        out = bytearray()

        def emit(piece: Piece) -> None:
            nonlocal out
            out += out[piece.start :][: piece.size] if isinstance(piece, Span) else piece

        try:
            fetch.finish(fetch.start(fetch.resolve(IpfsUrl(root)), 1000, emit))
        finally:
            self.used = list(fetch.used)
        return bytes(out)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    with made.stack:
        yield made


@pytest.fixture
def slept(world: World, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long each wait was; nobody waits, the guards' clock goes on by as much."""
    waits, sleep = list[float](), Guard.sleep

    def skip(guard: Guard, seconds: float) -> None:
        waits.append(min(seconds, guard.remaining()))
        world.ahead += waits[-1]
        sleep(guard, 0.0)

    monkeypatch.setattr(Guard, "sleep", skip)
    return waits


@pytest.fixture
def root(world: World) -> Cid:
    return world.blocks.add_file(DATA).cid


def test_fetch__an_honest_gateway__one_block_and_one_car(world: World, root: Cid) -> None:
    one = world.gateway()
    assert world.fetch(root, one) == DATA
    assert one.asked == [("raw", root), ("car", 0)]
    assert world.used == [one.url]


LIARS = [lying.Flips, lying.FlipsRaw, lying.Swaps]
STRANGE = [
    lying.NoRaw, lying.NoCar, lying.Cuts, lying.EndsEarly, lying.Misses, lying.Doubles,
    lying.NoDups, lying.BreadthFirst, lying.Backwards, lying.IgnoresRange, lying.TooLarge,
    lying.Leaves, lying.Floods,
]  # fmt: skip
HANGING = [lying.Stalls, lying.Dribbles, lying.Silent]


@pytest.mark.parametrize("kind", STRANGE)
def test_fetch__a_strange_gateway_alone__still_gives_the_file(
    world: World, root: Cid, kind: type[lying.Counting]
) -> None:
    assert world.fetch(root, world.gateway(kind)) == DATA


@pytest.mark.parametrize("kind", [*LIARS, *STRANGE, *HANGING, lying.Down])
def test_fetch__a_bad_gateway_and_a_good_one__gives_the_file(
    world: World, root: Cid, kind: type[lying.Counting]
) -> None:
    assert world.fetch(root, world.gateway(kind), world.gateway()) == DATA


@pytest.mark.parametrize("kind", LIARS)
def test_fetch__only_liars__is_unavailable_and_each_is_asked_no_more(
    world: World, root: Cid, kind: type[lying.Counting]
) -> None:
    liars = [world.gateway(kind), world.gateway(kind)]
    with pytest.raises(Unavailable, match="not what its CID says"):
        world.fetch(root, *liars, rounds=5)
    assert [world.standings.by_name[one.url].lies for one in liars] == [1, 1]


def test_fetch__after_a_lie__goes_on_from_the_verified_part(world: World, root: Cid) -> None:
    liar, good = world.gateway(lying.Flips), world.gateway()
    assert world.fetch(root, liar, good) == DATA
    assert ("car", 3000) in good.asked
    assert world.used == [liar.url, good.url]


@pytest.mark.parametrize("kind", [lying.Flips, lying.Cuts, lying.Stalls])
def test_fetch__broken_in_the_middle_and_the_next_sends_all_of_it__goes_on(
    world: World, root: Cid, kind: type[lying.Counting]
) -> None:
    class Once(kind):  # type: ignore[misc, valid-type] # a class that is known when it runs
        def raw(self, cid: Cid) -> bytes | None:
            return super().raw(cid) if not self.asked else None

    bad, good = world.gateway(Once), world.gateway(lying.FromTheStart)
    assert world.fetch(root, bad, good) == DATA
    assert bad.url in world.used


def test_fetch__the_operators_own_node_is_down__the_gateways_serve(world: World, root: Cid) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        node = KuboNode(f"/ip4/127.0.0.1/tcp/{nobody.getsockname()[1]}")
    good = world.gateway()
    assert world.fetch_from(root, [node, Gateway(good.url)]) == DATA
    assert world.used == [good.url]


def test_fetch__a_liar_of_before__is_asked_last(world: World, root: Cid) -> None:
    liar, good = world.gateway(lying.Flips), world.gateway()
    world.fetch(root, liar, good)
    liar.asked.clear()
    assert world.fetch(root, liar, good) == DATA
    assert liar.asked == []


def test_fetch__a_broken_connection__resumes_at_the_verified_byte(world: World, root: Cid) -> None:
    one = world.gateway(lying.Cuts)
    assert world.fetch(root, one) == DATA
    starts = [start for kind, start in one.asked if kind == "car"]
    assert starts == sorted(starts, key=lambda start: int(str(start)))
    assert len(set(starts)) == len(starts) > 3


@pytest.mark.parametrize("kind", [lying.Stalls, lying.Dribbles])
def test_fetch__a_stall__moves_on_with_what_was_verified(
    world: World, root: Cid, kind: type[lying.Counting]
) -> None:
    stalling, good = world.gateway(kind), world.gateway()
    assert world.fetch(root, stalling, good) == DATA, "not out of time: it stalls for longer"
    [start] = [start for name, start in good.asked if name == "car"]
    assert start != 0


def test_fetch__a_long_run_of_repeats_on_a_slow_line__is_no_stall(world: World) -> None:
    """dups=y sends a run of zeros again and again; the walk was past it with the first."""

    class Slow(lying.Counting):
        def bent(self, frames: lying.Frames) -> lying.Frames:
            for frame in frames:
                time.sleep(0.015)
                yield frame

    data = DATA[:9000] + bytes(60 * 3000) + DATA[9000:18_000]
    one = world.gateway(Slow)
    assert world.fetch(world.blocks.add_file(data).cid, one) == data
    assert [kind for kind, _ in one.asked] == ["raw", "car"]


def test_fetch__block_by_block__each_block_is_progress(world: World) -> None:
    number = itertools.count()

    class Slow(lying.NoCar):
        def raw(self, cid: Cid) -> bytes | None:
            time.sleep(0.1 * (next(number) % 8))
            return super().raw(cid)

    world.blocks = Blocks(chunk_bytes=16_384, width=16)
    data = random.Random(8).randbytes(16 * 16_384)
    one = world.gateway(Slow)
    assert world.fetch(world.blocks.add_file(data).cid, one) == data
    asked = [cid for kind, cid in one.asked if kind == "raw"]
    assert sorted(asked, key=str) == sorted(world.blocks.by_cid, key=str)


def test_fetch__a_silent_first_gateway__costs_a_head_start_only(world: World, root: Cid) -> None:
    world.stall_seconds = world.seconds  # whoever waited for the silent one is out of time
    good = world.gateway()
    assert world.fetch(root, world.gateway(lying.Silent), good) == DATA
    assert world.used == [good.url]


def test_fetch__nobody_has_it__is_unavailable_and_says_what_each_did(world: World) -> None:
    gateways = [world.gateway(), world.gateway(lying.Down)]
    with pytest.raises(Unavailable, match=r"status 404.*status 404"):
        world.fetch(cid_of(b"nowhere"), *gateways)


def test_fetch__no_source_at_all__is_unavailable(world: World, root: Cid) -> None:
    with pytest.raises(Unavailable, match="no source is left"):
        world.fetch(root)


def test_fetch__blocks_spread_over_gateways__are_brought_together(world: World, root: Cid) -> None:
    other = World()
    kept = list(world.blocks.by_cid.items())
    other.blocks.by_cid = dict(kept[::2])
    world.blocks.by_cid = dict([*kept[1::2], (root, dict(kept)[root])])
    with other.stack:
        assert world.fetch(root, world.gateway(), other.gateway(), rounds=4) == DATA


def test_fetch__repeated_blocks__are_brought_once(world: World) -> None:
    data = bytes(3000) * 40 + DATA + bytes(3000) * 7
    part = world.blocks.add_file(data)
    one = world.gateway(lying.NoDups)
    assert world.fetch(part.cid, one) == data
    assert [kind for kind, _ in one.asked] == ["raw", "car"]


def test_fetch__an_inline_root_and_an_empty_file__need_no_car(world: World) -> None:
    assert world.fetch(Cid(RAW, IDENTITY, b"x" * 128)) == b"x" * 128
    one = world.gateway()
    assert world.fetch(world.blocks.add_file(b"").cid, one) == b""
    assert [kind for kind, _ in one.asked] == ["raw"]


def test_fetch__a_true_block_over_2_mib__is_refused_for_good(world: World) -> None:
    block = bytes((2 << 20) + 1)
    with pytest.raises(BadDag, match="at most 2097152"):
        world.fetch(world.blocks.put(block, RAW), world.gateway(), rounds=5)


def test_fetch__a_broken_file__is_refused_at_once_whoever_serves_it(world: World) -> None:
    leaf = world.blocks.put(b"leaf", RAW)
    part = world.blocks.join([Part(leaf, 4, 4), Part(leaf, 5, 5)])
    one = world.gateway()
    with pytest.raises(BadDag, match="holds 4 bytes; its parent says 5"):
        world.fetch(part.cid, one, world.gateway(), rounds=5)


def test_fetch__over_the_deadline__is_out_of_time(world: World, root: Cid) -> None:
    world.seconds = 0.2
    with pytest.raises(OutOfTime):
        world.fetch(root, world.gateway(lying.Silent), rounds=9)


def test_fetch__a_gateway_that_comes_up_between_rounds__is_found(world: World, root: Cid) -> None:
    class Late(lying.Counting):
        def resolve(self, path: str) -> Cid:
            self.asked.append(("resolve", path))
            if len(self.asked) < 3:
                raise KeyError(path)
            return super().resolve(path)

    assert world.fetch(root, world.gateway(Late), rounds=3) == DATA


def test_fetch__slow_to_the_first_byte_and_alone__is_waited_for(world: World, root: Cid) -> None:
    """Finding providers takes longer than bytes may stop for; whoever hangs up ends the search."""
    one = world.gateway(lying.SlowToBegin)
    assert world.fetch(root, one) == DATA
    assert one.asked == [("raw", root), ("car", 0)]


def test_fetch__slow_to_the_first_byte_beside_others__all_are_waited_for(
    world: World, root: Cid
) -> None:
    slow = [world.gateway(lying.SlowToBegin) for _ in range(2)]
    assert world.fetch(root, world.gateway(lying.Down), *slow, world.gateway(lying.Silent)) == DATA


def test_fetch__slow_and_without_cars__comes_block_by_block(world: World) -> None:
    class Slow(lying.SlowToBegin, lying.NoCar):
        seconds = 0.6

    data = DATA[:5000]
    assert world.fetch(world.blocks.add_file(data).cid, world.gateway(Slow)) == data


def test_fetch__a_slow_gateway_first__costs_a_head_start_where_another_is_quick(
    world: World, root: Cid
) -> None:
    class Slower(lying.SlowToBegin):
        seconds = 9.0  # whoever waited for it would be out of time

    quick = world.gateway()
    assert world.fetch(root, world.gateway(Slower), quick) == DATA
    assert world.used == [quick.url]


def test_fetch__silent_to_the_end__takes_the_time_there_is_and_no_more(
    world: World, root: Cid
) -> None:
    world.seconds = 1.5
    with pytest.raises(OutOfTime):
        world.fetch(root, world.gateway(lying.Silent), world.gateway(lying.Down), rounds=4)


def test_fetch__beside_a_silent_gateway__one_that_gets_the_block_later_is_asked_again(
    world: World, root: Cid
) -> None:
    class Late(lying.Counting):
        def resolve(self, path: str) -> Cid:
            self.asked.append(("resolve", path))
            if len(self.asked) < 4:
                raise KeyError(path)
            return super().resolve(path)

    assert world.fetch(root, world.gateway(lying.Silent), world.gateway(Late), rounds=1) == DATA


def test_fetch__a_request_that_was_lost__is_sent_a_second_time_beside_it(
    world: World, root: Cid, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(race, "SECOND_ASK_SECONDS", 0.3)
    one = world.gateway(lying.LosesTheFirst)
    assert world.fetch(root, one) == DATA


WITHHELD = [
    (401, b"invalid pinataGatewayToken", "it wants a key; none is sent"),
    (403, b'{"error":{"reason":"ERR_ID:00024"}}', "it refuses"),
    (410, b"removed on request", "removed it for good"),
    (451, b"blocked for legal reasons: see https://badbits.dwebops.pub", "legal reasons"),
]


@pytest.mark.parametrize(("status", "body", "meaning"), WITHHELD)
def test_fetch__withheld__is_said_with_its_sentence_and_not_asked_again(
    world: World, root: Cid, status: int, body: bytes, meaning: str
) -> None:
    class Withholds(lying.Refuses):
        refusal = Refusal(status, body)

    one = world.gateway(Withholds)
    with pytest.raises(Unavailable, match=f"status {status} .*{meaning}") as gone:
        world.fetch(root, one, rounds=4)
    assert body.decode()[-12:].rstrip('"}') in str(gone.value)
    assert len(one.asked) <= 2  # as a block, and as a CAR with the block in it
    assert world.fetch(root, world.gateway(Withholds), world.gateway()) == DATA


def test_fetch__asked_too_often__is_left_alone_as_long_as_it_says(
    world: World, root: Cid, slept: list[float]
) -> None:
    class Limits(lying.Refuses):
        refusal = Refusal(429, b"slow down", {"Retry-After": "7"})
        times = 1

    one, world.seconds = world.gateway(Limits), 60.0
    assert world.fetch(root, one, rounds=4) == DATA
    assert 6 < sum(slept) <= 7
    assert [kind for kind, _ in one.asked].count("raw") == 1


def test_fetch__to_be_left_alone_for_long__is_unavailable_and_says_until_when(
    world: World, root: Cid
) -> None:
    class Limits(lying.Refuses):
        refusal = Refusal(429, b"", {"Retry-After": "120"})

    one, world.seconds = world.gateway(Limits), 900.0
    with pytest.raises(Unavailable, match=r"try again in 1[12]\d s") as later:
        world.fetch(root, one, rounds=4)
    assert 115 <= (later.value.after_seconds or 0) <= 120
    with pytest.raises(Unavailable):
        world.fetch(root, one)
    assert len(one.asked) == 1  # the next fetch remembers
    assert world.fetch(root, one, world.gateway()) == DATA


def test_fetch__busy_for_longer_than_there_is_time__waits_half_of_it(
    world: World, root: Cid, slept: list[float]
) -> None:
    class Limits(lying.Refuses):
        refusal = Refusal(429, b"", {"Retry-After": "29"})
        times = 1

    one, world.seconds = world.gateway(Limits), 20.0
    assert world.fetch(root, one, rounds=2) == DATA
    assert 5 < sum(slept) <= 10


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("rest", ["120", "99999", "6"])
def test_fetch__to_be_left_alone_beyond_the_time_there_is__is_asked_once_all_the_same(
    world: World, root: Cid, status: int, rest: str
) -> None:
    """The only gateway, a job with 10 s: to obey is to miss it for certain."""

    class Limits(lying.Refuses):
        refusal = Refusal(status, b"slow down", {"Retry-After": rest})
        times = 1

    one = world.gateway(Limits)
    world.standings.judge(Gateway(one.url), Busy("", status, float(rest)), time.monotonic())
    with suppress(Unavailable):
        world.fetch(root, one)
    assert world.fetch(root, one) == DATA
    assert [kind for kind, _ in one.asked].count("raw") <= 2


@pytest.mark.parametrize(
    "fault", [UsageFault("no such address"), TypeError("a library's bug"), OSError("no such file")]
)
def test_fetch__a_source_that_cannot_be_opened__is_one_source_less(
    world: World, root: Cid, fault: Exception
) -> None:
    class Broken:
        name = "broken"

        def open(self, guard: Guard) -> Session:
            raise fault

    assert world.fetch_from(root, [Broken(), Gateway(world.gateway().url)]) == DATA
    with pytest.raises(Unavailable, match="broken: broken can't be asked"):
        world.fetch_from(root, [Broken()])


def test_fetch__a_session_that_breaks_by_a_bug__is_one_source_less(world: World, root: Cid) -> None:
    class Half:
        """Gives the first block and then breaks."""

        name, parallel = "half", 1

        def __init__(self) -> None:
            self.guard = Guard(time.monotonic, math.inf, 1.0)

        def open(self, guard: Guard) -> Session:
            self.guard = guard
            return self

        def car(self, root: Cid, start: int) -> Generator[tuple[Cid, bytes]]:
            raise AttributeError("car")

        def block(self, cid: Cid) -> bytes:
            if cid != root:
                raise IndexError(cid)
            return world.blocks.by_cid[cid]

        def close(self) -> None:
            pass

    assert world.fetch_from(root, [Half(), Gateway(world.gateway().url)]) == DATA


def test_fetch__a_kubo_gateway_asked_as_localhost__is_followed_to_the_cids_own_host(
    world: World, root: Cid
) -> None:
    """There is no wildcard for *.localhost in every resolver; it is asked where localhost is."""
    one = world.gateway()
    url = one.url.replace("127.0.0.1", "localhost")
    assert world.fetch_from(root, [Gateway(f"{url}/ipfs/")]) == DATA
    assert one.asked == [("raw", root), ("car", 0)]
