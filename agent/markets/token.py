"""A market's token: what it is called and how many decimals are shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import contracts
from agent.chain.abi import Abi
from agent.chain.rpc import CallReverted, Json, NodeRefused, Reader, Request
from agent.market.model import Address, BlockRef

WORD_BYTES = 32  # an answer of one word
MOST_SYMBOL = 32  # characters; the longest known have about ten
MOST_DECIMALS = 77  # 10^77 is the largest power of ten in 256 bits


@lru_cache(maxsize=1)
def token_abi() -> Abi:
    return Abi(contracts.abi(contracts.TEST_TOKEN))


@dataclass(frozen=True, slots=True)
class Token:
    """An ERC-20 of the market; amounts are in base units, 10^decimals of them a whole one.
    `symbol`: its address, where it tells none."""

    address: Address
    symbol: str
    decimals: int


@dataclass(frozen=True, slots=True)
class Holdings:
    """What a provider has in a market, in base units; no `pond`: nothing is staked on it."""

    payment: Token
    pond: Token | None = None
    stake_total: int = 0
    stake_locked: int = 0


async def read_token(reader: Reader, token: Address, at: BlockRef) -> Token:
    """What it is called and its decimals at a block. Raises NodeRefused: it is no token."""
    where = {"blockHash": at.hash, "requireCanonical": True}
    data = ["0x" + token_abi().encode(name).hex() for name in ("symbol", "decimals")]
    calls = [Request("eth_call", ({"to": token, "data": each}, where)) for each in data]
    symbol, decimals = await reader.outcomes(calls)
    return Token(token, _symbol(symbol) or token, _decimals(token, decimals))


def _symbol(answer: Json | CallReverted) -> str:
    """A name for people, as a `string` or, as the first tokens have it (MKR), in 32 bytes; empty:
    there is none to show, which is no reason to fail."""
    raw = _bytes(answer)
    if len(raw) == WORD_BYTES:
        text = raw.rstrip(b"\0").decode("utf-8", "ignore")
    else:
        try:
            text = str(token_abi().decode("symbol", answer))
        except NodeRefused:
            return ""
    return "".join(filter(str.isprintable, text)).strip()[:MOST_SYMBOL]


def _decimals(token: Address, answer: Json | CallReverted) -> int:
    """Of any whole type. Raises NodeRefused: none can be guessed, since each amount that is shown
    and each price that is set goes by them."""
    raw = _bytes(answer)[:WORD_BYTES]
    found = int.from_bytes(raw)
    if len(raw) < WORD_BYTES or found > MOST_DECIMALS:
        raise NodeRefused(f"{token} is no token that amounts can be shown of: it tells no decimals")
    return found


def _bytes(answer: Json | CallReverted) -> bytes:
    """Empty: it was none."""
    try:
        return bytes.fromhex(str(answer).removeprefix("0x"))
    except ValueError:
        return b""
