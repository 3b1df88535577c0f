"""What an order is told as when nobody is there to carry it out yet."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from commands import ordering
from commands.agent_asked import NotYet
from faults import Fault, RetryLater

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("answers", "said", "unsaid"),
    [
        (NotYet("the agent does not serve yet: no node answers"), "no node answers", "systemctl"),
        (RetryLater("nobody"), "no agent answers on 127.0.0.1:1", "serve yet"),
    ],
)
def test_not_taken_up__an_agent_waits_or_none_is_there__says_which(
    monkeypatch: pytest.MonkeyPatch, answers: Fault, said: str, unsaid: str
) -> None:
    def ask(_listen: str) -> None:
        raise answers

    monkeypatch.setattr(ordering, "ask_agent", ask)
    desk: Any = SimpleNamespace(
        config=SimpleNamespace(status=SimpleNamespace(listen="127.0.0.1:1"))
    )
    told = str(ordering.not_taken_up(desk))
    assert told.startswith("ordered, and nothing is done yet")
    assert said in told
    assert unsaid not in told
