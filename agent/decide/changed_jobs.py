"""A job that its user has changed since it was taken: what it asks for now is vetted anew.

Where users may change a job in place, what was vetted when it was taken says nothing of what it has
become: a dearer type at the old rate, an image that the operator denies, debug mode. So nothing is
bought or ordered for it that would not be taken as it is now, and what runs runs on. A new policy
alone changes nothing: a job that asks for what it was taken for is never vetted again. Under an id
that a fork, or a lie that ended, has given to another user's job, that one is a new job.
"""

from __future__ import annotations

from agent.decide.job_view import JobView
from agent.decide.keepalive import names_of
from agent.decide.plan import Draft, Level
from agent.decide.refusal import PolicyRules, Refusal, vet, vet_change
from agent.market.model import Job
from agent.market.workload import Ask


def ask_of(job: Job) -> Ask:
    """What it asks for now."""
    return Ask.of(job.user, job.instance_type, job.workload)


def accepted(view: JobView) -> Ask | None:
    """What it asked for when something was last bought or ordered for it: as it is remembered, else
    as its host runs it. None: nothing is known."""
    if view.facts.accepted is not None or view.head is None:
        return view.facts.accepted
    for host in view.live:
        names, here = names_of(host.run), host.instance
        if names is not None:
            return Ask(view.head.user, f"{here.region}/{here.instance_type}", *names)
    return None


def changed(view: JobView) -> bool:
    """Whether it asks for something else than it was taken for."""
    if view.head is None or not view.terms.abilities.changes_in_place:
        return False
    return accepted(view) not in (None, ask_of(view.head))


def refused_change(view: JobView, now: float, rules: PolicyRules) -> tuple[Refusal, ...]:
    """Why nothing is bought or ordered for it as it is now; empty: it was not changed, or to what
    is served."""
    before = accepted(view)
    if before is None or view.head is None or not changed(view):
        return ()
    if before.user != view.head.user:
        return vet(view, rules)
    return vet_change(view, rules, now, other_type=before.instance_type != view.head.instance_type)


def held_by_change(view: JobView, now: float, draft: Draft, rules: PolicyRules) -> bool:
    """Whether its change is refused; says why."""
    refusals = refused_change(view, now, rules)
    for refusal in refusals:
        text = f"{refusal.rule}: {refusal.text}; what runs runs on"
        draft.note("job.change_refused", text, Level.ERROR)
    return bool(refusals)
