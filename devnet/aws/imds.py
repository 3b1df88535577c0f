"""The metadata service of every simulated instance: version 2 only, identity and credentials."""

from __future__ import annotations

import fnmatch
import functools
import hashlib
import json
import secrets
import time
from collections.abc import Mapping

from cloud.account.policies import render
from devnet.aws import moto_state
from devnet.aws.ec2 import RUNNING, HonestEc2, Record

_CREDENTIAL_SECONDS = 6 * 3600
_KEY_PREFIX = "ASIADEVNET"
# What IAM calls a request for an object (Service Authorization Reference, Amazon S3).
_ACTIONS = {"GET": "s3:GetObject", "HEAD": "s3:GetObject", "PUT": "s3:PutObject"}


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
    """Whether `cloud/account/iam/host.json` allows a host this S3 request; `path` is /bucket/key.

    The policy names the buckets of one account; here every bucket is one of those.
    """
    instance, role_id = host
    key = path.lstrip("/").partition("/")[2]
    return any(
        fnmatch.fnmatchcase(key, pattern.replace("${aws:userid}", f"{role_id}:{instance}"))
        for pattern in allowed_keys(_ACTIONS.get(method, ""))
    )


@functools.cache
def allowed_keys(action: str) -> frozenset[str]:
    """The patterns of keys for which the hosts' policy allows an action such as s3:GetObject."""
    found: set[str] = set()
    for statement in render("host", account=moto_state.ACCOUNT, prefix="oyster")["Statement"]:
        resources = statement["Resource"]
        if statement["Action"] == action:
            named = [resources] if isinstance(resources, str) else resources
            found |= {resource.partition("/")[2] for resource in named}
    return frozenset(found)
