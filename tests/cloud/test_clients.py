"""How the clients read times: as botocore does, only faster."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.utils import parse_timestamp

from cloud.lean import timestamp

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "text",
    [
        "2027-01-15T08:00:00.000Z",
        "2027-01-15T08:00:00Z",
        "2027-01-15T08:00:00.123+02:00",
        "2027-01-15T08:00:00",  # no zone: botocore takes it for this machine's
        "Fri, 15 Jan 2027 08:00:00 GMT",
        "1800000000.5",
        1_800_000_000,
    ],
)
def test_timestamp__whatever_aws_writes__is_what_botocore_reads(text: Any) -> None:
    assert timestamp(text) == parse_timestamp(text)


def test_timestamp__no_time_at_all__is_refused_as_botocore_does() -> None:
    with pytest.raises(ValueError, match="Invalid timestamp"):
        timestamp("yesterday")
