"""Asking an agent at an address that a broken file leaves: whatever it is, it is a word."""

from __future__ import annotations

import pytest

from commands.agent_asked import ask_agent, ask_hosts
from faults import RetryLater

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("listen", ["::1:8470", "127.0.0.1:x", "[::1", "\x00:1", "a b:1"])
def test_ask_agent__no_address_at_all__is_nobody_there(listen: str) -> None:
    with pytest.raises(RetryLater, match="no agent answers"):
        ask_agent(listen)
    assert ask_hosts(listen, 1, "0x") is None
