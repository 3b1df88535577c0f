"""The IAM documents in `iam/`, filled in for one account and prefix.

`agent.json` is the least that the agent needs, `host.json` the least for the role of the
instances, `boundary.json` the most that role can ever be given, `operator.json` what `cloud setup`,
`teardown` and `bake` need on top.
`${…}` in them is IAM's own (policy variables), `@…@` is filled in here; a word that stands for
several (`["@TYPES@"]`) becomes as many values.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from cloud.model import Region

Name = Literal["agent", "host", "boundary", "operator", "trust", "bucket"]

# Partitions beside "aws" by what their regions begin with (AWS General Reference, ARNs).
_PARTITIONS = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}


def partition_of(region: Region) -> str:
    """The ARN partition of a region."""
    for start, partition in _PARTITIONS.items():
        if region.startswith(start):
            return partition
    return "aws"


@dataclass(frozen=True, slots=True)
class Scope:
    """What the configuration names, to which the agent's policy is narrowed.

    Empty `types` (nothing is on offer yet), `subnets` (the default ones serve) and `regions` leave
    that open: IAM has no word for "none yet" nor for "default subnet".
    """

    contract: str = "*"
    regions: tuple[Region, ...] = ()
    types: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    ami: str = ""


def render(
    name: Name,
    *,
    account: str,
    prefix: str,
    partition: str = "aws",
    bucket: str = "",
    scope: Scope | None = None,
) -> dict[str, Any]:
    """The policy document `name` as JSON values."""
    text = (resources.files("cloud.account") / "iam" / f"{name}.json").read_text()
    scope = scope or Scope()
    filled = {
        "ACCOUNT": account,
        "PREFIX": prefix,
        "PARTITION": partition,
        "BUCKET": bucket,
        "CONTRACT": scope.contract.lower(),
        "IMAGE": scope.ami if scope.ami.startswith("ami-") else "*",
    }
    for word, value in filled.items():
        text = text.replace(f"@{word}@", value)
    document: dict[str, Any] = json.loads(text)
    several = {"REGIONS": scope.regions, "TYPES": scope.types, "SUBNETS": scope.subnets}
    statements = (_spread(statement, several) for statement in document["Statement"])
    return {**document, "Statement": [_said(one, scope) for one in statements]}


def _spread(value: Any, several: Mapping[str, Sequence[str]]) -> Any:
    """Each list's word for several as that many values; `*` for none of them."""
    if isinstance(value, dict):
        return {key: _spread(inner, several) for key, inner in value.items()}
    if not isinstance(value, list):
        return value
    found: list[Any] = []
    for text in value:
        word = next((word for word in several if f"@{word}@" in str(text)), None)
        values = (several[word] or ("*",)) if word else ()
        found += [text.replace(f"@{word}@", one) for one in values] if word else [text]
    return found


def _said(statement: dict[str, Any], scope: Scope) -> dict[str, Any]:
    """The statement without conditions that say nothing (`*`), and an image that is named by its
    id from whoever made it."""
    if statement.get("Sid") == "LaunchFromImages" and scope.ami.startswith("ami-"):
        return {key: value for key, value in statement.items() if key != "Condition"}
    if "Condition" not in statement:
        return statement
    kept = {
        operator: {key: value for key, value in tests.items() if value not in ("*", ["*"])}
        for operator, tests in statement["Condition"].items()
    }
    return {**statement, "Condition": {key: tests for key, tests in kept.items() if tests}}
