"""The little of AWS that an instance needs: its metadata service, its credentials, signed requests.

Self-contained on purpose: user data carries this source as it is, to fetch the host program with
the same code that the host program uses. Standard library only, Python 3.9 and later.
"""

from __future__ import annotations

import calendar
import email.utils
import hashlib
import hmac
import http.client
import json
import os
import re
import time
import urllib.parse
from collections.abc import Mapping
from typing import NamedTuple

METADATA = "http://169.254.169.254"
# IMDSv2's longest (EC2 User Guide, "Use the Instance Metadata Service").
TOKEN_SECONDS = 21600
# AWS rotates role credentials at least five minutes before they expire (EC2 User Guide, IAM roles).
REFRESH_BEFORE_SECONDS = 300.0
CONNECT_SECONDS = 10.0
# A small object or a metadata answer; images are streamed elsewhere.
MOST_BYTES = 4 << 20
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()


class Unreachable(Exception):
    """No usable answer (network, 5xx, throttled): the same request may succeed later."""


class Answer(NamedTuple):
    """A whole HTTP answer; header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def status_of(answer: Answer) -> str:
    """In words, with S3's code: there are many reasons for a 403."""
    code = re.search(rb"<Code>(\w{1,60})</Code>", answer.body)
    return f"HTTP {answer.status}" + (f" {code[1].decode()}" if code else "")


class Credentials(NamedTuple):
    """Temporary credentials of the instance's role; `expires_at` in unix seconds."""

    key_id: str
    secret: str
    token: str
    expires_at: float


def open_request(
    method: str, url: str, headers: dict[str, str], body: bytes = b""
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Send one request; the caller reads the response and closes the connection."""
    parts = urllib.parse.urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.netloc, timeout=CONNECT_SECONDS)
    target = (parts.path or "/") + ("?" + parts.query if parts.query else "")
    try:
        connection.request(method, target, body=body or None, headers=headers)
        return connection, connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise Unreachable(f"{method} {parts.netloc}{parts.path}: {error!r}") from error


def request(method: str, url: str, headers: dict[str, str], body: bytes = b"") -> Answer:
    """One small request and its whole answer. Raises Unreachable, for 5xx and 429 too."""
    connection, response = open_request(method, url, headers, body)
    try:
        data = response.read(MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        raise Unreachable(f"{method} {url}: cut off: {error!r}") from error
    finally:
        connection.close()
    answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, data)
    if answer.status >= 500 or answer.status == 429:
        raise Unreachable(f"{method} {url}: {status_of(answer)}")
    return answer


class Metadata:
    """The instance metadata service, version 2 only."""

    def __init__(self, endpoint: str | None = None) -> None:
        asked = endpoint or os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or METADATA
        self._endpoint = asked.rstrip("/")
        self._token = ""
        self._token_until = 0.0
        self._credentials: Credentials | None = None
        self._ahead = 0.0

    def now(self) -> float:
        """Unix seconds by AWS's clock, as far as it was heeded: S3 refuses what is signed at
        another time than its own, give or take a quarter of an hour."""
        return time.time() + self._ahead

    def heed(self, headers: Mapping[str, str]) -> None:
        """Take AWS's time from the headers of an answer, whatever this machine's clock says."""
        try:
            said = email.utils.parsedate_to_datetime(headers["date"]).timestamp()
        except (KeyError, TypeError, ValueError):  # TypeError: what Python 3.9 says to no date
            return
        self._ahead = said - time.time()

    def get(self, path: str) -> str:
        """The text at `latest/<path>`. Raises Unreachable; what is not there yet is that too."""
        headers = {"X-aws-ec2-metadata-token": self._session()}
        answer = request("GET", f"{self._endpoint}/latest/{path}", headers)
        if answer.status != 200:
            self._token_until = 0.0
            raise Unreachable(f"metadata {path}: HTTP {answer.status}")
        return answer.body.decode(errors="replace")

    def identity(self) -> tuple[str, str]:
        """(instance id, region) from the instance identity document. Raises Unreachable."""
        document = self.get("dynamic/instance-identity/document")
        instance, region = _texts(document, "instanceId", "region")
        return instance, region

    def credentials(self, now: float) -> Credentials:
        """The role's credentials, asked for again before they expire; those that are known serve
        until then where no others are to be had. Raises Unreachable."""
        known = self._credentials
        if known is not None and now < known.expires_at - REFRESH_BEFORE_SECONDS:
            return known
        try:
            self._credentials = self._newest()
        except Unreachable:
            if known is None or now >= known.expires_at:
                raise
            return known
        return self._credentials

    def _newest(self) -> Credentials:
        base = "meta-data/iam/security-credentials/"
        role = self.get(base).split("\n")[0].strip()
        return _credentials(self.get(base + role))

    def _session(self) -> str:
        if time.monotonic() >= self._token_until:
            headers = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_SECONDS)}
            answer = request("PUT", f"{self._endpoint}/latest/api/token", headers)
            if answer.status != 200:
                raise Unreachable(f"metadata token: HTTP {answer.status}")
            self._token = answer.body.decode()
            self._token_until = time.monotonic() + TOKEN_SECONDS / 2
        return self._token


def _credentials(text: str) -> Credentials:
    names = ("AccessKeyId", "SecretAccessKey", "Token", "Expiration")
    key_id, secret, token, until = _texts(text, *names)
    try:
        expires = calendar.timegm(time.strptime(until, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError as error:
        raise Unreachable(f"metadata: Expiration is no time: {error}") from None
    return Credentials(key_id, secret, token, float(expires))


def _texts(text: str, *names: str) -> list[str]:
    """These fields of a JSON object. Raises Unreachable: a role that is not ready yet is answered
    with 200 and other fields (EC2 User Guide, "Retrieve security credentials")."""
    try:
        data = json.loads(text)
        return [str(data[name]) for name in names]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise Unreachable(f"metadata: not as documented: {error!r}") from None


def object_url(bucket: str, region: str, key: str) -> str:
    """Where an object is; AWS_ENDPOINT_URL (then path style) stands for AWS when it is set."""
    path = urllib.parse.quote(key, safe="/-_.~")
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint:
        return f"{endpoint.rstrip('/')}/{bucket}/{path}"
    domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://{bucket}.s3.{region}.{domain}/{path}"


def signed(
    method: str,
    url: str,
    region: str,
    credentials: Credentials,
    now: float,
    extra: dict[str, str] | None = None,
    payload_sha256: str = EMPTY_SHA256,
) -> dict[str, str]:
    """Headers of an S3 request, Signature Version 4 (IAM User Guide, "Create a signed request")."""
    parts = urllib.parse.urlsplit(url)
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    headers = {k.lower(): v for k, v in (extra or {}).items()}
    headers["host"] = parts.netloc
    headers["x-amz-content-sha256"] = payload_sha256
    headers["x-amz-date"] = stamp
    headers["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in sorted(headers))
    canonical = f"{method}\n{parts.path}\n{parts.query}\n{lines}\n{names}\n{payload_sha256}"
    scope = f"{stamp[:8]}/{region}/s3/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = ("AWS4" + credentials.secret).encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={credentials.key_id}/{scope}, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    return headers
