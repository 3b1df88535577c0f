"""A market's token: what it is called and how many decimals are shown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import contracts
from agent.chain.abi import Abi
from agent.chain.rpc import Reader, Request
from agent.market.model import Address, BlockRef


@lru_cache(maxsize=1)
def token_abi() -> Abi:
    return Abi(contracts.abi(contracts.TEST_TOKEN))


@dataclass(frozen=True, slots=True)
class Token:
    """An ERC-20 of the market; amounts are in base units, 10^decimals of them a whole one."""

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
    """Its symbol and decimals at a block. Raises NodeRefused, CallReverted: it is no token."""
    where = {"blockHash": at.hash, "requireCanonical": True}
    data = ["0x" + token_abi().encode(name).hex() for name in ("symbol", "decimals")]
    calls = [Request("eth_call", ({"to": token, "data": each}, where)) for each in data]
    symbol, decimals = await reader.batch(calls)
    abi = token_abi()
    return Token(token, abi.decode("symbol", symbol), abi.decode("decimals", decimals))
