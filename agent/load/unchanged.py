"""Calm jobs whose time came: most of their looks end with "nothing to do", and need no read.

A running job is looked at for its next question, for its answer, for a heartbeat that may have
stopped. What is remembered tells whether that asks for anything. If it does, the job is read and
decided afresh, as always; if not, the look is over. What the chain changes comes as an event, and
a job that was not read for as long as a resync takes is read whatever is remembered.
"""

from __future__ import annotations

from agent.decide.job_view import CALM
from agent.decide.lifecycle import LifecycleRules, needs_final, plan
from agent.decide.plan import Plan
from agent.load.loader import Loader
from agent.load.remembered import JobMemory


def quiet(
    known: JobMemory | None,
    loader: Loader,
    rules: LifecycleRules,
    now: float,
    *,
    drained: bool,
    unread_seconds: float,
) -> Plan | None:
    """The plan of a job of which only a later look comes; None: it is to be read.

    Not for one that said something the last time: what is over has to be forgotten, to be told
    anew when it comes back. Nor by a clock that was set back.
    """
    if known is None or known.view is None or known.stage != CALM or known.said:
        return None
    if not 0 <= now - known.read_at < unread_seconds:
        return None
    view = loader.renewed(known, known.view, drained=drained)
    decided = plan(view, now, rules)
    nothing = decided.stage == CALM and not decided.actions and not decided.notes
    return decided if nothing and not needs_final(view, now) else None
