"""Images into a bucket: once each, in checked parts, taken up where a lost process left off.

An upload in progress is S3's own state, so nothing is kept here: the parts that S3 lists and whose
MD5 is that of our bytes are not sent again. Unfinished uploads expire after a day by the
bucket's lifecycle rule.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from cloud import layout
from cloud.clients import Clients
from cloud.kinds import Missing, NotSetUp
from cloud.model import Region
from faults import Fault, Refused

if TYPE_CHECKING:
    from types_boto3_s3.client import S3Client
    from types_boto3_s3.type_defs import CompletedPartTypeDef

MIB = 1 << 20
PART_BYTES = 16 * MIB  # at least 5 MiB and at most 10,000 parts by S3's limits: 156 GiB
# An image that was just seen there is not looked for again: after a restart thousands of jobs ask.
SEEN_SECONDS = 60.0
PARALLEL_PARTS = 4  # threads and parts in memory for one image


@dataclass(frozen=True, slots=True)
class _Target:
    """One object in one bucket, as the arguments that every S3 call on it takes."""

    s3: S3Client
    bucket: str
    account: str
    key: str


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    offset: int
    size: int


class Staging:
    """Stages each image once a region, however many ask at a time."""

    def __init__(self, clients: Clients, now: Callable[[], float], refresh_seconds: float) -> None:
        self._clients = clients
        self._now = now
        self._refresh = refresh_seconds
        self._seen: dict[tuple[str, str, int], float] = {}
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def stage(
        self, region: Region, bucket: str, account: str, image: Path, sha256: str, size_bytes: int
    ) -> None:
        """Have the image in the bucket. Raises Refused (not that file), NotSetUp, RetryLater."""
        target = _Target(self._clients.s3(region), bucket, account, layout.image_key(sha256))
        async with self.alone(bucket, sha256):
            seen_at = self._seen.get((bucket, sha256, size_bytes))
            if seen_at is not None and self._now() - seen_at < SEEN_SECONDS:
                return
            age = await self._age(target, size_bytes)
            if age is not None and age < self._refresh:
                self._seen[bucket, sha256, size_bytes] = self._now()
                return
            await self._clients.run(f"reading {image}", lambda: check(image, sha256, size_bytes))
            await self._upload(target, image, size_bytes)

    def forget(self, bucket: str, sha256: str) -> None:
        """The image is deleted: look again before it is believed to be there."""
        for key in [key for key in self._seen if key[:2] == (bucket, sha256)]:
            del self._seen[key]

    def alone(self, bucket: str, name: str) -> asyncio.Lock:
        """Held by whoever writes or deletes what is of this name in this bucket: an image's digest,
        or the key of something else."""
        return self._locks.setdefault((bucket, name), asyncio.Lock())

    async def _age(self, target: _Target, size_bytes: int) -> float | None:
        """Seconds since the staged image was written; None when it is not there."""
        try:
            head = await self._clients.run(
                f"looking for {target.key}",
                lambda: target.s3.head_object(
                    Bucket=target.bucket, Key=target.key, ExpectedBucketOwner=target.account
                ),
            )
        except Missing:
            return None
        if head["ContentLength"] != size_bytes:
            return None
        return self._now() - head["LastModified"].timestamp()

    async def _upload(self, target: _Target, image: Path, size_bytes: int) -> None:
        doing = f"uploading {target.key}"
        try:
            upload = await self._clients.run(doing, lambda: _upload_id(target))
            there = await self._clients.run(doing, lambda: _parts_there(target, upload))
            parts = await self._parts(target, image, upload, there, size_bytes)
            await self._clients.run(doing, lambda: _complete(target, upload, parts))
        except Missing as fault:
            raise NotSetUp(
                f"{fault}; the upload or the bucket is gone, see `cloud setup`"
            ) from fault

    async def _parts(
        self, target: _Target, image: Path, upload: str, there: dict[int, str], size_bytes: int
    ) -> list[CompletedPartTypeDef]:
        slots = asyncio.Semaphore(PARALLEL_PARTS)

        async def send(part: _Part) -> CompletedPartTypeDef:
            async with slots:
                return await self._clients.run(
                    f"uploading part {part.number} of {target.key}",
                    lambda: _send(target, image, upload, part, there.get(part.number)),
                )

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(send(part)) for part in _cut(size_bytes)]
        except* Fault as faults:
            failed = faults.exceptions
        else:
            return [task.result() for task in tasks]
        raise failed[0]


def check(image: Path, sha256: str, size_bytes: int) -> None:
    """Raise Refused unless the file is of this size and digest."""
    try:
        with image.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        raise Refused(f"{image} can't be read: {error}") from error
    if (digest, size) != (sha256, size_bytes):
        raise Refused(f"{image} is not the image {sha256}: fetch it again")


def _cut(size_bytes: int) -> Iterator[_Part]:
    for number, offset in enumerate(range(0, size_bytes, PART_BYTES), start=1):
        yield _Part(number, offset, min(PART_BYTES, size_bytes - offset))


def _upload_id(target: _Target) -> str:
    """The newest unfinished upload of this image, or a new one."""
    pages = target.s3.get_paginator("list_multipart_uploads")
    found = [
        upload
        for page in pages.paginate(
            Bucket=target.bucket, Prefix=target.key, ExpectedBucketOwner=target.account
        )
        for upload in page.get("Uploads", [])
        if upload["Key"] == target.key
    ]
    if found:
        return max(found, key=lambda upload: upload["Initiated"])["UploadId"]
    return target.s3.create_multipart_upload(
        Bucket=target.bucket,
        Key=target.key,
        ServerSideEncryption="AES256",
        ExpectedBucketOwner=target.account,
    )["UploadId"]


def _parts_there(target: _Target, upload: str) -> dict[int, str]:
    pages = target.s3.get_paginator("list_parts")
    return {
        part["PartNumber"]: part["ETag"]
        for page in pages.paginate(
            Bucket=target.bucket,
            Key=target.key,
            UploadId=upload,
            ExpectedBucketOwner=target.account,
        )
        for part in page.get("Parts", [])
    }


def _send(
    target: _Target, image: Path, upload: str, part: _Part, etag_there: str | None
) -> CompletedPartTypeDef:
    try:
        with image.open("rb") as file:
            file.seek(part.offset)
            body = file.read(part.size)
    except OSError as error:
        raise Refused(f"{image} can't be read: {error}") from error
    etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
    if etag_there != etag:
        etag = target.s3.upload_part(
            Bucket=target.bucket,
            Key=target.key,
            UploadId=upload,
            PartNumber=part.number,
            Body=body,
            ExpectedBucketOwner=target.account,
        )["ETag"]
    return {"PartNumber": part.number, "ETag": etag}


def _complete(target: _Target, upload: str, parts: list[CompletedPartTypeDef]) -> None:
    target.s3.complete_multipart_upload(
        Bucket=target.bucket,
        Key=target.key,
        UploadId=upload,
        MultipartUpload={"Parts": parts},
        ExpectedBucketOwner=target.account,
    )
