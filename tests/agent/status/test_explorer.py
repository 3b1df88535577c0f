"""Links to the chain: of checked hex alone, on a base that somebody trusted named."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.status.explorer import KNOWN, Explorer

pytestmark = pytest.mark.unit

LINK = re.compile(r"https://arbiscan\.io/(tx/0x[0-9a-fA-F]{64}|address/0x[0-9a-fA-F]{40})")
ODD = st.text() | st.from_regex(r"0x[0-9a-f]{40,64}.?") | st.integers() | st.none()


@given(ODD)
def test_links__anything__are_of_hex_or_not_there(found: object) -> None:
    explorer = Explorer.of(42161, "")
    for link in (explorer.transaction(found), explorer.account(found)):
        assert link == "" or LINK.fullmatch(link)


def test_explorer__by_chain_or_configured__is_the_base() -> None:
    assert Explorer.of(1, "").base == "https://etherscan.io"
    assert Explorer.of(31337, "").base == ""
    assert Explorer.of(31337, "").transaction("0x" + "0" * 64) == ""
    own = Explorer.of(1, "http://127.0.0.1:4000/x/")
    assert own.account("0x" + "1" * 40) == "http://127.0.0.1:4000/x/address/0x" + "1" * 40
    assert all(base == Explorer.of(chain, "").base for chain, base in KNOWN.items())


@pytest.mark.parametrize("base", ["javascript:alert(1)", "https://a b", "//x", 'https://x/"><b'])
def test_explorer__no_address__makes_no_link(base: str) -> None:
    assert Explorer.of(1, base).base == ""
