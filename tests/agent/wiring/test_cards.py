"""The operators' files, from the configuration to what /spec and /bandwidth show."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.apply.bulk import TURNS, Bulk
from agent.apply.listings import Offering, Room
from agent.config import Config, ConfigFault
from agent.config.load import parse
from agent.market.model import InstanceType, Price
from agent.markets.marketv1.cards import RateCard, TrafficRate
from agent.status import market_paths
from agent.status.agent_view import AgentView
from agent.status.source import View
from agent.wiring.cards import CardFiles, all_prices, card_files
from agent.wiring.wired import CardBook
from faults import UsageFault

pytestmark = pytest.mark.unit

REGIONS = [f"{a}-{b}-{n}" for a in ("ap", "eu", "us") for b in ("east", "west", "south") for n in
           (1, 2, 3)][:26]  # fmt: skip
TYPES = [f"c{n}a.{size}" for n in range(1, 140) for size in ("xlarge", "2xlarge")]  # 278
USED = f"{REGIONS[0]}/{TYPES[7]}"


def _card(instance: str, cpu: int = 2, rate: str = "29997916666666") -> dict[str, Any]:
    return {"instance": instance, "min_rate": rate, "cpu": cpu, "memory": 4096, "arch": "amd64"}


def _file(folder: Path, name: str, data: object) -> None:
    (folder / name).write_text(data if isinstance(data, str) else json.dumps(data))


def _config(
    folder: Path, *lines: str, regions: list[str] = REGIONS, market: str = "marketv1"
) -> Config:
    text = [
        '[chain]', 'chain_id = 42161', f'market = "{market}"', 'rpc_urls = ["http://n.example"]',
        f'registry = "0x{"52" * 20}"', '[wallet]', 'key_file = "key"', '[aws]',
        f'regions = {json.dumps(regions)}', '[cards]', 'rates_file = "rates.json"',
        'bandwidth_file = "bandwidth.json"', *lines,
    ]  # fmt: skip
    return parse("\n".join(text), base=folder)


def _written(folder: Path, regions: list[str], types: list[str]) -> Path:
    cards = [_card(name, 1 + number) for number, name in enumerate(types)]
    _file(folder, "rates.json", [{"region": name, "rate_cards": cards} for name in regions])
    rate = "90000000000000000"
    traffic = [{"region": f"Asia {n}", "region_code": n, "rate": rate} for n in regions]
    _file(folder, "bandwidth.json", traffic)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three regions of eight types."""
    return _written(tmp_path, REGIONS[:3], TYPES[:8])


def test_files__26_regions_of_278_types__load_and_are_served_in_a_moment(tmp_path: Path) -> None:
    folder = _written(tmp_path, REGIONS, TYPES)
    begun = time.process_time()
    files = card_files(_config(folder))
    view = View("0x", "0x", 1, "1", 0.0, 0.0, regions=tuple(REGIONS))
    spec = market_paths.spec(view, files.cards)
    assert len(json.dumps(spec)) > 500_000
    assert sum(len(region["rate_cards"]) for region in spec["min_rates"]) == 26 * 278
    rates = market_paths.bandwidth(view, files.traffic)["rates"]
    assert {one["rate"] for one in rates} == {hex(9 * 10**16)}
    assert len(rates) == 26
    assert time.process_time() - begun < 10  # a hundredth of it, on a machine with nothing to do


def test_files__of_regions_that_are_not_served__are_left_out(folder: Path) -> None:
    config = _config(folder, regions=REGIONS[:2])
    files = card_files(config)
    assert {card.instance_type.region for card in files.cards} == set(REGIONS[:2])
    assert len(files.bulk().prices) == 2 * 8
    assert files.bulk().smallest == {name: f"{name}/{TYPES[0]}" for name in REGIONS[:2]}


def test_prices__of_offers_and_file__offers_win(folder: Path) -> None:
    offer = f'[[offers]]\ntype = "{USED}"\nprice = "1/h"'
    config = _config(folder, offer)
    prices = all_prices(config, {USED: Price(5)})
    assert (len(prices), prices[USED]) == (3 * 8, Price(5))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("{", "no JSON"),
        ([{"region": "x-1", "rate_cards": [_card("a")]}], r"\[0\].rate_cards\[0\]"),
        ([{"region": "us-east-1", "rate_cards": [_card("c6a.xlarge", rate="1.5")]}], "whole"),
    ],
)
def test_files__that_are_wrong__are_named_with_the_entry(
    folder: Path, data: object, said: str
) -> None:
    _file(folder, "rates.json", data)
    with pytest.raises(UsageFault, match=rf"rates\.json: .*{said}"):
        card_files(_config(folder))


def test_files__that_begin_with_a_byte_order_mark__are_read(folder: Path) -> None:
    before = card_files(_config(folder))
    for name in ("rates.json", "bandwidth.json"):
        (folder / name).write_text("\ufeff" + (folder / name).read_text())
    assert card_files(_config(folder)) == before


def test_files__missing_or_no_text__are_named(folder: Path) -> None:
    (folder / "bandwidth.json").write_bytes(b"\xff")
    with pytest.raises(UsageFault, match=r"bandwidth\.json: it is no UTF-8"):
        card_files(_config(folder))
    (folder / "rates.json").unlink()
    with pytest.raises(UsageFault, match=r"rates\.json: No such file"):
        card_files(_config(folder))


