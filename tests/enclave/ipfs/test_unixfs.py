from __future__ import annotations

import contextlib
import tracemalloc
from pathlib import Path
from urllib.parse import quote

import aleph_cid
import mmh3
import pytest
from hypothesis import given
from hypothesis import strategies as st

from devnet.ipfs.blocks import Blocks, Part, pb_bytes, pb_int, pb_link
from enclave.cid import DAG_PB, IDENTITY, RAW, Cid, cid_of, parse_cid, read_cid
from enclave.ipfs import unixfs
from enclave.ipfs.car import CarReader
from enclave.ipfs.dagpb import MAX_LINKS, BadDag, Kind, decode_node
from enclave.ipfs.unixfs import MAX_DEPTH, FileWalk, PathWalk, Span

pytestmark = pytest.mark.unit


def read_file(root: Cid, blocks: dict[Cid, bytes], max_blocks: int = 1000) -> bytes:
    """The whole file, and every rule that FileWalk keeps."""
    walk, out, asked = FileWalk(root, max_blocks=max_blocks), bytearray(), []
    while (cid := walk.wanted) is not None:
        assert not walk.knows(cid) or cid in asked
        asked.append(cid)
        block = cid.inline if cid.inline is not None else blocks[cid]
        for piece in walk.accept(block):
            if isinstance(piece, Span):
                assert piece.start + piece.size <= len(out)
                out += out[piece.start : piece.start + piece.size]
            else:
                out += piece
        assert walk.position == len(out)
    assert walk.size_bytes == len(out)
    return bytes(out)


def read_path(root: Cid, path: list[str], blocks: dict[Cid, bytes]) -> Cid:
    walk = PathWalk(root, path)
    while walk.wanted is not None:
        walk.accept(blocks[walk.wanted])
    return walk.target


def node(blocks: Blocks, links: list[bytes], *fields: bytes) -> Cid:
    return blocks.put(b"".join(links) + pb_bytes(1, b"".join(fields)))


def file_node(blocks: Blocks, parts: list[Part], sizes: list[int], size: int | None) -> Cid:
    total = [pb_int(3, size)] if size is not None else []
    fields = [pb_int(1, Kind.FILE), *total, *(pb_int(4, each) for each in sizes)]
    return node(blocks, [pb_link(part) for part in parts], *fields)


class HamtBlocks(Blocks):
    """Directories as Kubo shards them: 256 slots a level, murmur3 from the top byte down."""

    def add_shard(self, entries: dict[str, Part], depth: int = 0) -> Part:
        slots: dict[int, dict[str, Part]] = {}
        for name, part in entries.items():
            digest = mmh3.hash64(name.encode(), signed=False)[0].to_bytes(8, "big")
            slots.setdefault(digest[depth], {})[name] = part
        links = b""
        for slot, group in sorted(slots.items()):
            if len(group) == 1:
                [(name, part)] = group.items()
                links += pb_link(part, f"{slot:02X}{name}")
            else:
                links += pb_link(self.add_shard(group, depth + 1), f"{slot:02X}")
        unixfs = pb_int(1, Kind.SHARD) + pb_int(5, 0x22) + pb_int(6, 256)
        return Part(self.put(links + pb_bytes(1, unixfs)), 0, len(links))


@given(
    st.binary(max_size=400) | st.binary(max_size=4).map(lambda data: data * 60),
    st.integers(1, 40),
    st.integers(2, 5),
)
def test_read__a_tree_of_any_shape__gives_the_file(data: bytes, chunk: int, width: int) -> None:
    blocks = Blocks(chunk_bytes=chunk, width=width)
    assert read_file(blocks.add_file(data).cid, blocks.by_cid) == data


@st.composite
def odd_trees(draw: st.DrawFn, blocks: Blocks, depth: int = 3) -> tuple[Part, bytes]:
    """Trees that no one tool makes: data in inner nodes, inline children, wrapped leaves."""
    data = draw(st.binary(min_size=1, max_size=20))
    kind = draw(st.sampled_from(["raw", "inline", "wrapped", "node"] if depth else ["raw"]))
    if kind == "raw":
        return Part(blocks.put(data, RAW), len(data), 0), data
    if kind == "inline":
        return Part(Cid(RAW, IDENTITY, data), len(data), 0), data
    if kind == "wrapped":
        leaf = node(blocks, [], pb_int(1, Kind.FILE), pb_bytes(2, data), pb_int(3, len(data)))
        return Part(leaf, len(data), 0), data
    below = draw(st.lists(odd_trees(blocks, depth - 1), min_size=1, max_size=4))
    parts, content = [part for part, _ in below], data + b"".join(each for _, each in below)
    sizes = [pb_int(4, part.size) for part in parts]
    fields = [pb_int(1, Kind.FILE), pb_bytes(2, data), pb_int(3, len(content)), *sizes]
    return Part(node(blocks, [*map(pb_link, parts)], *fields), len(content), 0), content


