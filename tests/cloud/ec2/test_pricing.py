"""List prices: asked once, read exactly, and unknown rather than guessed."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from botocore.stub import Stubber

from cloud.clients import Calls, Clients
from cloud.ec2.pricing import HOME, KEEP_SECONDS, ListPrices, prices_in
from cloud.kinds import Missing, NotAllowed
from tests.cloud.conftest import REGION, FakeClock

pytestmark = pytest.mark.unit


def _product(*usd: str, unit: str = "Hrs") -> str:
    """One entry of PriceList, shaped as the Price List Query API's documentation shows it."""
    dimensions = {
        f"d{n}": {"unit": unit, "pricePerUnit": {"USD": price}} for n, price in enumerate(usd)
    }
    terms = {"OnDemand": {"t": {"priceDimensions": dimensions}}}
    return json.dumps({"product": {"sku": "X"}, "terms": terms})


class Asked:
    """The price list behind a stub of the real client, which checks requests and answers."""

    def __init__(self, clock: FakeClock, directory: Path) -> None:
        self.clients = Clients()
        self.stub = Stubber(self.clients.pricing(HOME))
        self.stub.activate()
        self.prices = ListPrices(Calls(self.clients, clock), directory)

    def answers(self, *products: str) -> None:
        self.stub.add_response("get_products", {"PriceList": list(products)})


@pytest.fixture
def asked(clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    found = Asked(clock, tmp_path / "prices")
    yield found
    found.clients.close()


async def test_price__asked_twice_within_a_week__asks_aws_once(
    asked: Asked, clock: FakeClock
) -> None:
    asked.answers(_product("0.1530000000", "0.0000000000"))
    for _ in range(2):
        assert await asked.prices.hourly_usd(REGION, "c6a.xlarge") == Decimal("0.158")
    clock.time += KEEP_SECONDS + 1
    asked.answers(_product("0.2"))
    assert await asked.prices.hourly_usd(REGION, "c6a.xlarge") == Decimal("0.205")


@pytest.mark.parametrize("products", [(), (_product("0.1"), _product("0.2")), (_product(),)])
async def test_price__none_or_two__is_unknown(asked: Asked, products: tuple[str, ...]) -> None:
    asked.answers(*products)
    with pytest.raises(Missing, match="set cost"):
        await asked.prices.hourly_usd(REGION, "c6a.xlarge")


async def test_price__not_allowed__says_so(asked: Asked) -> None:
    asked.stub.add_client_error("get_products", "AccessDeniedException", http_status_code=400)
    with pytest.raises(NotAllowed, match="list price"):
        await asked.prices.hourly_usd(REGION, "c6a.xlarge")


async def test_price__the_kept_file_is_broken_or_not_writable__is_asked_again(
    asked: Asked, tmp_path: Path
) -> None:
    (tmp_path / "prices").write_text("a file where the folder should be")
    asked.answers(_product("0.1"))
    assert await asked.prices.hourly_usd(REGION, "c6a.xlarge") == Decimal("0.105")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "null", '{"terms": {"OnDemand": 7}}', _product("x"),
             _product("0.1", unit="Quantity")]
)  # fmt: skip
def test_prices_in__not_an_hourly_price__is_none(text: str) -> None:
    assert list(prices_in(text)) == []
