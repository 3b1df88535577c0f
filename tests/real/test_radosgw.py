"""An S3 server of other people verifies what the host program signs: Ceph's radosgw of Debian 13.

Its small store (dbstore) is wrong about ranges and multipart uploads: those are not asked of it.
"""

from __future__ import annotations

import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from devnet.processes import free_port
from enclave.host import aws
from enclave.host.aws import Answer, Credentials
from tests.real.machine import until
from tests.real.roots import ENVIRON, NEWER_SUITE, Overlay, Unavailable, why_not_newer

PACKAGES = ("radosgw",)
WHY = why_not_newer(PACKAGES, quick=True)
REGION, BUCKET = "us-east-1", "mailbox"
KEY_ID, SECRET = "AKIDOFTHETEST", "secret-of-the-test"
SKEW_SECONDS = 15 * 60  # what S3 allows (API Reference, RequestTimeTooSkewed), and radosgw too
ALLOW = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": ["sts:GetSessionToken"], "Resource": "*"}],
}
CONFIG = """\
[global]
fsid = 00000000-0000-0000-0000-000000000001
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
log_file = /srv/rgw/log
run_dir = /srv/rgw
rgw_backend_store = dbstore
rgw_config_store = dbstore
dbstore_db_dir = /srv/rgw
dbstore_config_uri = file:/srv/rgw/config.db
rgw_data = /srv/rgw
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_s3_auth_use_sts = true
rgw_sts_key = sixteen-letters-
"""
KEYS = [
    "plain", "hosts/AROAEXAMPLE:i-0123456789abcdef0/status.json", "a b", "a+b=c&d", "a%20b",
    "q?x=1#y", "it's(1)!*", "~-_.", "\u00fc/\u00e9", "//a//", "a;b,c@d$e:f", "\\<>[]{}|^`\"",
]  # fmt: skip

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("real"),
    pytest.mark.skipif(bool(WHY), reason=WHY or "all is there"),
]


@dataclass(frozen=True)
class Server:
    """The gateway, and temporary credentials that it gave."""

    endpoint: str
    credentials: Credentials

    def ask(
        self,
        method: str,
        key: str,
        body: bytes = b"",
        *,
        ahead: float = 0,
        as_: Credentials | None = None,
        extra: dict[str, str] | None = None,
    ) -> Answer:
        """By the host program's own means; `ahead`: seconds by which its clock is wrong."""
        url = aws.object_url(BUCKET, REGION, key)
        digest = hashlib.sha256(body).hexdigest()
        now = time.time() + ahead
        headers = aws.signed(method, url, REGION, as_ or self.credentials, now, extra, digest)
        return aws.request(method, url, headers, body)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    overlay = Overlay(tmp_path_factory.mktemp("radosgw") / "machine", NEWER_SUITE, PACKAGES)
    try:
        overlay.mount()
    except Unavailable as why:
        pytest.skip(str(why))
    try:
        if not (overlay.root / "usr/bin/radosgw").exists():
            pytest.skip("radosgw could not be put into the cached root")
        port = free_port()
        process = _started(overlay.root, port)
        try:
            endpoint = f"http://127.0.0.1:{port}"
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("AWS_ENDPOINT_URL", endpoint)
                yield Server(endpoint, _prepared(endpoint))
        finally:
            process.kill()
            process.wait()
    finally:
        overlay.unmount()


def _started(root: Path, port: int) -> subprocess.Popen[bytes]:
    (root / "srv/rgw").mkdir()
    (root / "srv/rgw/ceph.conf").write_text(CONFIG.format(port=port))
    words = ["chroot", str(root)]
    common = ["-c", "/srv/rgw/ceph.conf"]
    for order in (
        ["user", "create", "--uid=u", "--display-name=u", f"--access-key={KEY_ID}",
         f"--secret-key={SECRET}"],
        ["caps", "add", "--uid=u", "--caps=user-policy=*"],
    ):  # fmt: skip
        command = [*words, "radosgw-admin", *common, *order]
        subprocess.run(command, env=ENVIRON, capture_output=True, check=True, timeout=60)
    process = subprocess.Popen(
        [*words, "radosgw", *common, "-n", "client.rgw", "-f"],
        env=ENVIRON, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    log = root / "srv/rgw/log"
    until(lambda: _listens(port), 60, lambda: log.read_text()[-2000:] if log.exists() else "")
    return process


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def _prepared(endpoint: str) -> Credentials:
    """A session's credentials and, after them, the bucket: this store forgets a user's buckets when
    the user is written again."""

    def client(service: Any) -> Any:
        config = Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1})
        return boto3.client(
            service, endpoint_url=endpoint, region_name=REGION, config=config,
            aws_access_key_id=KEY_ID, aws_secret_access_key=SECRET,
        )  # fmt: skip

    document = json.dumps(ALLOW)
    client("iam").put_user_policy(UserName="u", PolicyName="p", PolicyDocument=document)
    given = client("sts").get_session_token()["Credentials"]
    client("s3").create_bucket(Bucket=BUCKET)
    return Credentials(
        given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"], time.time() + 900
    )


@pytest.mark.parametrize("key", KEYS)
def test_key__odd_or_plain__is_written_and_read_under_a_session_token(
    server: Server, key: str
) -> None:
    body = f"what is under {key}".encode()
    assert server.ask("PUT", key, body).status == 200
    answer = server.ask("GET", key)
    assert (answer.status, answer.body) == (200, body)


def test_object__unchanged_since_its_etag__is_answered_304(server: Server) -> None:
    server.ask("PUT", "plain", b"once")
    tag = server.ask("GET", "plain").headers["etag"]
    again = server.ask("GET", "plain", extra={"If-None-Match": tag})
    assert (again.status, again.body) == (304, b"")
    server.ask("PUT", "plain", b"twice")
    assert server.ask("GET", "plain", extra={"If-None-Match": tag}).body == b"twice"


@pytest.mark.parametrize("sign", [-1, 1])
def test_clock__wrong_by_more_than_is_allowed__is_refused_and_the_answer_s_date_mends_it(
    server: Server, sign: int
) -> None:
    server.ask("PUT", "plain", b"once")
    refused = server.ask("GET", "plain", ahead=sign * (SKEW_SECONDS + 60))
    assert (refused.status, b"RequestTimeTooSkewed" in refused.body) == (403, True)
    metadata = aws.Metadata("http://127.0.0.1:9")
    metadata.heed(refused.headers)
    assert abs(metadata.now() - time.time()) < 5
    assert server.ask("GET", "plain", ahead=sign * (SKEW_SECONDS - 120)).status == 200


@pytest.mark.parametrize("wrong", ["secret", "token", "body"])
def test_signature__of_something_else__is_refused(server: Server, wrong: str) -> None:
    mine = server.credentials
    other = {
        "secret": mine._replace(secret="another"),
        "token": mine._replace(token=mine.token[:-8] + "AAAAAAA="),
    }.get(wrong, mine)
    url = aws.object_url(BUCKET, REGION, "plain")
    digest = hashlib.sha256(b"said").hexdigest()
    headers = aws.signed("PUT", url, REGION, other, time.time(), None, digest)
    sent = b"sent" if wrong == "body" else b"said"
    assert aws.request("PUT", url, headers, sent).status in (400, 403)
