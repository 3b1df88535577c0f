"""Keys of the bucket: what is written can be read back, and nothing else is taken for a host."""

from __future__ import annotations

import pytest

from cloud import layout
from cloud.model import InstanceId

pytestmark = pytest.mark.unit


def test_host_of__a_key_of_a_host__gives_instance_and_file() -> None:
    key = layout.status_key("AROA123", InstanceId("i-0abc"))
    assert key == "hosts/AROA123:i-0abc/status.json"
    assert layout.host_of(key) == ("i-0abc", "status.json")


@pytest.mark.parametrize(
    "key",
    ["images/i-0abc", "hosts/i-0abc/status.json", "hosts/A:/x", "hosts/A:i-0abc/", "", "A:i-1/x"],
)
def test_host_of__any_other_key__is_nobodys(key: str) -> None:
    assert layout.host_of(key) is None
