"""The host's loop of sockets, and who calls it from another thread."""

from __future__ import annotations

import pytest

from enclave.host.network.loop import Loop

pytestmark = pytest.mark.unit


def test_soon__of_a_loop_that_runs__is_called_by_its_next_turn() -> None:
    called: list[int] = []
    loop = Loop()
    loop.soon(lambda: called.append(1))
    loop.turn(1.0)
    assert called == [1]
    loop.close()


def test_soon__of_a_closed_loop__calls_nothing_and_raises_nothing() -> None:
    """A name that was looked up for longer than the process served ended its thread by a bug."""
    called: list[int] = []
    loop = Loop()
    loop.close()
    loop.soon(lambda: called.append(1))
    assert called == []
