"""Orders go into the journal: whether the agent that runs hears them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.status.health import Seen, judge
from agent.status.source import View, view_json
from commands.ordering import require_hearing
from faults import Refused
from tests.agent.status.test_health import WELL

pytestmark = pytest.mark.unit


def as_answered(seen: Seen) -> dict[str, Any]:
    view = View("0xP", "0xR", 1, "0.1.0", 0.0, 0.0, health=judge(seen))
    return view_json(view, seen.now, 60.0)


def test_order__the_agent_s_journal_is_another_file__is_refused_and_says_what_to_do() -> None:
    with pytest.raises(Refused, match=r"nothing was ordered: journal file: .* restart the agent"):
        require_hearing(as_answered(replace(WELL, journal_gone=True)))


def test_order__anything_else_is_the_matter__is_heard() -> None:
    assert judge(WELL).word == "serving"
    require_hearing(as_answered(WELL))
    require_hearing(as_answered(replace(WELL, journal="the disk is full")))