def test_files__on_the_registry__are_a_finding(folder: Path) -> None:
    with pytest.raises(ConfigFault, match=r"cards\.rates_file: is for marketv1"):
        _config(folder, market="registry")


# Which are shown


def _offering(bulk: Bulk) -> Offering:
    clock = SimpleNamespace(now=lambda: 5.0)
    none: Any = None
    offering = Offering(none, none, none, clock, none, {}, none, none)
    offering.bulk = bulk
    return offering


def test_bulk__rounds__take_turns_and_always_the_smallest_and_the_used() -> None:
    bulk = Bulk({f"a/{n:03}": Price(1) for n in range(100)}, {"a": "a/000"})
    rounds = [bulk.due({"a/050", "b/1"}) for _ in range(100 // TURNS + 1)]
    assert all({"a/000", "a/050"} <= one for one in rounds)
    assert all(len(one) <= TURNS + 2 for one in rounds)
    assert set().union(*rounds) == bulk.prices.keys()
    assert Bulk().due({"a/050"}) == set()


@pytest.mark.parametrize(
    ("rooms", "name", "fits"),
    [
        ({}, "r/c6a.large", True),  # not asked yet: a launch tells
        ({"r/c6a.large": Room(3, "", None, 1.0)}, "r/c6a.large", True),
        ({"r/c6a.large": Room(0, "zones sold out", 1.0, None)}, "r/c6a.large", False),
        ({"r/c6a.large": Room(0, "zones sold out", 1.0, None)}, "r/c6a.xlarge", True),
        ({"r/c6a.large": Room(0, "vCPU quota L-1", 1.0, None)}, "r/c6a.xlarge", False),
        ({"r/c6a.large": Room(0, "vCPU quota L-1", 1.0, None)}, "r/inf1.xlarge", True),
        ({"r/c6a.large": Room(0, "vCPU quota L-1", 1.0, None)}, "s/c6a.xlarge", True),
    ],
)
def test_fits__by_its_own_room_and_by_the_quota_of_its_region(
    rooms: dict[str, Room], name: str, fits: bool
) -> None:
    offering = _offering(Bulk({name: Price(1)}, {"r": "r/c6a.large"}))
    offering.desk.rooms.update(rooms)
    assert offering.fits(name) is fits


def test_has__a_type_of_offers_or_of_the_file__and_any_where_none_is_named() -> None:
    offering = _offering(Bulk())
    assert offering.has("r/any.large")
    offering.prices = {"r/own.large": Price(1)}
    offering.bulk = Bulk({"r/bulk.large": Price(1)})
    names = ("r/own.large", "r/bulk.large", "r/any.large")
    assert [offering.has(name) for name in names] == [True, True, False]


CARD = RateCard(InstanceType("us-east-1", "c6a.xlarge"), Price(5), 2, 4096, "amd64")


def _view(
    *,
    closed: str = "",
    unseen: str = "",
    trouble: object = None,
    room: object = None,
    own: dict[str, Price] | None = None,
    card: RateCard = CARD,
) -> AgentView:
    offering = _offering(Bulk())
    offering.prices = own or {}
    world: Any = SimpleNamespace(
        cards=CardBook(CardFiles((card,), (TrafficRate("a", "b"),))),
        state=SimpleNamespace(
            closed=closed, offering=offering,
            loader=SimpleNamespace(room_of=lambda name: room),
            world=SimpleNamespace(
                fleet=SimpleNamespace(
                    unseen=lambda region: unseen,
                    trouble=SimpleNamespace(of=lambda kind, now: trouble),
                )
            ),
        ),
    )  # fmt: skip
    none: Any = None
    money: Any = SimpleNamespace(earned=none)
    return AgentView(world, money, none, none, SimpleNamespace(now=lambda: 5.0))


def test_cards__shown__are_those_of_which_another_job_may_fit() -> None:
    assert _view().card_files() == ([CARD], (TrafficRate("a", "b"),))
    assert _view(closed="paused").card_files()[0] == ()
    assert _view(unseen="us-east-1 is silent").card_files()[0] == []
    assert _view(trouble=object()).card_files()[0] == []
    assert _view(own={"us-east-1/c6a.xlarge": Price(7)}).card_files()[0] == []  # [[offers]] has it


def test_cards__larger_than_the_enclave_that_the_type_gives__are_shown_as_what_it_gets() -> None:
    room = SimpleNamespace(cpu_count=1, memory_mib=3000, threads_per_core=1)
    ((card,), _) = _view(room=room).card_files()
    assert (card.cpu, card.memory_mib) == (1, 3000)


@pytest.mark.parametrize(("cpu", "shown"), [(1, 2), (2, 2), (3, 2), (5, 4), (9, 6)])
def test_cards__of_a_part_of_a_core__are_shown_in_whole_ones(cpu: int, shown: int) -> None:
    room = SimpleNamespace(cpu_count=6, memory_mib=9000, threads_per_core=2)
    ((card,), _) = _view(room=room, card=replace(CARD, cpu=cpu)).card_files()
    assert card.cpu == shown
