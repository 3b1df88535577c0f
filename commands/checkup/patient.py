"""What the checks of `doctor` look at, and what each of them says."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.clock import SystemClock
from agent.config import Config
from agent.market.model import Address
from commands.context import Desk, Standing, Terms


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `verdict`: ok, warn (it serves, but look), fail, skip."""

    name: str
    verdict: str
    found: str
    todo: str = ""

    def to_json(self) -> dict[str, str]:
        return {"check": self.name, "verdict": self.verdict, "found": self.found, "todo": self.todo}


@dataclass
class Patient:
    """What the checks look at; parts that could not be opened are None."""

    config: Config
    path: Path
    clock: SystemClock = field(default_factory=SystemClock)
    provider: Address | None = None
    payer: Address | None = None  # whose coin pays for transactions
    desk: Desk | None = None
    standing: Standing | None = None
    terms: Terms | None = None  # of a market with a stake
    nodes: list[Any] = field(default_factory=list)  # commands.checkup.nodes.Diagnosis of each
    aws: Any = None  # once it has answered
    found: list[Finding] = field(default_factory=list)  # what the checks before said
    failed: set[str] = field(default_factory=set)  # checks that could not be made
    away: set[str] = field(default_factory=set)  # regions that did not answer: asked no more
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)


def no_journal(name: str, patient: Patient) -> list[Finding]:
    """One finding where the journal could not be read: a server that hangs is waited for once."""
    return [skipped(name, "the journal was not reached")] if "journal" in patient.failed else []


def skipped(name: str, why: str) -> Finding:
    """A check that needs what another found broken."""
    return Finding(name, "skip", why)
