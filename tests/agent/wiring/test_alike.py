"""Hosts whose files differ after an order are alike; those that would ask otherwise are not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from agent.aside import at_once
from agent.config import Config, parse
from agent.config.model import Offer
from agent.config.units import read_percent, read_rate_or_rule
from agent.journal.migrating import migrate
from agent.journal.orders import OrderKind, Orders
from agent.wiring.alike import Alike
from agent.wiring.journal import config_digest
from tests.agent.config.test_load import BASE

pytestmark = pytest.mark.unit

KIND, OTHER = "us-east-1/c6a.xlarge", "us-east-1/m6g.large"


class Host:
    """One host's process and its file, on a journal that it shares. `told`: what others hear."""

    def __init__(self, engine: sa.Engine, file: Config) -> None:
        self.orders, self.file, self.runs = Orders(engine), file, file
        self.told = config_digest(file)
        last = self.orders.last()
        self.alike = Alike(self, lambda: self.runs, self.orders, at_once, last)

    def configured(self, digest: str) -> None:
        self.told = digest

    def ordered(self, kind: str, said: str, **fields: str) -> None:
        """As `offers set` or `offers remove` on this host: the file first, then the order."""
        kept = [one for one in self.file.offers if one.type != fields["type"]]
        if kind == OrderKind.OFFER:
            fields |= {"said": said, "price": "1"}
            floor = fields.get("floor")
            kept.append(
                Offer(
                    fields["type"], read_rate_or_rule(said), None,
                    read_rate_or_rule(floor) if floor else None,
                    read_percent(fields.get("undercut", "0%")),
                )
            )  # fmt: skip
        self.file = replace(self.file, offers=tuple(kept))
        self.orders.place(1.0, kind, None, "me", fields)


@pytest.fixture
def engine() -> sa.Engine:
    made = sa.create_engine("sqlite://")
    migrate(made)
    return made


@pytest.mark.parametrize(
    ("kind", "said", "fields"),
    [
        (OrderKind.OFFER, "0.20/h", {"type": KIND}),
        (OrderKind.OFFER, "0.20/h", {"type": OTHER}),
        (OrderKind.OFFER, "cost * 1.15", {"type": OTHER, "rule": "cost * 1.15",
                                          "floor": "cost * 1.05", "undercut": "1%"}),
        (OrderKind.REMOVE_OFFER, "", {"type": KIND}),
    ],
)  # fmt: skip
async def test_hosts__after_an_order_on_one_of_them__are_alike_and_as_its_file(
    engine: sa.Engine, kind: str, said: str, fields: dict[str, str]
) -> None:
    here, there = Host(engine, parse(BASE)), Host(engine, parse(BASE))
    here.ordered(kind, said, **fields)
    for host in (here, there):
        await host.alike.look()
        assert host.told == config_digest(here.file)
    restarted = Host(engine, there.file)  # its file is as it was, and counts from now on
    await restarted.alike.look()
    assert restarted.told != here.told
    there.runs = here.file  # copied to it, and reloaded
    there.alike.reloaded()
    await there.alike.look()
    assert there.told == here.told


async def test_order__of_another_version__leaves_the_file_s_word(engine: sa.Engine) -> None:
    host = Host(engine, parse(BASE))
    for said in ({}, {"said": "no price at all"}):
        fields = {"type": KIND, "price": "7", **said}
        host.orders.place(1.0, OrderKind.OFFER, None, "me", fields)
    await host.alike.look()
    assert host.told == config_digest(host.file)
