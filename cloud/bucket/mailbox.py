"""The bucket of each region: desired.json and status.json of hosts, images, the host program.

The agent alone writes desired.json, a host alone writes status.json; here they are opaque JSON.
S3 is strongly consistent for reads and lists (S3 user guide, "data consistency model"), and the
ETag of a small object encrypted with SSE-S3 is the MD5 of its bytes ("Checking object integrity"):
so one list call shows what changed, and whether a document that should be there is there.

desired.json is written over the version that was listed and no other (S3 user guide, "conditional
writes"): of two hosts that both think they lead, the one that knows less is refused, and looks.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from cloud import layout
from cloud.bucket.host_words import DOCUMENT_LIMIT, ahead_of, beaten, report_of
from cloud.bucket.programs import Programs, Put
from cloud.bucket.staging import Staging
from cloud.bucket.status_cache import KeptWords, Words
from cloud.clients import Clients
from cloud.kinds import Busy, Missing, NotSetUp
from cloud.model import HostReport, InstanceId, Region
from cloud.settings import Account
from faults import Refused

if TYPE_CHECKING:
    from types_boto3_s3.type_defs import ObjectTypeDef

T = TypeVar("T")

# Lifecycle rules (cloud.setup) expire hosts/ and images/ after 30 days. What is still wanted is
# written again well before that.
REFRESH_SECONDS = 7 * 86400
ALIVE_SECONDS = 3600.0  # since a host wrote last: its orders are in force
PARALLEL_READS = 8

Now = Callable[[], float]


Find = Callable[[], Awaitable[Account]]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A desired.json as it was last seen or written; `turn` counts what this process saw."""

    etag: str
    written_at: float
    turn: int


