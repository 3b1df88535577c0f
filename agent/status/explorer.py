"""Links to a block explorer, made of nothing but a base that the operator or this table names and
of hex that was checked: what users of the market wrote never becomes part of one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from agent.config.checks import is_explorer

# chainid.network names these for each chain (EIP-3091: /tx/ and /address/).
KNOWN: Mapping[int, str] = {
    1: "https://etherscan.io",
    10: "https://optimistic.etherscan.io",
    137: "https://polygonscan.com",
    8453: "https://basescan.org",
    42161: "https://arbiscan.io",
    42170: "https://nova.arbiscan.io",
    59144: "https://lineascan.build",
    84532: "https://sepolia.basescan.org",
    421614: "https://sepolia.arbiscan.io",
    11155111: "https://sepolia.etherscan.io",
}
_HASH, _ADDRESS = re.compile(r"0x[0-9a-fA-F]{64}"), re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Explorer:
    """`base` without a slash at its end; "" where none is known: then there are no links."""

    base: str = ""

    @classmethod
    def of(cls, chain_id: int, configured: str) -> Explorer:
        """The configured one, else the one that is known for the chain."""
        base = configured or KNOWN.get(chain_id, "")
        return cls(base.rstrip("/") if is_explorer(base) else "")

    def transaction(self, found: object) -> str:
        """ "" unless it is a hash of 32 bytes."""
        return self._link("tx", found, _HASH)

    def account(self, found: object) -> str:
        """ "" unless it is an address of 20 bytes."""
        return self._link("address", found, _ADDRESS)

    def _link(self, what: str, found: object, form: re.Pattern[str]) -> str:
        good = self.base and isinstance(found, str) and form.fullmatch(found)
        return f"{self.base}/{what}/{found}" if good else ""
