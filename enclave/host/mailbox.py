"""The bucket as the host sees it: read desired, write status, stream an image to disk verified."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from enclave.host.aws import (
    Answer,
    Metadata,
    Unreachable,
    object_url,
    open_request,
    request,
    signed,
    status_of,
)
from enclave.host.config import Config
from enclave.host.documents import MAX_DOCUMENT_BYTES, DocumentRefused

_CHUNK_BYTES = 1 << 20


class NotThere(Exception):
    """No such object yet; without s3:ListBucket S3 says 403 for that (S3 API, GetObject)."""


class WrongImage(Exception):
    """The staged bytes are not what desired.json names."""


class Abandoned(Exception):
    """The image is not wanted any more."""


class Mailbox:
    """One host's folder and the staged images of its region. Not for two threads at once."""

    def __init__(self, config: Config, instance_id: str) -> None:
        self._config = config
        self._folder = f"{config.host_prefix}{instance_id}/"
        self._metadata = Metadata()
        self._etag = ""

    def read_desired(self) -> object | None:
        """The document as JSON when it changed since the last call, else None.

        Raises Unreachable, NotThere, DocumentRefused (too long or not JSON).
        """
        known = {"if-none-match": self._etag} if self._etag else {}
        url, headers = self._sign("GET", self._folder + "desired.json", known)
        answer = self._ask("GET", url, headers)
        if answer.status == 304:
            return None
        _expect(answer.status, "desired.json")
        self._etag = answer.headers.get("etag", "")
        return _parsed(answer.body)

    def write_status(self, document: Mapping[str, Any], clock: float) -> None:
        """Replace status.json. Raises Unreachable.

        The same document again keeps its ETag, so that whoever lists the bucket sees a heartbeat
        and need not read it. What the host's clock says goes beside it, as metadata.
        """
        body = json.dumps(document, sort_keys=True).encode()
        digest = hashlib.sha256(body).hexdigest()
        kind = {"content-type": "application/json", "x-amz-meta-clock": f"{clock:.3f}"}
        url, headers = self._sign("PUT", self._folder + "status.json", kind, digest)
        answer = self._ask("PUT", url, headers, body)
        if answer.status != 200:
            raise Unreachable(f"status.json: {status_of(answer)}")

    def fetch(
        self, folder: str, sha256: str, size: int, path: Path, wanted: Callable[[], bool]
    ) -> None:
        """Have `<folder>/<sha256>` at `path`: goes on where it was cut, there only once its digest
        is right.

        Raises Unreachable, NotThere, WrongImage, Abandoned, OSError (disk).
        """
        key, part = f"{folder}/{sha256}", _part(path)
        digest, have = _hashed(part, size)
        if have < size:
            with part.open("ab") as file:
                for chunk in self._stream(key, have):
                    have += len(chunk)
                    if not wanted():
                        raise Abandoned(sha256)
                    if have > size:
                        break
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
        if have < size:
            raise Unreachable(f"{key}: {have} of {size} bytes")
        if have != size or digest.hexdigest() != sha256:
            part.unlink()
            raise WrongImage(f"{key}: the bucket's bytes have another digest or length")
        part.replace(path)

    def _ask(self, method: str, url: str, headers: dict[str, str], body: bytes = b"") -> Answer:
        answer = request(method, url, headers, body)
        self._metadata.heed(answer.headers)
        return answer

    def _stream(self, key: str, start: int) -> Any:
        extra = {"range": f"bytes={start}-"} if start else {}
        url, headers = self._sign("GET", key, extra)
        connection, response = open_request("GET", url, headers)
        self._metadata.heed({"date": response.getheader("date", "")})
        try:
            _expect(response.status, key, 206 if start else 200)
            while chunk := response.read(_CHUNK_BYTES):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"{key}: cut off: {error!r}") from error
        finally:
            response.close()
            connection.close()

    def _sign(
        self, method: str, key: str, extra: dict[str, str], payload: str | None = None
    ) -> tuple[str, dict[str, str]]:
        now, region = self._metadata.now(), self._config.region
        url = object_url(self._config.bucket, region, key)
        credentials = self._metadata.credentials(now)
        digest = payload or hashlib.sha256(b"").hexdigest()
        return url, signed(method, url, region, credentials, now, extra, digest)


def fetched(path: Path) -> int:
    """How many bytes an earlier try left of the image that will be at `path`."""
    part = _part(path)
    return part.stat().st_size if part.exists() else 0


def _part(path: Path) -> Path:
    return path.with_suffix(".part")


def _expect(status: int, what: str, wanted: int = 200) -> None:
    if status in (403, 404):
        raise NotThere(f"{what}: HTTP {status}, not there or not allowed")
    if status != wanted:
        raise Unreachable(f"{what}: HTTP {status}")


def _parsed(body: bytes) -> object:
    if len(body) > MAX_DOCUMENT_BYTES:
        raise DocumentRefused(f"the document: {len(body)} bytes, at most {MAX_DOCUMENT_BYTES}")
    try:
        parsed: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DocumentRefused(f"the document: not JSON: {error}") from error
    return parsed


def _hashed(part: Path, size: int) -> tuple[Any, int]:
    """Digest and length of what an earlier try left; what is too long is thrown away."""
    digest, have = hashlib.sha256(), 0
    if part.exists() and part.stat().st_size <= size:
        with part.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
                have += len(chunk)
    else:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(b"")
    return digest, have
