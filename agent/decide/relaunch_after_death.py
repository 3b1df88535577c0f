"""Instances that ended by themselves: told in EC2's own words, and not bought again in a rush.

What kills at once (an unusable key, a broken image) kills the next one as well, and a minute or an
operator mends it. So after the first replacement, which is free, the attempts that are left are
spread over the time in which one could still come up in time, and each is launched otherwise than
those before it: in another zone, from another image, under another key.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.decide.deadline import HOST_STAGES, TAIL_STAGES, Budget
from agent.decide.job_view import Host, JobView, LaunchPhase
from agent.decide.plan import Draft, Level
from agent.market.model import Job
from cloud.model import Detour

DEATHS_AN_IMAGE = 2  # two in different zones speak against what they were launched from
FREE_DEATHS = 1  # one instance may die of anything: its replacement is bought at once


def died(view: JobView, job: Job) -> Sequence[Host]:
    """Instances of this generation that ended though nobody asked for it, oldest first: what the
    host that led before this one gave back has not died."""
    return [host for host in _ended(view, job) if not host.ended_by_others]


def _ended(view: JobView, job: Job) -> Sequence[Host]:
    """Those that ended though this process did not ask for it."""
    ours = [host for host in view.hosts if host.generation == job.generation]
    return [host for host in ours if not host.live and not host.condemned]


def tell_deaths(view: JobView, job: Job, draft: Draft) -> None:
    """Each end by its cause, once; also where another process, or a person, asked for it."""
    for host in _ended(view, job):
        reason = host.instance.state_reason or "EC2 gives no reason"
        text = f"{host.instance.id} (attempt {host.attempt}) ended: {reason}"
        draft.note("instance.died", text, Level.WARNING)


def detour(view: JobView, job: Job) -> Detour:
    """What the next launch does otherwise than those that died.

    Its zone is another one in any case. From the second death on its image is another, too; and
    where EC2's words may mean the key of the volume, that is AWS's own.
    """
    dead = died(view, job)
    keys = any(_of_the_key(host.instance.state_reason or "") for host in dead)
    return Detour(images=len(dead) // DEATHS_AN_IMAGE, aws_key=keys)


def _of_the_key(reason: str) -> bool:
    """EC2 user guide, "Instance terminates immediately": a launch from, or to, a volume whose key
    can't be used ends with Client.InternalError, or names the key."""
    return ("InternalError" in reason and reason.startswith("Client.")) or "KMS" in reason.upper()


def next_try_at(
    view: JobView, job: Job, attempts_left: int, budget: Budget, latest: float
) -> float:
    """Before when no further attempt is made, unix seconds; 0: at once.

    `latest` is when none is made any more. The last of those that are left is made while it can
    usually still come up before the slash point.
    """
    times = [host.instance.launched_at for host in died(view, job)]
    known = view.launch
    if known is not None and known.generation == job.generation and _spent(view, known.attempt):
        times.append(known.at)
    if len(times) <= FREE_DEATHS or attempts_left < 1:
        return 0.0
    last = max(times)
    usual = view.deadline - budget.usual(*HOST_STAGES, *TAIL_STAGES)
    horizon = usual if usual > last else latest
    return min(last + max(0.0, horizon - last) / attempts_left, latest)


def _spent(view: JobView, attempt: int) -> bool:
    """Whether EC2 said that this attempt has ended, and lists nothing of it."""
    known = view.launch
    if known is None or known.phase is not LaunchPhase.SPENT:
        return False
    return all(host.attempt != attempt for host in view.hosts)
