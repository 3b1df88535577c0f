"""When an instance that comes up is late, so that a second one is bought to race it.

Whichever proves itself first serves; the other is given back (`bootstrap`, `running`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from agent.decide.deadline import HOST_STAGES, Budget, Stage
from agent.decide.host_orders import EnclaveRules, too_old
from agent.decide.job_view import Host, ImagePhase, JobView
from agent.decide.plan import Draft, Level
from cloud.model import InstanceState


def all_late(
    view: JobView,
    live: Sequence[Host],
    now: float,
    draft: Draft,
    budget: Budget,
    rules: EnclaveRules,
) -> bool:
    """Whether every instance that is coming up has eaten its share of the budget, or is of no use
    as its program can't read what it is to be told."""
    times = [0.0 if too_old(view, host, rules) else late_at(view, host, budget) for host in live]
    draft.look_at(*(when for when in times if now < when < math.inf))
    if all(now >= when for when in times):
        draft.note("job.late", "no instance is up yet: racing another", Level.WARNING)
        return True
    return False


def late_at(view: JobView, host: Host, budget: Budget) -> float:
    """From when on this one is worth racing, unix seconds; 0: at once."""
    launched = host.instance.launched_at
    if host.instance.state not in (InstanceState.PENDING, InstanceState.RUNNING):
        return 0.0
    if host.unhealthy_since is not None or host.instance.ends_before(view.deadline):
        return 0.0  # EC2 itself says that its machine fails, or will be taken away
    if host.status is None:
        return budget.late_at(launched, view.deadline, *HOST_STAGES)
    if host.status.phase == "failed" or host.probe.refused is not None:
        return 0.0  # it failed, or proved itself to be something else: waiting mends neither
    never = float(view.deadline) if view.slash_point else math.inf
    if host.probe.early:
        return never  # this clock is behind: the next one's document is as early
    if view.image.phase is not ImagePhase.READY:
        return never  # another instance brings no image sooner
    begun = max(host.status.phases.get("booted", launched), view.image.since)
    return budget.late_at(begun, view.deadline, Stage.ENCLAVE, Stage.ATTEST)
