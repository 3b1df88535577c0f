"""A token's symbol and decimals, in every form that tokens answer them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from eth_abi.abi import encode
from hypothesis import given
from hypothesis import strategies as st

from agent.chain.rpc import CallReverted, Json, NodeRefused, Request
from agent.market.model import Address, BlockNumber, BlockRef
from agent.markets.token import MOST_DECIMALS, MOST_SYMBOL, Token, read_token

pytestmark = pytest.mark.unit

WHERE = Address("0x9f8F72aA9304c8B593d555F12eF6589cC3A579A2")
AT = BlockRef(BlockNumber(7), "0x" + "ab" * 32, 1_700_000_000)
REVERTED = CallReverted("no such function")


@dataclass
class Answers:
    """A node that says this of the symbol and of the decimals."""

    symbol: Json | CallReverted
    decimals: Json | CallReverted

    async def outcomes(self, requests: Sequence[Request]) -> list[Json | CallReverted]:
        assert len(requests) == 2
        return [self.symbol, self.decimals]

    async def call(self, method: str, *params: Json) -> Json:
        raise NotImplementedError

    async def batch(self, requests: Sequence[Request]) -> list[Json]:
        raise NotImplementedError


def text(symbol: str | bytes) -> str:
    raw = symbol.encode() if isinstance(symbol, str) else symbol
    return "0x" + encode(["bytes"], [raw]).hex()


def word(value: bytes | int) -> str:
    raw = value.to_bytes(32) if isinstance(value, int) else value.ljust(32, b"\0")
    return "0x" + raw.hex()


async def read(symbol: Json | CallReverted, decimals: Json | CallReverted = "") -> Token:
    return await read_token(Answers(symbol, decimals or word(18)), WHERE, AT)


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (text("USDC"), "USDC"),
        (text("USD₮0"), "USD₮0"),  # Tether's on Arbitrum
        (word(b"MKR"), "MKR"),
        (word(b"X" * 32), "X" * 32),
        (text("A\x1b[31m\nB\u202e"), "A[31mB"),
        (word(b"M\x1bK\xff"), "MK"),
        (text("long" * 1000), ("long" * 1000)[:MOST_SYMBOL]),
    ],
)
async def test_symbol__as_text_or_in_32_bytes__is_shown_as_far_as_it_can_be(
    answer: Json, shown: str
) -> None:
    assert await read(answer) == Token(WHERE, shown, 18)


@pytest.mark.parametrize(
    "answer",
    [
        REVERTED, "0x", None, {}, "0xzz", text(""), text(" \n"), word(b""), word(0x20),
        "0x" + "ff" * 64, word(b"MKR")[:-2], word(0x20) + word(2**255)[2:],
    ],
)  # fmt: skip
async def test_symbol__that_is_none__is_the_tokens_address(answer: Json | CallReverted) -> None:
    found = await read(answer)
    assert found.symbol == WHERE
    assert found.decimals == 18


@given(st.binary(max_size=200))
async def test_symbol__any_bytes__is_a_short_printable_line(raw: bytes) -> None:
    symbol = (await read("0x" + raw.hex())).symbol
    assert 0 < len(symbol) <= 42
    assert symbol.isprintable()


@pytest.mark.parametrize("decimals", [0, 6, 18, 24, MOST_DECIMALS])
async def test_decimals__of_any_type_and_with_more_behind__are_read(decimals: int) -> None:
    assert (await read(text("T"), word(decimals))).decimals == decimals
    assert (await read(text("T"), word(decimals) + "00" * 32)).decimals == decimals


@pytest.mark.parametrize(
    "answer", [REVERTED, "0x", "0x12", None, {}, word(MOST_DECIMALS + 1), word(2**256 - 1)]
)
async def test_decimals__that_are_none__are_not_guessed(answer: Json | CallReverted) -> None:
    with pytest.raises(NodeRefused, match=WHERE):
        await read(text("T"), answer or "0x")
