"""What the registry's calls cost while 1, 50 or 200 providers list a type.

`python -m bench.gas` writes docs/gas.md. py-evm counts the gas (Prague rules, calldata and refunds
included); nothing is estimated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.contracts.evm import Evm
from tests.contracts.market import AUDITORS, ENDPOINT, PROVIDERS, TYPE, UNIT, URL, USER, Market

CROWDS = (1, 50, 200)
PAGE = Path(__file__).parents[1] / "docs" / "gas.md"
LARGE = (200, 10_000, 1_000_000)
TEXT = """
# Gas

What the registry's calls cost, and what they cannot exceed. `python -m bench.gas` writes this
page; `tests/contracts/test_gas.py` holds the figures and the bounds.

Measured: 1, 50 and 200 providers list the type; all but the honest one have no stake left and
stand before it in the book, which is the worst place for it. For the slashes they have stake, so
that they win and are slashed in turn. Texts are of ordinary length (a type of 20 bytes, a URL of
66) where nothing else is said. Gas is that of py-evm by the rules of Prague, with calldata and
refunds.

Bounds: a search or a change touches at most d levels of a tree, d = 1.44 * log2(listed + 2), each
at a fixed price; a provider's stake opens or closes 64 listings at most (counted here as if each
of the 64 types had such a crowd); each slash that a job has had adds one search.
[The decision](decisions/matching.md) has the reasons.
"""
HONEST, LATE = PROVIDERS[0], PROVIDERS[1]


@cache
def _prepared(listed: int, *, able: bool) -> Market:
    """A market where `listed` providers list TYPE, the honest one behind all of the others.

    The others have stake for three jobs when `able`, none at all when not: every one of them was
    cheap to make and stands before the honest one.
    """
    market = Market(crowd=200)
    for number, who in enumerate(market.crowd[: listed - 1]):
        market.send(who, "stake", 3000)
        market.send(who, "register", TYPE, (1 + number) * UNIT)
        if not able:
            market.send(who, "unstake", 3000)
    market.send(HONEST, "stake", 5000)
    market.send(HONEST, "register", TYPE, 10**6 * UNIT)
    market.send(LATE, "stake", 1000)
    market.evm.keep()
    return market


def prepared(listed: int, *, able: bool = False) -> Market:
    """A fork of that market."""
    return _prepared(listed, able=able).on_fork()


def _gas(market: Market, who: str, function: str, *args: object) -> int:
    """What one call costs."""
    market.send(who, function, *args)
    evm: Evm = market.evm
    return evm.gas_used


def register(listed: int) -> int:
    return _gas(prepared(listed), LATE, "register", TYPE, 10**9 * UNIT)


def re_price(listed: int) -> int:
    return _gas(prepared(listed), HONEST, "register", TYPE, 1)


def deregister(listed: int) -> int:
    return _gas(prepared(listed), HONEST, "deregister", TYPE)


def unstake(listed: int) -> int:
    return _gas(prepared(listed), HONEST, "unstake", 5000)


def stake(listed: int) -> int:
    market = prepared(listed)
    market.send(HONEST, "unstake", 5000)
    return _gas(market, HONEST, "stake", 5000)


def _request(market: Market) -> int:
    return _gas(market, USER, "requestJob", TYPE, 10**30, URL, 10**12)


def request(listed: int) -> int:
    return _request(prepared(listed))


def request_long(listed: int) -> int:
    return _gas(prepared(listed), USER, "requestJob", TYPE, 10**30, "u" * 512, 10**12)


def request_closing(listed: int) -> int:
    market = prepared(listed)
    market.send(HONEST, "unstake", 4000)
    return _request(market)


def _with_64_listings(listed: int) -> Market:
    market = prepared(listed)
    market.send(HONEST, "unstake", 4000)
    for number in range(63):
        market.send(HONEST, "register", f"us-east-1/type-{number}.xlarge", UNIT)
    return market


def request_closing_64(listed: int) -> int:
    return _request(_with_64_listings(listed))


def stop_64(listed: int) -> int:
    market = _with_64_listings(listed)
    _request(market)
    return _gas(market, USER, "requestToStopJob", 1)


def _running(listed: int) -> Market:
    market = prepared(listed)
    _request(market)
    market.send(HONEST, "reportStarted", 1, ENDPOINT)
    return market


def report_started(listed: int) -> int:
    market = prepared(listed)
    _request(market)
    return _gas(market, HONEST, "reportStarted", 1, ENDPOINT)


def add_funds(listed: int) -> int:
    market = _running(listed)
    market.later(100)
    return _gas(market, USER, "addFunds", 1, 1000)


def settle(listed: int) -> int:
    market = _running(listed)
    market.later(100)
    return _gas(market, USER, "settle", 1)


def stop(listed: int) -> int:
    market = _running(listed)
    market.later(100)
    return _gas(market, USER, "requestToStopJob", 1)


def request_exit(listed: int) -> int:
    return _gas(_running(listed), HONEST, "requestToExitJob", 1)


def finalize_exit(listed: int) -> int:
    market = _running(listed)
    market.send(HONEST, "requestToExitJob", 1)
    market.later(30)
    return _gas(market, HONEST, "finalizeExit", 1)


def first_report(listed: int) -> int:
    market = _running(listed)
    market.later(100)
    return _gas(market, AUDITORS[0], "reportFault", 1, 1)


def slash(listed: int, *, before: int = 0) -> int:
    """The quorum's last vote: slash and match again, after `before` slashes of the same job."""
    market = prepared(listed, able=True)
    _request(market)
    for _ in range(before + 1):
        market.later(100)
        market.slash(1)
    return market.evm.gas_used


