"""Where things are in a region's bucket; the one place that spells a key.

    images/<sha256>                                 staged once per image
    params/<sha256>                                 init params of a job
    programs/<sha256>.pyz                           the host program
    owners/<digest>                                 an agent that uses the bucket
    hosts/<role-id>:<instance-id>/desired.json      written by the agent alone
    hosts/<role-id>:<instance-id>/status.json       written by that host alone
    hosts/doctor/desired.json                       written to see whether it may be, and deleted

The folder of a host is `hosts/` and the caller identity `aws:userid` that its credentials carry.
For the role of an EC2 instance AWS sets it to `role-id:ec2-instance-id` (IAM User Guide, "Global
condition context keys", aws:userid), and a policy may use it in a Resource. So one policy on
one role, `arn:aws:s3:::<bucket>/hosts/${aws:userid}/status.json`, holds every instance to its own
folder. The instance id alone cannot be had from a policy variable: with `hosts/<instance-id>/`
every host could write every other host's status.

The host learns `host_prefix(role_id)` from its user data and appends its own instance id. Without
s3:ListBucket, S3 answers 403 and not 404 for a key that does not exist (S3 API reference,
GetObject, "Permissions"): for a host, 403 on desired.json means "not written yet".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from cloud.model import InstanceId

IMAGES = "images/"
PARAMS = "params/"
PROGRAMS = "programs/"
HOSTS = "hosts/"
OWNERS = "owners/"
DESIRED = "desired.json"
STATUS = "status.json"
# Of no host, and where the agent may write, read and delete: for whoever looks whether it does.
PROBE = f"{HOSTS}doctor/{DESIRED}"
CLOCK = "clock"  # metadata of status.json: the host's clock when it wrote, unix seconds


def image_key(sha256: str) -> str:
    """The staged image with this digest (64 hex digits)."""
    return f"{IMAGES}{sha256}"


def image_of(key: str) -> str:
    """The digest in the key of a staged image."""
    return key.removeprefix(IMAGES)


def params_key(sha256: str) -> str:
    """The init params with this digest (64 hex digits)."""
    return f"{PARAMS}{sha256}"


def params_of(key: str) -> str:
    """The digest in the key of init params."""
    return key.removeprefix(PARAMS)


def program_key(sha256: str) -> str:
    """The host program with this digest."""
    return f"{PROGRAMS}{sha256}.pyz"


def owner_key(tags: Mapping[str, str]) -> str:
    """Where the agent with this identity signs in."""
    text = json.dumps(tags, sort_keys=True)
    return f"{OWNERS}{hashlib.sha256(text.encode()).hexdigest()}"


def host_prefix(role_id: str) -> str:
    """What the folders of all hosts of one role begin with; the instance id follows."""
    return f"{HOSTS}{role_id}:"


def desired_key(role_id: str, instance: InstanceId) -> str:
    """What the host of `instance` should run."""
    return f"{host_prefix(role_id)}{instance}/{DESIRED}"


def status_key(role_id: str, instance: InstanceId) -> str:
    """What the host of `instance` says it does."""
    return f"{host_prefix(role_id)}{instance}/{STATUS}"


def host_of(key: str) -> tuple[InstanceId, str] | None:
    """(instance, file name) of a key under `hosts/`, or None when it is no host's."""
    folder, _, name = key.removeprefix(HOSTS).partition("/")
    _role, colon, instance = folder.partition(":")
    if not key.startswith(HOSTS) or not colon or not instance.startswith("i-") or not name:
        return None
    return InstanceId(instance), name
