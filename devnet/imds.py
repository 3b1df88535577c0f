"""The metadata service of every simulated instance: version 2 only, identity and credentials."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections.abc import Mapping

from devnet import moto_state
from devnet.ec2 import RUNNING, HonestEc2, Record

_CREDENTIAL_SECONDS = 6 * 3600
_KEY_PREFIX = "ASIADEVNET"


class Imds:
    """Answers `<method> <path>` for one instance, as the real one does at 169.254.169.254."""

    def __init__(self, ec2: HonestEc2) -> None:
        self._ec2 = ec2
        self._tokens: dict[str, str] = {}
        self._hosts: dict[str, str] = {}

    def answer(
        self, instance: str, method: str, path: str, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        """(HTTP status, body)."""
        record = self._ec2.records.get(instance)
        if record is None or record.state != RUNNING:
            return 503, b""
        if method == "PUT" and path == "latest/api/token":
            token = secrets.token_urlsafe(24)
            self._tokens[token] = instance
            return 200, token.encode()
        if self._tokens.get(headers.get("X-AWS-EC2-METADATA-TOKEN", "")) != instance:
            return 401, b""
        text = self._document(record, path.removeprefix("latest/"))
        return (404, b"") if text is None else (200, text.encode())

    def host_of(self, access_key: str) -> tuple[str, str] | None:
        """(instance id, role id) whose credentials these are, or None: not a host's."""
        instance = self._hosts.get(access_key)
        record = self._ec2.records.get(instance or "")
        role = moto_state.role_of(record.profile) if record else None
        return (record.id, role[1]) if record and role else None

    def _document(self, record: Record, path: str) -> str | None:
        role = moto_state.role_of(record.profile)
        base = "meta-data/iam/security-credentials/"
        if path == base:
            return role[0] if role else None
        if role and path == base + role[0]:
            return self._credentials(record)
        plain = {
            "dynamic/instance-identity/document": _identity(record),
            "meta-data/instance-id": record.id,
            "meta-data/placement/availability-zone": record.zone,
            "meta-data/placement/region": record.region,
            "meta-data/public-ipv4": record.public_ip,
            "user-data": record.user_data.decode(errors="replace"),
        }
        return plain.get(path)

    def _credentials(self, record: Record) -> str:
        digest = hashlib.sha256(record.id.encode()).hexdigest().upper()
        key = _KEY_PREFIX + digest[:10]
        self._hosts[key] = record.id
        expires = time.gmtime(time.time() + _CREDENTIAL_SECONDS)
        return json.dumps(
            {
                "Code": "Success",
                "Type": "AWS-HMAC",
                "AccessKeyId": key,
                "SecretAccessKey": digest[:40],
                "Token": f"simulated-{record.id}",
                "Expiration": time.strftime("%Y-%m-%dT%H:%M:%SZ", expires),
            }
        )


def _identity(record: Record) -> str:
    return json.dumps(
        {
            "accountId": moto_state.ACCOUNT,
            "architecture": moto_state.shape(record.instance_type).architecture,
            "availabilityZone": record.zone,
            "instanceId": record.id,
            "instanceType": record.instance_type,
            "region": record.region,
        }
    )


def may(host: tuple[str, str], method: str, path: str) -> bool:
    """Whether a host's role allows this S3 request; `path` is /bucket/key."""
    instance, role_id = host
    key = path.lstrip("/").partition("/")[2]
    folder = f"hosts/{role_id}:{instance}/"
    if method in ("GET", "HEAD"):
        return key.startswith(("images/", "programs/")) or key == folder + "desired.json"
    return method == "PUT" and key == folder + "status.json"