class Mailbox:
    """One for all regions. `find` answers with the account when it is first needed; `kept` is
    where what hosts said is remembered over a restart."""

    def __init__(self, clients: Clients, find: Find, now: Now, kept: Path) -> None:
        self._clients = clients
        self._find = find
        self._now = now
        self._staging = Staging(clients, now, REFRESH_SECONDS)
        self._programs = Programs(self._list, now)
        self._kept = KeptWords(kept)
        self._reports: dict[Region, dict[InstanceId, HostReport]] = {}
        self._desired: dict[tuple[Region, InstanceId], _Seen] = {}
        self._turns = itertools.count()
        self._reading = asyncio.Semaphore(PARALLEL_READS)

    async def reports(self, region: Region) -> Mapping[InstanceId, HostReport]:
        """The last status of every host; reads again only what changed. Raises RetryLater."""
        account = await self._find()
        mine, begun = layout.host_prefix(account.role_id), next(self._turns)
        listed = await self._list(region, mine, f"listing the mailbox of {region}")
        self._note_desired(region, listed, begun)
        there = _named(listed, layout.STATUS)
        before = self._reports.get(region)
        if before is None:
            before = await self._recall(region, there)
        changed = {
            instance: found
            for instance, found in there.items()
            if instance not in before or before[instance].etag != found["ETag"]
        }
        read = await asyncio.gather(
            *(self._read(region, instance, found) for instance, found in changed.items())
        )
        kept = {i: beaten(r, there[i]) for i, r in before.items() if i in there}
        fresh = [one for one in read if one is not None]
        self._reports[region] = kept | {report.instance: report for report, _ in fresh}
        await self._keep(region, fresh, before.keys() - there.keys())
        return dict(self._reports[region])

    async def _recall(
        self, region: Region, there: Mapping[InstanceId, ObjectTypeDef]
    ) -> dict[InstanceId, HostReport]:
        """What an earlier process read and is listed unchanged; times are the listing's."""
        etags = {instance: found["ETag"] for instance, found in there.items()}

        def load() -> dict[InstanceId, HostReport]:
            return {
                instance: report_of(instance, words, there[instance])
                for instance, words in self._kept.load(region, etags).items()
            }

        return await self._clients.run(f"recalling the mailbox of {region}", load)

    async def _keep(
        self,
        region: Region,
        read: Sequence[tuple[HostReport, Words]],
        gone: Collection[InstanceId],
    ) -> None:
        words = {report.instance: each for report, each in read}
        if words or gone:
            doing = f"keeping the mailbox of {region}"
            await self._clients.run(doing, lambda: self._kept.keep(region, words, gone))

    async def write_desired(
        self, region: Region, instance: InstanceId, document: Mapping[str, object]
    ) -> None:
        """Replace desired.json of one host; the same document again changes nothing.

        Sends nothing when the last list call showed this very document, younger than a week. Raises
        Busy when it is not as it was listed any more: it is to be looked at again; RetryLater.
        """
        body = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
        if len(body) > DOCUMENT_LIMIT:
            raise Refused(f"desired.json of {instance} has {len(body)} bytes; {DOCUMENT_LIMIT} fit")
        etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
        seen = self._desired.get((region, instance))
        if seen and seen.etag == etag and seen.written_at > self._now() - REFRESH_SECONDS:
            return
        account = await self._find()
        key = layout.desired_key(account.role_id, instance)
        await self._replace(account, region, key, body, seen)
        self._desired[region, instance] = _Seen(etag, self._now(), next(self._turns))
        await self._programs.keep(region, self._putting(account, region))

    async def _replace(
        self, account: Account, region: Region, key: str, body: bytes, seen: _Seen | None
    ) -> None:
        """Where nothing was seen the object must not be there; where the SDK sends an answerless
        call again, its own first one is what is in the way, as the next list call shows."""
        asked = {"IfMatch": seen.etag} if seen else {"IfNoneMatch": "*"}
        try:
            await self._put(account, region, key, body, **asked)
        except NotSetUp as gone:
            if not isinstance(gone.__cause__, Missing) or not seen:
                raise
            raise Busy(f"{key} was deleted since it was listed; it is looked at again") from gone

    async def renew(self, region: Region) -> list[InstanceId]:
        """Write again what is in force and a week old, so that it does not expire: the orders of
        hosts that still write. Returns whose. Raises RetryLater."""
        account = await self._find()
        mine = layout.host_prefix(account.role_id)
        listed = await self._list(region, mine, f"listing the mailbox of {region}")
        writing, now = _named(listed, layout.STATUS), self._now()
        old = [
            (instance, found["ETag"])
            for instance, found in _named(listed, layout.DESIRED).items()
            if found["LastModified"].timestamp() < now - REFRESH_SECONDS
            and instance in writing
            and writing[instance]["LastModified"].timestamp() > now - ALIVE_SECONDS
        ]
        return [instance for instance, etag in old if await self._renewed(region, instance, etag)]

    async def _renewed(self, region: Region, instance: InstanceId, etag: str) -> bool:
        """Whether the listed version was written again; another one is young."""
        account = await self._find()
        key = layout.desired_key(account.role_id, instance)
        try:
            body, _ = await self._get(region, key, f"reading the orders of {instance}")
            await self._replace(account, region, key, body, _Seen(etag, 0.0, 0))
        except (Missing, Busy):
            return False
        return True

    async def stage(
        self, region: Region, image: Path, sha256: str, size_bytes: int, *, missed: bool = False
    ) -> None:
        """Have `images/<sha256>` in the region's bucket; returns at once when it is there.
        `missed`: a host did not find it, so that what was seen a moment ago counts for nothing.

        Raises Refused when the file is not of this size and digest, RetryLater.
        """
        account = await self._find()
        if missed:
            self._staging.forget(account.bucket(region), sha256)
        await self._staging.stage(
            region, account.bucket(region), account.id, image, sha256, size_bytes
        )

    async def stage_params(self, region: Region, params: bytes) -> None:
        """Have init params in the region's bucket under their digest, written anew each time: they
        expire like images, and a host asks for them only before its enclave starts."""
        account = await self._find()
        key = layout.params_key(hashlib.sha256(params).hexdigest())
        async with self._staging.alone(account.bucket(region), key):
            await self._put(account, region, key, params)

    async def staged_params(self, region: Region) -> Mapping[str, float]:
        """Digest of all init params in the bucket, and when they were written (unix seconds).
        Raises RetryLater."""
        listed = await self._list(region, layout.PARAMS, f"listing the init params of {region}")
        return {layout.params_of(one["Key"]): one["LastModified"].timestamp() for one in listed}

    async def unstage_params(self, region: Region, sha256: str, used: Callable[[], bool]) -> bool:
        """Delete init params unless they are `used`, which is asked when nobody stages them just
        now. Whether they are deleted. Raises RetryLater."""
        key = layout.params_key(sha256)
        async with self._staging.alone((await self._find()).bucket(region), key):
            if used():
                return False
            await self._delete(region, [key])
            return True

    async def staged(self, region: Region) -> Mapping[str, float]:
        """Digest of every staged image, and when it was written (unix seconds): one list call
        for a thousand. Raises RetryLater."""
        listed = await self._list(region, layout.IMAGES, f"listing the images of {region}")
        return {layout.image_of(one["Key"]): one["LastModified"].timestamp() for one in listed}

    async def unstage(self, region: Region, sha256: str) -> None:
        """Delete a staged image that no job of the region uses any more.

        Staging of the same image waits for it, and then stages anew.
        """
        account = await self._find()
        async with self._staging.alone(account.bucket(region), sha256):
            self._staging.forget(account.bucket(region), sha256)
            await self._delete(region, [layout.image_key(sha256)])

    async def alone(self, region: Region) -> bool:
        """Whether this agent alone uses the bucket. It signs in here, and must again before that
        expires: agents with one prefix share images, and see each other's hosts as strangers.
        Raises RetryLater."""
        account = await self._find()
        mine = layout.owner_key(account.settings.owner.tags())
        signed = {
            one["Key"]: one["LastModified"].timestamp()
            for one in await self._list(region, layout.OWNERS, f"listing who uses {region}")
        }
        if signed.get(mine, 0.0) < self._now() - REFRESH_SECONDS:
            body = json.dumps(account.settings.owner.tags()).encode()
            await self._put(account, region, mine, body)
        return signed.keys() <= {mine}

    async def forget(self, region: Region, instance: InstanceId) -> None:
        """Delete what the mailbox holds of a host that is gone."""
        role = (await self._find()).role_id
        keys = [layout.desired_key(role, instance), layout.status_key(role, instance)]
        await self._delete(region, keys)
        self._desired.pop((region, instance), None)
        self._reports.get(region, {}).pop(instance, None)

    async def publish_program(self, region: Region, program: bytes) -> str:
        """Have the host program in the region's bucket; returns its SHA-256 in hex."""
        account = await self._find()
        digest = hashlib.sha256(program).hexdigest()
        await self._programs.publish(region, digest, program, self._putting(account, region))
        return digest

    def _putting(self, account: Account, region: Region) -> Put:
        return lambda key, body: self._put(account, region, key, body)

    async def _list(self, region: Region, prefix: str, doing: str) -> list[ObjectTypeDef]:
        account = await self._find()
        pages = self._clients.s3(region).get_paginator("list_objects_v2")
        return await self._run(
            doing,
            lambda: [
                found
                for page in pages.paginate(
                    Bucket=account.bucket(region),
                    Prefix=prefix,
                    ExpectedBucketOwner=account.id,
                )
                for found in page.get("Contents", [])
            ],
        )

    async def _read(
        self, region: Region, instance: InstanceId, found: ObjectTypeDef
    ) -> tuple[HostReport, Words] | None:
        """A report and its bytes, whatever the host wrote; None: deleted since it was listed."""
        key = layout.status_key((await self._find()).role_id, instance)
        async with self._reading:
            try:
                text, ahead = await self._get(region, key, f"reading the status of {instance}")
            except Missing:
                return None
        # The listed ETag, not the read one: should the host write in between, it is read again.
        words = Words(found["ETag"], ahead, text)
        return report_of(instance, words, found), words

    async def _get(self, region: Region, key: str, doing: str) -> tuple[bytes, float | None]:
        """A document, and by how much its writer's clock was ahead. Raises Missing, RetryLater."""
        account = await self._find()

        def get() -> tuple[bytes, float | None]:
            answer = self._clients.s3(region).get_object(
                Bucket=account.bucket(region), Key=key, ExpectedBucketOwner=account.id
            )
            ahead = ahead_of(
                answer.get("Metadata", {}).get(layout.CLOCK), answer.get("LastModified")
            )
            with answer["Body"] as body:
                return body.read(DOCUMENT_LIMIT + 1), ahead

        return await self._clients.run(doing, get)

    async def _put(
        self, account: Account, region: Region, key: str, body: bytes, **only: str
    ) -> None:
        s3 = self._clients.s3(region)
        await self._run(
            f"writing {key} in {region}",
            lambda: s3.put_object(
                Bucket=account.bucket(region),
                Key=key,
                Body=body,
                ServerSideEncryption="AES256",
                ExpectedBucketOwner=account.id,
                **only,  # type: ignore[arg-type] # conditions, each a text
            ),
        )

    async def _delete(self, region: Region, keys: list[str]) -> None:
        account = await self._find()
        s3 = self._clients.s3(region)
        await self._run(
            f"deleting {keys[0]} in {region}",
            lambda: [
                s3.delete_object(
                    Bucket=account.bucket(region), Key=key, ExpectedBucketOwner=account.id
                )
                for key in keys
            ],
        )

    async def _run(self, doing: str, call: Callable[[], T]) -> T:
        try:
            return await self._clients.run(doing, call)
        except Missing as fault:
            raise NotSetUp(f"{fault}; run `cloud setup`") from fault

    def _note_desired(self, region: Region, listed: list[ObjectTypeDef], begun: int) -> None:
        """What was written while the list was read may be younger than its line there."""
        kept = {
            key: seen
            for key, seen in self._desired.items()
            if key[0] != region or seen.turn > begun
        }
        there = {
            (region, instance): _Seen(found["ETag"], found["LastModified"].timestamp(), begun)
            for instance, found in _named(listed, layout.DESIRED).items()
        }
        self._desired = there | kept


def _named(listed: list[ObjectTypeDef], name: str) -> dict[InstanceId, ObjectTypeDef]:
    """The listed objects called `name`, by the host they belong to."""
    hosts = ((layout.host_of(found["Key"]), found) for found in listed)
    return {host[0]: found for host, found in hosts if host is not None and host[1] == name}
