"""Rate cards in the shapes of Marlin's tools, and the operators' files as they are."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.market.model import InstanceType, Price
from agent.markets.marketv1.cards import (
    RateCard,
    TrafficRate,
    bandwidth,
    read_bandwidth,
    read_rates,
    spec,
)
from faults import UsageFault

pytestmark = pytest.mark.unit

CARD = RateCard(
    InstanceType("ap-south-1", "c6a.xlarge"), Price(0x1B486F2ABB2A), 2, 4096, "amd64"
)  # fmt: skip
ENTRY: dict[str, Any] = {
    "instance": "c6a.xlarge", "min_rate": "29997916666666", "cpu": 2, "memory": 4096,
    "arch": "amd64",
}  # fmt: skip


def rates(*entries: object, region: object = "ap-south-1") -> str:
    return json.dumps([{"region": region, "rate_cards": list(entries)}])


def test_spec__one_card__is_the_incumbents_text_byte_for_byte() -> None:
    assert json.dumps(spec(["ap-south-1"], [CARD]), separators=(",", ":")) == (
        '{"allowed_regions":["ap-south-1"],"min_rates":[{"region":"ap-south-1","rate_cards":'
        '[{"instance":"c6a.xlarge","min_rate":"0x1b486f2abb2a","cpu":2,"memory":4096,"arch":"amd64"}]}]}'
    )


def test_bandwidth__one_region__is_the_incumbents_text_byte_for_byte() -> None:
    rate = TrafficRate("Asia Pacific (Mumbai)", "ap-south-1", 0x13FBE85EDC90000)
    assert json.dumps(bandwidth(["ap-south-1"], [rate]), separators=(",", ":")) == (
        '{"rates":[{"region":"Asia Pacific (Mumbai)","region_code":"ap-south-1",'
        '"rate":"0x13fbe85edc90000"}]}'
    )


def test_bandwidth__a_region_without_a_rate__has_its_entry_all_the_same() -> None:
    found = bandwidth(["us-east-1", "eu-west-1"], [TrafficRate("Ireland", "eu-west-1", 7)])
    assert [one["region_code"] for one in found["rates"]] == ["eu-west-1", "us-east-1"]
    assert [one["rate"] for one in found["rates"]] == ["0x7", "0x0"]


def test_spec__what_the_command_line_computes_from_it__is_a_rate_that_is_served() -> None:
    """Marlin's command line: rate = min_rate + KB/s * rate of traffic / 2^20; balance floored."""
    card = spec(["ap-south-1"], [CARD])["min_rates"][0]["rate_cards"][0]
    traffic = int(bandwidth(["ap-south-1"])["rates"][0]["rate"], 16)
    rate = int(card["min_rate"], 16) + 10 * traffic // 2**20
    assert Price(rate) >= CARD.min_rate
    assert (card["cpu"], card["memory"]) == (2, 4096)


def test_read_rates__the_operators_file__gives_the_cards() -> None:
    (card,) = read_rates(rates(ENTRY))
    assert card == RateCard(CARD.instance_type, Price(29_997_916_666_666), 2, 4096, "amd64")


@pytest.mark.parametrize(
    "text", ["29997916666666", "0x1b486f2abb2a", "0x1B486F2ABB2A", 29_997_916_666_666]
)
def test_read__a_rate_in_any_form_that_the_control_plane_reads__is_that_rate(text: object) -> None:
    (card,) = read_rates(rates({**ENTRY, "min_rate": text}))
    assert card.min_rate == Price(29_997_916_666_666)
    traffic = json.dumps([{"region": "Ireland", "region_code": "eu-west-1", "rate": text}])
    assert read_bandwidth(traffic)[0].rate == 29_997_916_666_666


def test_read_bandwidth__the_operators_file__gives_the_rates() -> None:
    text = '[{"region":"Ireland","region_code":"eu-west-1","rate":"90000000000000000"}]'
    assert read_bandwidth(text) == (TrafficRate("Ireland", "eu-west-1", 9 * 10**16),)


@pytest.mark.parametrize(
    "change",
    [
        {"instance": "c6a"}, {"instance": 1}, {"instance": ""}, {"min_rate": 5.0},
        {"min_rate": "0x"}, {"min_rate": "0xg"}, {"min_rate": 0}, {"min_rate": -1},
        {"min_rate": True}, {"min_rate": None}, {"min_rate": "1e3"}, {"min_rate": 2**128},
        {"min_rate": "0"}, {"min_rate": "-1"}, {"min_rate": "1.5"}, {"min_rate": str(2**128)},
        {"min_rate": "9" * 79}, {"min_rate": "٣"}, {"cpu": 0}, {"cpu": "2"}, {"cpu": True},
        {"memory": 4}, {"cpu": 64, "memory": 256}, {"memory": 4096.0},
        {"memory": 1 << 31}, {"arch": "x86_64"}, {"arch": None},
    ],
)  # fmt: skip
def test_read_rates__an_entry_of_another_form__is_named(change: dict[str, Any]) -> None:
    with pytest.raises(UsageFault, match=r"\[0\]\.rate_cards\[1\]: "):
        read_rates(rates({**ENTRY, "instance": "c6a.2xlarge"}, {**ENTRY, **change}))


@pytest.mark.parametrize(
    "text", ["", "{}", "[1]", "[[]]", "[{}]", '[{"region":"mars","rate_cards":{}}]', "[" * 10**5,
             rates(ENTRY, ENTRY), rates(ENTRY, region=7), rates(7), rates(ENTRY, region="mars")],
)  # fmt: skip
def test_read_rates__another_file__is_a_usage_fault(text: str) -> None:
    with pytest.raises(UsageFault):
        read_rates(text)


REGIONS = [f"{a}-{b}-{n}" for a in ("us", "eu", "ap") for b in ("east", "west", "north")
           for n in (1, 2, 3)][:26]  # fmt: skip


def test_read_rates__26_regions_of_278_types__are_all_there() -> None:
    types = [f"c{family}{kind}.{size}xlarge" for family in range(1, 11) for kind in "abcd"
             for size in range(2, 9)][:278]  # fmt: skip
    text = json.dumps(
        [
            {"region": region, "rate_cards": [{**ENTRY, "instance": kind} for kind in types]}
            for region in REGIONS
        ]
    )
    cards = read_rates(text)
    assert len(cards) == 26 * 278
    shown = spec(REGIONS, cards)
    assert [len(one["rate_cards"]) for one in shown["min_rates"]] == [278] * 26


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["region", "rate_cards", *ENTRY]), inner, max_size=5
    ),
    max_leaves=12,
)  # fmt: skip


@given(json_values)
def test_read_rates__any_json__is_cards_or_a_usage_fault(value: Any) -> None:
    for read in (read_rates, read_bandwidth):
        try:
            read(json.dumps(value))
        except UsageFault:
            continue
