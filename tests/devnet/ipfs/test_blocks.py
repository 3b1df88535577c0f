"""The devnet's blocks, held against an independent implementation of Kubo's rules."""

from __future__ import annotations

from pathlib import Path

import aleph_cid
import pytest

from devnet.ipfs.blocks import Blocks

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("size", [0, 1, 262_144, 262_145, 174 * 262_144 + 1])
def test_add_file__any_size__has_the_cid_that_kubo_gives(size: int) -> None:
    data = bytes(size)
    oracle = aleph_cid.CidHasher.for_ipfs_v1_raw_leaves()
    oracle.update(data)
    assert str(Blocks().add_file(data).cid) == oracle.finalize()


def test_add_directory__two_files__has_the_cid_that_kubo_gives(tmp_path: Path) -> None:
    files = {"b.eif": b"b" * 300_000, "a": b"a"}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    blocks = Blocks()
    root = blocks.add_directory({name: blocks.add_file(data) for name, data in files.items()})
    assert str(root.cid) == aleph_cid.hash_folder(str(tmp_path))
