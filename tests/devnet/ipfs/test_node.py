"""The node serves what is laid into its folder, also later, and misbehaves when told to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import program
from devnet.ipfs.node import FolderGateway, add
from devnet.processes import Children

pytestmark = pytest.mark.integration

CONTENT = bytes(range(256)) * 4096


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "ipfs").mkdir()
    (tmp_path / "file").write_bytes(CONTENT)
    return tmp_path / "ipfs"


@pytest.fixture
def node(folder: Path) -> Iterator[FolderGateway]:
    gateway = FolderGateway(folder)
    with gateway:
        yield gateway


def test_node__file_added_while_it_runs__is_served(node: FolderGateway, folder: Path) -> None:
    assert httpx.get(f"{node.url}/ipfs/{add(folder, folder.parent / 'file')}").content == CONTENT


def test_node__unknown_cid__is_404(node: FolderGateway, folder: Path) -> None:
    cid = add(folder, folder.parent / "file")
    (folder / cid).unlink()
    assert httpx.get(f"{node.url}/ipfs/{cid}").status_code == 404


def test_node__told_to_lie__serves_other_bytes(folder: Path) -> None:
    cid = add(folder, folder.parent / "file")
    with Children(folder.parent / "logs") as children:
        words = [
            *program.module("devnet.ipfs.node"),
            "--directory",
            str(folder),
            "--behave",
            "lying",
        ]
        liar = children.start("liar", words)
        answer = httpx.get(f"{liar.hello['url']}/ipfs/{cid}", params={"format": "car"})
    assert answer.status_code == 200
    assert CONTENT[:262_144] not in answer.content
