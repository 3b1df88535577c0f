"""What AWS asks an hour for an instance type at list price, kept on disk for a week.

Asked of the Price List API, which knows nothing of the account's discounts, savings plans or
credits: who pays less writes `cost` into the configuration. Source: AWS Billing user guide, "Using
the AWS Price List Query API" (offered in three regions for all), and its attributes of AmazonEC2.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import foreign_json
from cloud.clients import Calls
from cloud.kinds import Missing
from cloud.model import Region

KEEP_SECONDS = 7 * 86_400
HOME = Region("us-east-1")  # answers for every region
# AWS charges every public IPv4 address in use since February 2024, the same everywhere.
ADDRESS_USD = Decimal("0.005")
# Linux on shared hardware, no licence, not a reservation's unused hours.
_EXACTLY = {
    "operatingSystem": "Linux",
    "preInstalledSw": "NA",
    "tenancy": "Shared",
    "capacitystatus": "Used",
    "marketoption": "OnDemand",
}


class ListPrices:
    """On-demand prices by region and type, remembered in `directory`."""

    def __init__(self, calls: Calls, directory: Path) -> None:
        self._calls = calls
        self._directory = directory

    async def hourly_usd(self, region: Region, instance_type: str) -> Decimal:
        """Dollars an hour for one instance with its public address.

        Raises Missing when AWS lists no such price, NotAllowed, RetryLater.
        """
        file = self._directory / f"{region}.{instance_type}.json"
        price = self._kept(file)
        if price is None:
            price = await self._asked(region, instance_type)
            self._keep(file, price)
        return price + ADDRESS_USD

    async def _asked(self, region: Region, instance_type: str) -> Decimal:
        wanted = {"regionCode": region, "instanceType": instance_type, **_EXACTLY}
        filters = [{"Type": "TERM_MATCH", "Field": f, "Value": v} for f, v in wanted.items()]
        doing = f"asking for the list price of {instance_type} in {region}"
        answer: Any = await self._calls.clients.run(
            doing,
            lambda: self._calls.clients.pricing(HOME).get_products(
                ServiceCode="AmazonEC2", Filters=filters, MaxResults=10
            ),
        )
        found = {price for each in answer["PriceList"] for price in prices_in(each)}
        if len(found) != 1:
            raise Missing(f"{doing}: AWS lists {len(found)} prices; set cost in [[offers]]")
        return found.pop()

    def _kept(self, file: Path) -> Decimal | None:
        try:
            kept = json.loads(file.read_text())
            fresh = kept["at"] >= self._calls.clock.now() - KEEP_SECONDS
            return Decimal(kept["usd"]) if fresh else None
        except (OSError, ValueError, TypeError, KeyError, InvalidOperation):
            return None

    def _keep(self, file: Path, price: Decimal) -> None:
        """Without room or right to write, the next one asks again."""
        with contextlib.suppress(OSError):
            file.parent.mkdir(parents=True, exist_ok=True)
            fresh = file.with_suffix(".new")
            fresh.write_text(json.dumps({"at": self._calls.clock.now(), "usd": str(price)}))
            fresh.replace(file)


def prices_in(product: str) -> Iterable[Decimal]:
    """The hourly dollar prices of one product as the API writes it: JSON in a string."""
    try:
        terms = foreign_json.loads(product)["terms"]["OnDemand"].values()
        return [
            Decimal(dimension["pricePerUnit"]["USD"])
            for term in terms
            for dimension in term["priceDimensions"].values()
            if dimension["unit"] == "Hrs" and Decimal(dimension["pricePerUnit"]["USD"]) > 0
        ]
    except (ValueError, TypeError, KeyError, AttributeError, InvalidOperation):
        return []