@given(st.data())
def test_read__a_tree_that_no_tool_makes__gives_the_file(data: st.DataObject) -> None:
    blocks = Blocks()
    part, content = data.draw(odd_trees(blocks))
    assert read_file(part.cid, blocks.by_cid) == content


@given(st.data())
def test_read__a_mutated_block__baddag_or_a_file_of_the_promised_size(data: st.DataObject) -> None:
    blocks = Blocks()
    part, _ = data.draw(odd_trees(blocks))
    if part.cid.inline is not None:
        return
    block = blocks.by_cid[part.cid]
    at = data.draw(st.integers(0, len(block)))
    cut = data.draw(st.integers(0, 8))
    mutated = block[:at] + data.draw(st.binary(max_size=8)) + block[at + cut :]
    blocks.by_cid[part.cid] = mutated  # stands for a hostile block with its own right CID
    try:
        read_file(part.cid, blocks.by_cid)
    except (BadDag, KeyError):  # KeyError: a link to a block that does not exist
        return


@given(st.binary(max_size=200))
def test_decode_node__any_bytes__a_node_or_baddag(block: bytes) -> None:
    with contextlib.suppress(BadDag):
        assert len(decode_node(block).links) <= len(block)


@pytest.mark.parametrize(
    "unixfs",
    [b"\x80\x01\x00" * 600_000, b"\x20\x01" * 900_000, pb_bytes(4, b"\x01" * 2_000_000)],
)
def test_decode_node__millions_of_fields__is_refused_in_bounds(unixfs: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(BadDag, match=r"too many|more than 16384"):
        decode_node(pb_bytes(1, pb_int(1, Kind.FILE) + unixfs))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 << 20


def test_read__kubos_wrapped_leaves__gives_the_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 3000
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "image").write_bytes(data)
    root = aleph_cid.write_folder_car(str(folder), str(tmp_path / "car"), cid_version=0)
    blocks = dict(CarReader().feed((tmp_path / "car").read_bytes()))
    target = read_path(parse_cid(root), ["image"], blocks)
    assert str(target) == aleph_cid.compute_cid(data)
    assert read_file(target, blocks) == data


def test_read__an_empty_file__is_whole_after_one_block() -> None:
    blocks = Blocks()
    wrapped = node(blocks, [], pb_int(1, Kind.FILE), pb_int(3, 0))
    assert read_file(wrapped, blocks.by_cid) == b""
    assert read_file(blocks.add_file(b"").cid, blocks.by_cid) == b""


def test_read__old_order_and_packed_sizes__gives_the_file() -> None:
    blocks = Blocks()
    parts = [Part(blocks.put(data, RAW), len(data), 0) for data in (b"one", b"three")]
    packed = pb_bytes(4, bytes([3, 5]))
    unixfs = pb_bytes(1, pb_int(1, Kind.FILE) + pb_int(3, 8) + packed)
    root = blocks.put(unixfs + b"".join(map(pb_link, parts)))
    assert read_file(root, blocks.by_cid) == b"onethree"


def test_read__a_repeated_subtree__is_asked_once() -> None:
    blocks = Blocks(chunk_bytes=10, width=2)
    root = blocks.add_file(b"0123456789" * 64)
    assert len(blocks.by_cid) == 7
    assert read_file(root.cid, blocks.by_cid, max_blocks=14) == b"0123456789" * 64


LEAF = Part(cid_of(b"leaf"), 4, 4)


@pytest.mark.parametrize(
    ("sizes", "size", "why"),
    [
        ([4], 8, "2 links and 1 sizes"),
        ([4, 4, 4], 12, "2 links and 3 sizes"),
        ([4, 4], 9, "says 9 bytes; its parts are 8"),
        ([4, 0], 4, "empty part"),
        ([4, 5], 9, "holds 4 bytes; its parent says 5"),
        ([4, 3 << 20], (3 << 20) + 4, "holds 4 bytes"),
    ],
)
def test_read__sizes_that_do_not_add_up__are_refused(sizes: list[int], size: int, why: str) -> None:
    blocks = Blocks()
    blocks.put(b"leaf", RAW)
    root = file_node(blocks, [LEAF, LEAF], sizes, size)
    with pytest.raises(BadDag, match=why):
        read_file(root, blocks.by_cid)


def test_read__a_raw_leaf_over_2_mib__is_refused_before_it_is_asked() -> None:
    blocks = Blocks()
    root = file_node(blocks, [LEAF], [3 << 20], 3 << 20)
    with pytest.raises(BadDag, match="at most 2097152"):
        read_file(root, blocks.by_cid)


