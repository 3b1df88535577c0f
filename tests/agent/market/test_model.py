"""Addresses and instance types as text."""

from __future__ import annotations

import pytest

from agent.market.model import InstanceType, address
from faults import UsageFault

pytestmark = pytest.mark.unit

PROVIDER = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"


def test_address__any_case__is_checksummed_and_a_wrong_one_refused() -> None:
    assert address(PROVIDER.lower()) == PROVIDER
    assert address("0x" + PROVIDER[2:].upper()) == PROVIDER
    for wrong in (PROVIDER.replace("7E", "7e", 1), PROVIDER[:-1], "", "0x" + "g" * 40):
        with pytest.raises(UsageFault):
            address(wrong)


@pytest.mark.parametrize(
    "text", ["us-east-1/c6a.xlarge", "ap-southeast-2/m7i.24xlarge", "us-gov-west-1/r6g.metal",
             "eu-central-1/u-6tb1.112xlarge", "us-west-2/m7i.metal-24xl", "us-east-1/t3.nano"],
)  # fmt: skip
def test_instance_type__a_real_one__keeps_its_text(text: str) -> None:
    assert str(InstanceType.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "c6a.xlarge", "us-east-1/", "/c6a.xlarge", "us-east-1/c6a", "US-EAST-1/c6a.xlarge",
             "us-east-1/c6a.xlarge ", "us-east-1/c6a.xlarge/x", "us-east-1/../../etc", "a/b",
             "us-east-1/c6a.xlarge\n", "us-east-1/" + "c" * 70 + ".large"],
)  # fmt: skip
def test_instance_type__anything_else__is_a_usage_fault(text: str) -> None:
    with pytest.raises(UsageFault):
        InstanceType.parse(text)
