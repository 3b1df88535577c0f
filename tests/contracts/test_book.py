"""The book is a sorted list that stays balanced, whatever is done to it."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.compile import SOURCES
from tests.contracts.evm import Contract, Evm, Interface, account

pytestmark = pytest.mark.integration

ID, LANE, PARENT_AT, OWN_OPEN = 2**48 - 1, 2**64 - 1, 128, 1 << 176
NAMES = ("a", "b")
PEOPLE = [account(number) for number in range(24)]
CALLER = account(1)


@cache
def _ground() -> Contract:
    from vyper.cli.vyper_compile import compile_files

    source = Path(__file__).with_name("probe.vy")
    (made,) = compile_files([str(source)], ["bytecode", "abi"], paths=[str(SOURCES)]).values()
    evm = Evm(now=1)
    probe = Contract(evm, evm.create(bytes.fromhex(made["bytecode"][2:])), Interface(made["abi"]))
    evm.keep()
    return probe


def probe() -> Contract:
    return _ground().on(_ground().evm.fork())


@dataclass(frozen=True)
class Lane:
    id: int
    height: int
    open: bool


class Shape:
    """The trees as they are stored, decoded and checked from the leaves up."""

    def __init__(self, book: Contract, names: tuple[str, ...] = NAMES) -> None:
        heads = [book.read("head", name) for name in names]
        self.words: list[tuple[int, int]] = book.read("nodes", 200)
        self.depths: dict[str, int] = {}
        for name, head in zip(names, heads, strict=True):
            if head:
                top = self.lane(head, 0)
                assert self.words[head][0] >> PARENT_AT == 0
                assert self.check(top.id, head) == top
                self.depths[name] = top.height

    def lane(self, node: int, side: int) -> Lane:
        lane = (self.words[node][0] >> (64 * side)) & LANE
        return Lane(lane & ID, (lane >> 48) & 255, bool(lane >> 56))

    def check(self, node: int, parent: int) -> Lane:
        """What the parent must know of this subtree, every node in it having been checked."""
        if not node:
            return Lane(0, 0, False)
        word, rank = self.words[node]
        assert (word >> PARENT_AT) & ID == parent
        left, right = (self.lane(node, side) for side in (0, 1))
        assert self.check(left.id, node) == left
        assert self.check(right.id, node) == right
        assert abs(left.height - right.height) <= 1
        assert all(self.words[left.id][1] < rank for _ in range(1) if left.id)
        assert all(self.words[right.id][1] > rank for _ in range(1) if right.id)
        is_open = bool(word & OWN_OPEN) or left.open or right.open
        return Lane(node, 1 + max(left.height, right.height), is_open)


class Sorted:
    """What the book must answer."""

    def __init__(self) -> None:
        self.open: dict[str, bool] = {}
        self.listed: dict[tuple[str, str], tuple[int, int]] = {}
        self.turn = 0

    def place(self, name: str, who: str, price: int) -> None:
        if self.listed.get((name, who), (0, 0))[0] != price:
            self.turn += 1
            self.listed[name, who] = (price, self.turn)

    def order(self, name: str, *, open_only: bool) -> list[str]:
        found = [(key, who) for (each, who), key in self.listed.items() if each == name]
        return [who for _, who in sorted(found) if self.open.get(who) or not open_only]


steps = st.lists(
    st.tuples(
        st.sampled_from(["place", "place", "place", "withdraw", "open", "close"]),
        st.sampled_from(NAMES),
        st.integers(0, len(PEOPLE) - 1),
        st.integers(1, 6),
    ),
    min_size=20,
    max_size=90,
)


# The only open listing takes the place of a closed one in mid-tree: every ancestor must learn it.
HEIR_IS_OPEN = [
    *[("place", "a", number, price) for number, price in enumerate((3, 1, 3, 2))],
    *[("open", "a", 2, 1), ("withdraw", "a", 0, 1)],
]


@settings(max_examples=400 if "CONTRACTS_THOROUGH" in os.environ else 16, deadline=None)
@example(HEIR_IS_OPEN)
@given(steps)
def test_book__any_sequence__is_a_balanced_sorted_list(
    todo: list[tuple[str, str, int, int]],
) -> None:
    book, model = probe(), Sorted()
    for what, name, number, price in todo:
        who = PEOPLE[number]
        if what == "place":
            book.send(CALLER, "place", name, who, price, model.open.get(who, False))
            model.place(name, who, price)
        elif what == "withdraw" and (name, who) in model.listed:
            book.send(CALLER, "withdraw", name, who)
            del model.listed[name, who]
        elif what in {"open", "close"}:
            book.send(CALLER, "set_open", who, what == "open")
            model.open[who] = what == "open"
    Shape(book)
    for name in NAMES:
        for open_only in (False, True):
            expected = model.order(name, open_only=open_only)
            assert book.read("order", name, open_only) == expected
        assert book.read("cheapest", name) == (expected or ["0x" + "0" * 40])[0]


def _ascending(count: int) -> list[int]:
    return list(range(1, count + 1))


ORDERS: dict[str, Any] = {
    "ascending": _ascending,
    "descending": lambda count: list(range(count, 0, -1)),
    "all alike": lambda count: [7] * count,
    "from both ends": lambda count: [i if i % 2 else 2 * count - i for i in range(1, count + 1)],
}


@pytest.mark.parametrize("order", ORDERS)
def test_book__a_crowd_in_any_order__stays_shallow(order: str) -> None:
    book, count = probe(), 120
    for number, price in enumerate(ORDERS[order](count)):
        book.send(CALLER, "place", "a", account(number), price, False)
    depth = Shape(book).depths["a"]
    assert depth <= math.floor(1.4405 * math.log2(count + 2))


@pytest.mark.parametrize("order", ["ascending", "descending"])
def test_book__most_of_a_crowd_leaves__stays_balanced(order: str) -> None:
    book, count = probe(), 100
    for number, price in enumerate(_ascending(count)):
        book.send(CALLER, "place", "a", account(number), price, number % 3 == 0)
    for number in range(90) if order == "ascending" else range(99, 9, -1):
        book.send(CALLER, "withdraw", "a", account(number))
        if number % 10 == 0:
            Shape(book)
    assert Shape(book).depths["a"] <= 4
    assert len(book.read("order", "a", False)) == 10
