from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commands import image_fetch
from commands.image import app
from devnet.ipfs.blocks import Blocks, Gateway
from enclave.eif.writer import ImageSpec, build
from faults import Refused, RetryLater, UsageFault
from tests.enclave.gateway import SlowToBegin

pytestmark = pytest.mark.integration

IMAGE = build(ImageSpec(kernel=b"kernel", cmdline=b"c", ramdisks=[b"ramdisk" * 100_000]))


def run(*arguments: str) -> tuple[str, BaseException | None]:
    result = CliRunner().invoke(app, ["fetch", *arguments])
    return result.stdout, result.exception


def test_fetch__json__has_what_scripts_need(tmp_path: Path) -> None:
    blocks = Blocks()
    cid = str(blocks.add_file(IMAGE).cid)
    with Gateway(blocks) as gateway:
        output, fault = run(
            f"ipfs://{cid}", "-o", str(tmp_path / "image"), "--gateway", gateway.url, "--json"
        )
    assert fault is None
    report = json.loads(output)
    assert report["cid"] == cid
    assert report["size_bytes"] == len(IMAGE)
    assert report["sha256"] == hashlib.sha256(IMAGE).hexdigest()
    assert report["sources"] == [gateway.url]
    assert report["seconds"] > 0
    assert [*report["pcrs"]] == ["0", "1", "2"]
    assert (tmp_path / "image").read_bytes() == IMAGE


def test_fetch__no_byte_for_a_while__says_that_it_waits_and_for_how_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_fetch, "SLOW_SECONDS", 0.2)
    blocks = Blocks()
    cid = str(blocks.add_file(IMAGE).cid)
    with SlowToBegin(blocks) as gateway:
        arguments = ("fetch", cid, "-o", str(tmp_path / "image"), "--gateway", gateway.url)
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert result.stderr.count("waiting up to 900 s in all (--timeout)") == 1


def test_fetch__text__names_the_pcrs(tmp_path: Path) -> None:
    blocks = Blocks()
    cid = str(blocks.add_file(IMAGE).cid)
    with Gateway(blocks) as gateway:
        output, fault = run(cid, "-o", str(tmp_path / "image"), "--gateway", gateway.url)
    assert fault is None
    assert "PCR0" in output
    assert cid in output


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://ipfs.io/ipfs/x", Refused),
        ("https://files.example/a#sha256=00", Refused),
        ("bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy", RetryLater),
    ],
)
def test_fetch__not_to_be_had__says_why_by_its_class(
    tmp_path: Path, url: str, fault: type[Exception]
) -> None:
    with Gateway(Blocks()) as gateway:
        arguments = ("-o", str(tmp_path / "i"), "--gateway", gateway.url, "--timeout", "1")
        assert isinstance(run(url, *arguments)[1], fault)
    assert list(tmp_path.iterdir()) == []


def test_fetch__a_target_that_cannot_be__is_a_usage_fault(tmp_path: Path) -> None:
    for target in (tmp_path, tmp_path / "gone" / "image"):
        assert isinstance(run("x", "-o", str(target), "--gateway", "http://x")[1], UsageFault)


def test_fetch__a_gateway_that_is_no_url__is_a_usage_fault(tmp_path: Path) -> None:
    assert isinstance(run("x", "-o", str(tmp_path / "i"), "--gateway", "x")[1], UsageFault)
