"""The devnet's price list: GetProducts for one instance type, at a made-up price a vCPU.

moto knows no prices. What c6a.xlarge costs in us-east-1 ($0.153 an hour for 4 vCPUs) is taken for
every type and region: near enough to watch margins with, and nothing to reckon with.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from devnet.aws import moto_state

USD_A_VCPU_HOUR = Decimal("0.03825")


def answer(body: bytes) -> tuple[int, Any]:
    """(HTTP status, value) of GetProducts; no product for a type that EC2 does not have."""
    filters = {each["Field"]: each["Value"] for each in json.loads(body).get("Filters", [])}
    try:
        products = [_product(moto_state.shape(filters.get("instanceType", "")).vcpus)]
    except KeyError:
        products = []
    return 200, {"FormatVersion": "aws_v1", "PriceList": products}


def _product(vcpus: int) -> str:
    """As the API writes it: JSON in a string."""
    usd = USD_A_VCPU_HOUR * vcpus
    dimension = {"unit": "Hrs", "pricePerUnit": {"USD": f"{usd:f}"}}
    terms = {"OnDemand": {"devnet": {"priceDimensions": {"devnet": dimension}}}}
    return json.dumps({"product": {"sku": "DEVNET"}, "terms": terms})
