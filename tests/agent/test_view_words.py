"""What the status page says a job's end waits for."""

from __future__ import annotations

import pytest

from agent.market.model import Ending, StopReason
from agent.view import waits_for

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (None, ""),
        (Ending(9, StopReason.ESCROW_EXHAUSTED), "the escrow is empty"),
        (Ending(9, StopReason.PROVIDER_EXIT), "the cool-down is over"),
        (Ending(9, StopReason.USER_REQUEST), "its end"),
    ],
)
def test_waits_for__each_end__is_said_in_words(end: Ending | None, words: str) -> None:
    assert waits_for(end) == words