def chain(length: int) -> tuple[Blocks, Cid]:
    blocks = Blocks()
    blocks.put(b"leaf", RAW)
    part = LEAF
    for _ in range(length):
        part = Part(file_node(blocks, [part], [4], 4), 4, 0)
    return blocks, part.cid


def test_read__as_deep_as_allowed__gives_the_file() -> None:
    blocks, root = chain(MAX_DEPTH)
    assert read_file(root, blocks.by_cid) == b"leaf"


def test_read__one_level_deeper__is_refused() -> None:
    blocks, root = chain(MAX_DEPTH + 1)
    with pytest.raises(BadDag, match="deeper than 32"):
        read_file(root, blocks.by_cid)


def test_read__one_link_too_wide__is_refused() -> None:
    blocks = Blocks()
    blocks.put(b"leaf", RAW)
    count = MAX_LINKS + 1
    root = file_node(blocks, [LEAF] * count, [4] * count, 4 * count)
    with pytest.raises(BadDag, match="more than 16384 links"):
        read_file(root, blocks.by_cid)


def test_read__wide_on_every_level__is_refused_before_memory_fills() -> None:
    blocks = Blocks()
    blocks.put(b"leaf", RAW)
    part = LEAF
    for _ in range(6):
        sizes = [part.size, *[4] * (MAX_LINKS - 1)]
        root = file_node(blocks, [part, *[LEAF] * (MAX_LINKS - 1)], sizes, sum(sizes))
        part = Part(root, sum(sizes), 0)
    with pytest.raises(BadDag, match="over 65536 links"):
        read_file(part.cid, blocks.by_cid)


def test_read__more_blocks_than_allowed__is_refused() -> None:
    blocks = Blocks(chunk_bytes=1)
    root = blocks.add_file(bytes(range(100)))
    with pytest.raises(BadDag, match="more blocks"):
        read_file(root.cid, blocks.by_cid, max_blocks=100)


def test_read__leaves_padded_with_what_is_no_data__are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(unixfs, "MAX_OVERHEAD_BYTES", 1 << 20)
    blocks = Blocks()
    padding = pb_bytes(9, bytes(200_000))
    leaves = [
        Part(node(blocks, [], pb_int(1, Kind.FILE), pb_bytes(2, b"%d" % number), padding), 1, 0)
        for number in range(6)
    ]
    root = file_node(blocks, leaves[:5], [1] * 5, 5)
    assert read_file(root, blocks.by_cid) == b"01234"
    root = file_node(blocks, leaves, [1] * 6, 6)
    with pytest.raises(BadDag, match="beside its own"):
        read_file(root, blocks.by_cid)


def test_read__a_link_to_itself_in_size__cannot_go_on_for_ever() -> None:
    """A true cycle needs a hash collision; a node that promises its own size is the nearest."""
    blocks = Blocks()
    part = LEAF
    blocks.put(b"leaf", RAW)
    for _ in range(20):
        part = Part(
            file_node(blocks, [part, part], [part.size] * 2, 2 * part.size), part.size * 2, 0
        )
    assert len(read_file(part.cid, blocks.by_cid)) == 4 << 20


@pytest.mark.parametrize("kind", [Kind.DIRECTORY, Kind.SHARD, Kind.SYMLINK, Kind.METADATA])
def test_read__no_file__is_refused_by_name(kind: Kind) -> None:
    blocks = Blocks()
    with pytest.raises(BadDag, match=kind.name.lower()):
        read_file(node(blocks, [], pb_int(1, kind)), blocks.by_cid)


@pytest.mark.parametrize(
    "link",
    [
        b"\x01\x55\x00\x81\x01" + bytes(129),
        b"\x01\x71\x12\x20" + bytes(32),
        b"\x01\x55\x12\x04" + bytes(4),
        bytes(LEAF.cid) + b"\0",
        b"",
    ],
)
def test_read__a_link_by_an_unacceptable_cid__is_refused(link: bytes) -> None:
    blocks = Blocks()
    root = node(blocks, [pb_bytes(2, pb_bytes(1, link))], pb_int(1, Kind.FILE), pb_int(4, 4))
    with pytest.raises(BadDag, match="CID is not accepted"):
        read_file(root, blocks.by_cid)


def test_path__through_plain_and_sharded_directories__finds_every_file() -> None:
    blocks = HamtBlocks()
    files = {f"file {number}": blocks.add_file(b"%d" % number) for number in range(3000)}
    shard = blocks.add_shard(files)
    root = blocks.add_directory({"images": shard, "ä": files["file 7"]})
    for name in ("file 0", "file 1500", "file 2999"):
        assert read_path(root.cid, ["images", name], blocks.by_cid) == files[name].cid
    assert read_path(root.cid, ["ä"], blocks.by_cid) == files["file 7"].cid
    assert read_path(root.cid, [], blocks.by_cid) == root.cid


