"""Whether a 200 is AWS's own: what stands between it and us may answer with a page of its own.

botocore takes the members that it knows from any well-formed XML and passes over the rest. So a
proxy's page reads as a listing of no instances, after which all of them are bought again, and as
instances that were ended. Here the answer's root has to be the call's own, with the set that even
an empty answer names; anything else is an answer that can't be read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_ROOT = re.compile(rb"\s*(?:<\?xml[^>]*\?>\s*)?(?:<!--.*?-->\s*)*<(\w+)", re.DOTALL)
# Query APIs name the root after the call (EC2 API reference, "Response structure"); S3 does not.
_NAMED_SO = frozenset({"ec2", "sts", "iam"})
_S3_ROOTS = {
    "ListObjectsV2": b"ListBucketResult",
    "CreateMultipartUpload": b"InitiateMultipartUploadResult",
}
# What S3 says of an object in headers alone: a page would pass for what was written, or is there.
_TAGGED = frozenset({"PutObject", "UploadPart", "HeadObject", "GetObject"})
# By call: the member, as it is sent, without which nothing was said: not even "none".
SAID = {
    "DescribeInstances": "reservationSet",
    "DescribeInstanceStatus": "instanceStatusSet",
    "RunInstances": "instancesSet",
    "TerminateInstances": "instancesSet",
    "DescribeAddresses": "addressesSet",
    "DescribeSecurityGroups": "securityGroupInfo",
    "DescribeImages": "imagesSet",
    "DescribeInstanceTypes": "instanceTypeSet",
    "DescribeInstanceTypeOfferings": "instanceTypeOfferingSet",
    "DescribeSubnets": "subnetSet",
    "GetProducts": "PriceList",  # JSON, as what follows
    "GetServiceQuota": "Quota",
    "GetParameter": "Parameter",
}


class NotAws(ValueError):
    """The answer is none of this call's; for botocore's callers it can't be read."""


def install(client: Any) -> None:
    """Have this client refuse what is not AWS's answer to its call."""
    client.meta.events.register_first("before-parse", _check)


def _check(
    operation_model: Any,
    response_dict: Mapping[str, Any],
    customized_response_dict: Mapping[str, Any],
    **_: Any,
) -> None:
    """A handler of botocore's `before-parse`. Raises NotAws."""
    name, body = operation_model.name, response_dict["body"]
    service = operation_model.service_model.service_name
    root = name.encode() + b"Response" if service in _NAMED_SO else _S3_ROOTS.get(name)
    read = bool(customized_response_dict)  # by whoever knows each byte of it (cloud.lean)
    if name in _TAGGED and response_dict["status_code"] == 200:
        _check_tag(name, response_dict["headers"])
    if read or response_dict["status_code"] != 200 or not isinstance(body, bytes):
        return
    found = _ROOT.match(body)
    if root is not None and body and (found is None or found[1] != root):
        raise NotAws(f"{name} was answered by something that is not AWS")
    if name in SAID and SAID[name].encode() not in body:
        raise NotAws(f"{name} was answered without {SAID[name]}")


def _check_tag(name: str, headers: Mapping[str, str]) -> None:
    """Raises NotAws: no ETag, which S3 gives with each object (S3 API reference)."""
    if "etag" not in {header.lower() for header in headers}:
        raise NotAws(f"{name} was answered by something that is not S3: no ETag")
