"""What types cost: asked seldom, kept while AWS is silent, written when it changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

import pytest
import sqlalchemy as sa

from agent.journal.lines import COSTED
from agent.journal.migrating import migrate
from agent.journal.reading import Reader
from agent.journal.writing import Journal
from agent.load.costs import CONFIGURED, LIST_PRICE, Cost, CostBook
from agent.market.model import Address, Price
from agent.markets.token import Token
from cloud.model import Region
from faults import RetryLater
from tests.clocks import MovingClock

pytestmark = pytest.mark.unit

KIND = "us-east-1/c6a.xlarge"
USD = Token(Address("0x" + "11" * 20), "USDC", 6)
HOUR = 3600


@dataclass
class Aws:
    """A price list that may be away."""

    hourly: Decimal | None = Decimal("0.158")
    asked: int = 0

    async def hourly_usd(self, region: Region, instance_type: str) -> Decimal:
        self.asked += 1
        if self.hourly is None:
            raise RetryLater("no answer")
        return self.hourly


@dataclass
class Scene:
    aws: Aws = field(default_factory=Aws)
    clock: MovingClock = field(default_factory=lambda: MovingClock(1_000_000))
    engine: sa.Engine = field(default_factory=lambda: sa.create_engine("sqlite://"))

    def __post_init__(self) -> None:
        migrate(self.engine)
        self.journal = Journal(self.engine)

    def book(self, told: dict[str, Cost] | None = None, token: Token = USD) -> CostBook:
        book = CostBook(self.aws, token, self.clock, self.journal.event, told)
        book.restore(Reader(self.engine))()
        return book

    def written(self) -> list[tuple[str, str]]:
        self.journal.flush()
        return [
            (str(one.fields["price"]), str(one.fields["source"]))
            for one in Reader(self.engine).own(COSTED)
        ]


async def test_cost__of_the_list__is_asked_once_an_hour_and_written_when_it_changes() -> None:
    scene = Scene()
    book = scene.book()
    for _ in range(11):
        await book.look([KIND])
        book.write([KIND])
        scene.clock.at += 400
    assert scene.aws.asked == 2
    scene.aws.hourly = Decimal("0.2")
    scene.clock.at += HOUR
    await book.look([KIND])
    book.write([KIND])
    raws = [str(Price.parse(rate, 6).raw) for rate in ("0.158/h", "0.2/h")]
    assert scene.written() == [(raw, LIST_PRICE) for raw in raws]


async def test_cost__aws_away__is_the_last_that_was_known_also_after_a_start() -> None:
    scene = Scene()
    book = scene.book()
    await book.look([KIND])
    book.write([KIND])
    scene.written()
    scene.aws.hourly = None
    again = scene.book()
    scene.clock.at += 2 * HOUR
    await again.look([KIND])
    again.write([KIND])
    known = again.of(KIND)
    assert known is not None
    assert known.price == Price.parse("0.158/h", 6)
    assert len(scene.written()) == 1, "nothing changed"


async def test_cost__never_known__is_asked_again_in_minutes() -> None:
    scene = Scene(Aws(None))
    book = scene.book()
    for _ in range(3):
        await book.look([KIND])
        scene.clock.at += 301
    assert scene.aws.asked == 3
    known = book.of(KIND)
    assert known is not None
    assert (known.price, known.source) == (None, "no answer")


async def test_cost__configured__goes_before_the_list() -> None:
    scene = Scene()
    told = Cost(Price(5), CONFIGURED)
    book = scene.book({KIND: told})
    await book.look([KIND])
    book.write([KIND])
    assert (book.of(KIND), scene.aws.asked, scene.written()) == (told, 0, [("5", CONFIGURED)])


async def test_cost__in_another_currency__is_not_asked_of_aws() -> None:
    scene = Scene()
    book = scene.book(token=Token(USD.address, "WETH", 18))
    await book.look([KIND])
    assert (book.of(KIND), scene.aws.asked) == (None, 0)