@pytest.mark.parametrize("path", [["none"], ["images", "none"], ["image", "below"], ["00"]])
def test_path__that_leads_nowhere__is_refused(path: list[str]) -> None:
    blocks = HamtBlocks()
    file = blocks.add_file(b"x")
    shard = blocks.add_shard({f"file {number}": file for number in range(300)})
    root = blocks.add_directory({"images": shard, "image": file})
    with pytest.raises(BadDag):
        read_path(root.cid, path, blocks.by_cid)


def test_path__two_entries_of_one_name__is_refused() -> None:
    blocks = Blocks()
    parts = [blocks.add_file(data) for data in (b"one", b"two")]
    links = [pb_link(part, "image") for part in parts]
    root = node(blocks, links, pb_int(1, Kind.DIRECTORY))
    with pytest.raises(BadDag, match="2 entries"):
        read_path(root, ["image"], blocks.by_cid)


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("cafe\u0301.eif", "caf\u00e9.eif"),
        ("caf\u00e9.eif", "cafe\u0301.eif"),
        ("App.eif", "app.eif"),
    ],
)
def test_path__a_name_that_only_looks_the_same__is_told_how_to_be_written(
    there: str, asked: str
) -> None:
    blocks = Blocks()
    root = blocks.add_directory({"readme": blocks.add_file(b"r"), there: blocks.add_file(b"x")})
    with pytest.raises(BadDag, match="no entry named") as missing:
        read_path(root.cid, [asked], blocks.by_cid)
    assert str(missing.value).endswith(f"write {quote(there)} in the URL")


def test_path__an_accent_in_a_sharded_directory__names_the_other_form() -> None:
    blocks = Blocks()
    fields = [pb_int(1, Kind.SHARD), pb_int(5, 0x22), pb_int(6, 256)]
    root = node(blocks, [], *fields)
    with pytest.raises(BadDag, match="in the other Unicode form it would be cafe%CC%81 in the URL"):
        read_path(root, ["caf\u00e9"], blocks.by_cid)
    with pytest.raises(BadDag, match=r"no entry named 'cafe'\Z"):
        read_path(root, ["cafe"], blocks.by_cid)


def test_path__an_entry_under_the_wrong_slot__is_not_found() -> None:
    blocks = Blocks()
    file = blocks.add_file(b"x")
    slot = mmh3.hash64(b"image", signed=False)[0] >> 56
    fields = [pb_int(1, Kind.SHARD), pb_int(5, 0x22), pb_int(6, 256)]
    right = node(blocks, [pb_link(file, f"{slot:02X}image")], *fields)
    wrong = node(blocks, [pb_link(file, f"{slot ^ 1:02X}image")], *fields)
    assert read_path(right, ["image"], blocks.by_cid) == file.cid
    with pytest.raises(BadDag, match="no entry"):
        read_path(wrong, ["image"], blocks.by_cid)


@pytest.mark.parametrize(
    "fields",
    [
        [pb_int(5, 0x22), pb_int(6, 100)],
        [pb_int(5, 0x22), pb_int(6, 0)],
        [pb_int(5, 0x22), pb_int(6, 1 << 40)],
        [pb_int(5, 0x23), pb_int(6, 256)],
        [pb_int(5, 0x22)],
    ],
)
def test_path__an_unknown_way_of_sharding__is_refused(fields: list[bytes]) -> None:
    blocks = Blocks()
    root = node(blocks, [], pb_int(1, Kind.SHARD), *fields)
    with pytest.raises(BadDag, match="fanout"):
        read_path(root, ["image"], blocks.by_cid)


def test_path__a_shard_that_never_ends__is_refused_when_the_hash_is_used_up() -> None:
    blocks = Blocks()
    digest = mmh3.hash64(b"image", signed=False)[0].to_bytes(8, "big")
    below = blocks.add_file(b"x")
    for byte in reversed([*digest, digest[0]]):
        fields = [pb_int(1, Kind.SHARD), pb_int(5, 0x22), pb_int(6, 256)]
        below = Part(node(blocks, [pb_link(below, f"{byte:02X}")], *fields), 0, 0)
    with pytest.raises(BadDag, match="deeper than its hash"):
        read_path(below.cid, ["image"], blocks.by_cid)


def test_blocks__any_link__reads_as_the_cid_it_was_made_from() -> None:
    [link] = decode_node(pb_link(LEAF, "name") + pb_bytes(1, pb_int(1, Kind.DIRECTORY))).links
    assert read_cid(link.cid) == LEAF.cid
    assert (link.name, LEAF.cid.codec, DAG_PB) == (b"name", RAW, 0x70)