def fiftieth_slash(listed: int) -> int:
    return slash(listed, before=min(49, listed - 1))


@dataclass(frozen=True)
class Row:
    """One call, measured, and the bound that it keeps."""

    name: str
    measure: Callable[[int], int]
    base: int
    """Gas at most in a book of no depth."""
    level: int = 0
    """Gas at most for each level of depth more."""

    def bound(self, listed: int) -> int:
        return self.base + self.level * depth(listed)


def depth(listed: int) -> int:
    """The most levels that an AVL tree of so many nodes can have."""
    return math.floor(1.4405 * math.log2(listed + 2))


ROWS = (
    Row("register, a new listing", register, 210_000, 14_000),
    Row("register, a re-pricing from last to first", re_price, 60_000, 30_000),
    Row("deregister", deregister, 220_000, 16_000),
    Row("stake, opening one listing", stake, 90_000, 8_000),
    Row("unstake, closing one listing", unstake, 70_000, 8_000),
    Row("requestJob", request, 480_000, 5_000),
    Row("requestJob, the longest enclaveUrl", request_long, 920_000, 5_000),
    Row("requestJob, closing the winner's one listing", request_closing, 500_000, 13_000),
    Row("requestJob, closing the winner's 64 listings", request_closing_64, 1_500_000, 517_000),
    Row("reportStarted", report_started, 140_000),
    Row("addFunds, with a settlement", add_funds, 120_000),
    Row("settle", settle, 110_000),
    Row("requestToExitJob", request_exit, 90_000),
    Row("finalizeExit", finalize_exit, 160_000),
    Row("requestToStopJob", stop, 160_000),
    Row("requestToStopJob, opening the provider's 64 listings", stop_64, 1_200_000, 512_000),
    Row("reportFault, the first of two", first_report, 160_000),
    Row("reportFault, slashing and matching again", slash, 320_000, 10_000),
    Row("the same, the job's 50th slash", fiftieth_slash, 720_000, 160_000),
)


def measure() -> dict[Row, list[int]]:
    """Each row with each crowd."""
    return {row: [row.measure(listed) for listed in CROWDS] for row in ROWS}


def table(measured: dict[Row, list[int]]) -> str:
    """In Markdown: measured for each crowd, then the bound for larger ones."""
    titles = [*(f"{n:,}" for n in CROWDS), *(f"bound at {n:,}" for n in LARGE)]
    widths = [max(len(title), 10) for title in titles]
    first = max(len(row.name) for row in ROWS)
    lines = [_line("listed", first, titles, widths)]
    lines.append(f"| {'-' * first} |" + "".join(f" {'-' * (w - 1)}: |" for w in widths))
    for row, figures in measured.items():
        cells = [f"{figure:,}" for figure in (*figures, *map(row.bound, LARGE))]
        lines.append(_line(row.name, first, cells, widths))
    return "\n".join(lines)


def _line(name: str, first: int, cells: list[str], widths: list[int]) -> str:
    pairs = zip(cells, widths, strict=True)
    return f"| {name:<{first}} |" + "".join(f" {cell:>{width}} |" for cell, width in pairs)


def page(measured: dict[Row, list[int]]) -> str:
    """docs/gas.md."""
    return f"{TEXT.strip()}\n\n{table(measured)}\n"


if __name__ == "__main__":
    PAGE.write_text(page(measure()), "utf-8")
    print(PAGE.read_text())
