"""Hosts' words over a restart: only bytes that S3 still lists count, whatever the file holds."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cloud import layout
from cloud.aws import Aws
from cloud.bucket.status_cache import TEXT_LIMIT, KeptWords, Words
from cloud.model import InstanceId
from tests.cloud.conftest import REGION, Faults

pytestmark = pytest.mark.unit

BUCKET = f"oyster-123456789012-{REGION}"
ONE, TWO = InstanceId("i-0000000000000001"), InstanceId("i-0000000000000002")


def said(text: bytes, ahead: float | None = None) -> Words:
    return Words(f'"{hashlib.md5(text, usedforsecurity=False).hexdigest()}"', ahead, text)


def file_of(directory: Path) -> Path:
    return directory / f"{REGION}.sqlite"


async def _host_writes(aws: Aws, body: bytes, clock: str = "100.5") -> None:
    key = layout.status_key((await aws.account()).role_id, ONE)
    client = boto3.client("s3", region_name=REGION)
    client.put_object(Bucket=BUCKET, Key=key, Body=body, Metadata={layout.CLOCK: clock})


async def test_restart__nothing_changed__reads_no_document_and_says_the_same(
    make_aws: Callable[..., Aws],
) -> None:
    first = make_aws()
    await _host_writes(first, b'{"phase":"running"}')
    before = await first.mailbox.reports(REGION)
    again = make_aws()
    s3 = Faults(again)
    s3.watch("s3")
    assert await again.mailbox.reports(REGION) == before
    assert not s3.calls("GetObject")


async def test_restart__a_host_that_wrote_since__is_read(make_aws: Callable[..., Aws]) -> None:
    first = make_aws()
    await _host_writes(first, b'{"phase":"running"}')
    await first.mailbox.reports(REGION)
    await _host_writes(first, b'{"phase":"failed"}')
    assert (await make_aws().mailbox.reports(REGION))[ONE].document == {"phase": "failed"}


async def test_restart__a_heartbeat_is_as_old_as_the_list_says(
    make_aws: Callable[..., Aws], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_aws()
    await _host_writes(first, b'{"phase":"running"}')
    written = (await first.mailbox.reports(REGION))[ONE].written_at
    again = make_aws()
    listed = again.mailbox._list
    hour = timedelta(hours=1)

    async def list_older(*asked: Any) -> Any:
        return [{**one, "LastModified": one["LastModified"] - hour} for one in await listed(*asked)]

    monkeypatch.setattr(again.mailbox, "_list", list_older)
    assert (await again.mailbox.reports(REGION))[ONE].written_at == written - 3600


async def test_restart__a_host_that_left__is_forgotten_on_the_disk(
    make_aws: Callable[..., Aws], tmp_path: Path
) -> None:
    aws = make_aws()
    await _host_writes(aws, b"{}")
    await aws.mailbox.reports(REGION)
    (kept,) = tmp_path.rglob(f"{REGION}.sqlite")
    etags = {ONE: said(b"{}").etag}
    assert KeptWords(kept.parent).load(REGION, etags)
    await aws.mailbox.forget(REGION, ONE)
    await make_aws().mailbox.reports(REGION)
    assert not KeptWords(kept.parent).load(REGION, etags)


def test_load__other_bytes_than_the_etag_names__are_dropped(tmp_path: Path) -> None:
    kept, true = KeptWords(tmp_path), said(b'{"phase":"failed"}')
    kept.keep(REGION, {ONE: Words(true.etag, None, b'{"phase":"running"}')}, ())
    assert kept.load(REGION, {ONE: true.etag}) == {}


def test_keep__long_words__take_no_room(tmp_path: Path) -> None:
    kept = KeptWords(tmp_path)
    short, long = said(b"{}"), said(json.dumps("x" * TEXT_LIMIT).encode())
    kept.keep(REGION, {ONE: short, TWO: short}, ())
    kept.keep(REGION, {TWO: long}, ())
    assert kept.load(REGION, {ONE: short.etag, TWO: long.etag}) == {ONE: short}
    assert kept.load(REGION, {ONE: short.etag, TWO: short.etag}) == {ONE: short}


@example(b"\x80", 4004)  # in the middle of the schema
@given(st.binary(max_size=300), st.integers(0, 12_000))
def test_file__damaged_anywhere__gives_nothing_untrue_and_heals(
    tmp_path_factory: pytest.TempPathFactory, garbage: bytes, place: int
) -> None:
    directory = tmp_path_factory.mktemp("kept")
    kept, words = KeptWords(directory), said(b'{"phase":"running"}', 1.5)
    etags = {ONE: words.etag}
    kept.keep(REGION, {ONE: words}, ())
    with file_of(directory).open("r+b") as file:
        file.seek(place)
        file.write(garbage)
    found = KeptWords(directory).load(REGION, etags)
    assert all(one.text == words.text for one in found.values())
    for _ in range(2):  # the first may find out what is damaged
        kept.keep(REGION, {ONE: words}, ())
    assert kept.load(REGION, etags)[ONE].text == words.text


def test_file__of_another_kind__is_begun_anew(tmp_path: Path) -> None:
    with closing(sqlite3.connect(file_of(tmp_path))) as base, base:
        base.execute("create table words (something text)")
    kept, words = KeptWords(tmp_path), said(b"{}")
    assert kept.load(REGION, {ONE: words.etag}) == {}
    kept.keep(REGION, {ONE: words}, ())
    assert kept.load(REGION, {ONE: words.etag}) == {ONE: words}


def test_folder__that_cannot_be_made__costs_reads_only(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    kept = KeptWords(tmp_path / "taken")
    kept.keep(REGION, {ONE: said(b"{}")}, ())
    assert kept.load(REGION, {ONE: said(b"{}").etag}) == {}
