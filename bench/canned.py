"""EC2's and S3's answers at almost no cost, so that what is measured is ours and botocore's.

moto spends a second on listing a few hundred instances. Here each of its answers to EC2 is made
once and given again; the mailbox is rendered in the form of S3's ListObjectsV2 and GetObject (S3
API reference), 1,000 keys a page. Requests stop where botocore would open a connection. botocore
asks every handler, the answered ones too, so moto must be off (`alone`) once its answers are kept.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from moto.core.models import botocore_stubber

PAGE = 1000
_WRITTEN = "2027-01-15T08:00:00.000Z"


class Canned:
    """Answers for the clients that `serve` is called with. `objects`: key to body, as S3 has it."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self._kept: dict[tuple[str, str], AWSResponse] = {}

    def serve_ec2(self, client: Any) -> None:
        client.meta.events.register_first("before-send.ec2", self._ec2)

    def alone(self) -> None:
        """From here on only what is kept is answered; KeyError for anything else."""
        botocore_stubber.enabled = False

    def serve_s3(self, client: Any) -> None:
        client.meta.events.register_first("before-send.s3", self._s3)

    def _ec2(self, event_name: str, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        key = (request.url, str(request.body))
        if key not in self._kept:
            self._kept[key] = botocore_stubber(event_name, request)
        made = self._kept[key]
        return _response(request.url, made.content, made.headers)

    def _s3(self, event_name: str, request: AWSPreparedRequest, **_: Any) -> AWSResponse | None:
        name = event_name.rpartition(".")[2]
        if name == "GetObject":
            body = self.objects[urlsplit(request.url).path.lstrip("/").replace("%3A", ":")]
            return _response(request.url, body, {"ETag": _etag(body)})
        if name == "ListObjectsV2":
            return _response(request.url, self._page(request.url).encode(), {})
        return None

    def _page(self, url: str) -> str:
        start = int(parse_qs(urlsplit(url).query).get("continuation-token", ["0"])[0])
        keys = sorted(self.objects)
        more = start + PAGE < len(keys)
        token = f"<NextContinuationToken>{start + PAGE}</NextContinuationToken>" if more else ""
        listed = "".join(self._entries(keys[start : start + PAGE]))
        return (
            f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{listed}"
            "</ListBucketResult>"
        )

    def _entries(self, keys: list[str]) -> Iterator[str]:
        for key in keys:
            body = self.objects[key]
            yield (
                f"<Contents><Key>{key}</Key><LastModified>{_WRITTEN}</LastModified>"
                f"<ETag>{_etag(body)}</ETag><Size>{len(body)}</Size></Contents>"
            )


def _etag(body: bytes) -> str:
    return f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'


class _Raw(io.BytesIO):
    """What botocore expects of urllib3's response."""

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self.read()


def _response(url: str, body: bytes, headers: Mapping[str, str]) -> AWSResponse:
    said = HTTPHeaders.from_dict({**headers, "Content-Length": str(len(body))})
    return AWSResponse(url, 200, said, _Raw(body))
