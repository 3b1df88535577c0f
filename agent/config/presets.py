"""Deployments of Marlin's market that are known by their chain id, and what is known of each.

One table. Addresses are those that Marlin's command line, indexers and subgraphs name
(github.com/marlinprotocol/oyster-monorepo); the code behind the proxy is the last one in the
upgrade manifest of github.com/marlinprotocol/contracts (.openzeppelin/arbitrum-one.json). What a
table can't know is asked at each start, and compared (`agent.markets.marketv1.shape`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

FINALITY_AUTO: Final = "auto"


@dataclass(frozen=True, slots=True)
class Preset:
    """One deployment. `implementation` empty: no source names it, so none is expected.

    `finality_blocks` is a depth, since the `finalized` tag of a rollup waits for its layer below
    (a quarter of an hour), while a notice of a lower rate runs 300 s; `finality_reason` says why
    that many.
    """

    chain: str
    contract: str
    first_block: int
    payment: str
    payment_decimals: int
    implementation: str
    finality_blocks: int
    finality_reason: str


MARKETV1: Final[Mapping[int, Preset]] = {
    42161: Preset(
        chain="Arbitrum One",
        contract="0x9d95D61eA056721E358BC49fE995caBF3B86A34B",
        first_block=87_252_070,
        payment="0xaf88d065e77c8cC2239327C5EDb3A432268e5831",
        payment_decimals=6,
        implementation="0x1DCE9d746A77106Aa3790A6396fF13a69A557b65",
        finality_blocks=240,
        finality_reason="a minute of blocks of 0.25 s: the sequencer's order changes when it fails"
        " itself, and nodes that were fed another one have noticed by then; nodes keep the states"
        " of half an hour (Nitro's caching.block-age)",
    ),
    56: Preset(
        chain="BNB Chain",
        contract="0xc1a7730fb170FAd054e4587665d7B2fd3ce299e8",
        first_block=51_727_300,
        payment="0x8AC76a51cc950d9822D68b83fE1Ad97B32Cd580d",
        payment_decimals=18,
        implementation="",
        finality_blocks=90,
        finality_reason="votes make a block final two later (BEP-126); 90, under a minute, are five"
        " validators' turns of 16 blocks (BEP-341) without any votes; nodes keep the states of the"
        " newest 128 alone, and what is final is read at its block",
    ),
}


@dataclass(frozen=True, slots=True)
class MarketSettings:
    """Which settings mean something on a market: what can be told before anything is asked of it.
    What it can do is `agent.market.terms.Abilities`."""

    needs_key: bool
    """A provider signs; else it can serve by its address alone."""
    shows_rivals: bool
    """Others' prices stand on the chain, to be gone below."""
    has_cards: bool
    """What is offered is told by rate cards over HTTP, and they can come from files."""
    names_debug: bool
    """A job may ask for debug mode."""
    known: Mapping[int, Preset]
    """Its deployments, by chain id."""


MARKETS: Final[Mapping[str, MarketSettings]] = {
    "registry": MarketSettings(
        needs_key=True, shows_rivals=True, has_cards=False, names_debug=False, known={}
    ),
    "marketv1": MarketSettings(
        needs_key=False, shows_rivals=False, has_cards=True, names_debug=True, known=MARKETV1
    ),
}


def preset_of(market: str, chain_id: int, contract: str = "") -> Preset | None:
    """What is known of the deployment on that chain; None: nothing, or another contract is named
    there."""
    known = MARKETS[market].known.get(chain_id)
    if known is None or (contract and contract.lower() != known.contract.lower()):
        return None
    return known
