"""The IAM documents in `iam/`, filled in for one account and prefix.

`agent.json` is the least that the agent needs, `host.json` the least for the role of the
instances, `operator.json` what `cloud setup`, `teardown` and `bake` need on top.
`${…}` in them is IAM's own (policy variables), `@…@` is filled in here.
"""

from __future__ import annotations

import json
from importlib import resources
from typing import Any, Literal

from cloud.model import Region

Name = Literal["agent", "host", "operator", "trust", "bucket"]

# Partitions beside "aws" by what their regions begin with (AWS General Reference, ARNs).
_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}


def partition_of(region: Region) -> str:
    """The ARN partition of a region."""
    for start, partition in _PARTITIONS.items():
        if region.startswith(start):
            return partition
    return "aws"


def render(
    name: Name, *, account: str, prefix: str, partition: str = "aws", bucket: str = ""
) -> dict[str, Any]:
    """The policy document `name` as JSON values."""
    text = (resources.files("cloud.account") / "iam" / f"{name}.json").read_text()
    filled = {"ACCOUNT": account, "PREFIX": prefix, "PARTITION": partition, "BUCKET": bucket}
    for word, value in filled.items():
        text = text.replace(f"@{word}@", value)
    document: dict[str, Any] = json.loads(text)
    return document
