"""How a job ends: what is final, what is recorded on the chain, what is taken down, in that order.

A job is over when the chain says so, or when nothing but a transaction is missing for the chain
to say so (the escrow ran dry, the cool-down passed). Its instances go only when that is final
and a second endpoint, where there is one, sees the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count, groupby

from agent.clock import passed
from agent.decide.job_view import (
    FinalView,
    Host,
    ImagePhase,
    JobView,
    TxPhase,
    TxView,
    WitnessPhase,
)
from agent.decide.plan import (
    END_NOT_FINAL,
    Draft,
    FinalizeExit,
    Finish,
    ForgetHost,
    Level,
    ReleaseImage,
    RequestExit,
    Settle,
    Terminate,
)
from agent.market.model import Address, Ending, Job, StopReason
from agent.market.terms import DueKind
from agent.ports import Call, Order


@dataclass(frozen=True, slots=True)
class EndingRules:
    """Seconds. `settle_every_seconds` 0: earnings are only collected at the end. `signs`: whether
    there is a key at all; without one, settling is left to whoever else may."""

    # An assignment seen at the head is in the final block at this age, or was undone.
    clock_skew_seconds: float = 30.0
    dry_grace_seconds: float = 60.0  # served past its end for longer than this: say so loudly
    witness_patience_seconds: float = 1800.0  # a second endpoint silent so long: a person is asked
    settle_every_seconds: float = 86_400.0
    settle_least: int = 0  # base units of the payment token: less waits, until the end if need be
    untold_end_seconds: float = 600.0  # between settlements of an end that one endpoint alone tells
    look_again_seconds: float = 5.0
    next_block_seconds: float = 1.0  # at the end's second the head is older: the next may be near
    linger_seconds: float = 300.0  # looked at so long before it is forgotten: an endpoint may lag
    signs: bool = True
    max_sends: int = 5  # a transaction that was mined without effect is tried so often
    refused_retry_seconds: float = 30.0  # a refusal may be the node's lag: simulate anew then


@dataclass(frozen=True, slots=True)
class Final:
    """Whether an instance may go for good: `reason` when it may, else what is waited for."""

    reason: str = ""
    waiting: str = ""
    confirmed: bool = False
    alone: bool = False  # of two endpoints one alone tells it, the other is silent


def final_reason(view: JobView, host: Host, now: float, rules: EndingRules) -> Final:
    """Whether it is final that this host serves nothing any more (rule 4)."""
    final = view.final
    if final is None:
        return Final(waiting="the finalized block is not read yet")
    reason = _reason(final.job, final, view, host, now, rules)
    if not reason:
        return Final(waiting=f"block {final.block.number} does not make it final yet")
    if view.facts.end_confirmed:
        return Final(reason, confirmed=True)
    if final.witness is WitnessPhase.ABSENT:
        # Who ordered the exit expects the end of the cool-down; nothing else is confirmed by it.
        return Final(reason, confirmed=view.facts.exit_ordered and _exited(view, final))
    if final.witness is WitnessPhase.DIFFERS:
        text = "endpoints disagree about it; confirm-terminations JOB ends it"
        return Final(waiting=text)
    if final.witness is WitnessPhase.SPOKE:
        same = _reason(final.witnessed, final, view, host, now, rules)
        return Final(reason, confirmed=True) if same else Final(waiting="a second endpoint differs")
    if now - _end_time(view, now) > rules.witness_patience_seconds:
        return Final(reason, alone=True)
    return Final(waiting="the second endpoint has not confirmed it")


def _exited(view: JobView, final: FinalView) -> bool:
    end = view.terms.ending(final.job) if final.job is not None else None
    return end is not None and end.reason is StopReason.PROVIDER_EXIT


def _reason(
    job: Job | None, final: FinalView, view: JobView, host: Host, now: float, rules: EndingRules
) -> str:
    """Why `job`, as of the finalized block, needs `host` no more; empty: it may yet need it."""
    settled = final.block.timestamp >= host.instance.launched_at + rules.clock_skew_seconds
    if job is None:
        return "no such job" if settled else ""
    if job.generation > host.generation:
        return f"generation {job.generation} took its place"
    if job.generation < host.generation or job.provider != view.account.provider:
        return f"assigned to {_short(job.provider)}" if settled else ""
    at = _judged_at(view, final, now)
    if view.terms.is_over(job, at) and _over_at_head(view, at):
        return _why_over(view.terms.ending(job))
    due, started = view.terms.due(job), job.is_started
    missed = due.kind is DueKind.SLASH and not started and final.block.timestamp >= due.at
    return "not started in time" if missed else ""


def _judged_at(view: JobView, final: FinalView, now: float) -> int:
    """By which second the end must have come. Where losing an instance in vain costs a stake, that
    of the final block. Else the head's, which this clock bounds: that the job is as it is there is
    final, and whoever pays no more is not served for as long as finality takes."""
    if view.terms.abilities.slashes:
        return final.block.timestamp
    return max(final.block.timestamp, min(view.head_block.timestamp, int(now)))


def _over_at_head(view: JobView, at: int) -> bool:
    """Whether the newest story, too, has it over by then: of two ends one may have been taken back
    since, a notice, and the other may yet be, by a deposit."""
    if view.terms.abilities.slashes or view.head is None or not view.ours:
        return True
    return view.terms.is_over(view.head, at)


def _short(address: Address) -> str:
    return f"{address[:10]}…"


def _why_over(end: Ending | None) -> str:
    words = {
        StopReason.USER_REQUEST: "stopped by its user",
        StopReason.ESCROW_EXHAUSTED: "the escrow ran dry",
        StopReason.PROVIDER_EXIT: "the cool-down of the exit passed",
        StopReason.NO_PROVIDER: "stopped without a provider",
        StopReason.RATE_LOWERED: "its rate fell below the least",
    }
    return words.get(end.reason, "stopped") if end else "stopped"


def _end_time(view: JobView, now: float) -> float:
    """Since when the job has been over, as the head tells; now when it can't."""
    if view.head is None:
        return now
    if view.head.provider != view.account.provider:
        return float(view.head.assigned_at)
    end = view.terms.ending(view.head)
    return float(end.at) if end is not None else float(view.deadline)


def take_down(
    view: JobView, hosts: Iterable[Host], now: float, draft: Draft, rules: EndingRules
) -> None:
    """Terminate those of `hosts` for which it is final; look again soon for the others."""
    ready: list[tuple[Host, Final]] = []
    for host in hosts:
        final = final_reason(view, host, now, rules)
        if final.reason:
            ready.append((host, final))
        else:
            loud = now > _end_time(view, now) + rules.dry_grace_seconds
            level = Level.WARNING if loud else Level.INFO
            draft.note(END_NOT_FINAL, final.waiting, level)
        draft.look_at(now + rules.look_again_seconds)
    for (region, reason), group in groupby(
        ready, lambda one: (one[0].instance.region, one[1].reason)
    ):
        found = list(group)
        draft.do(
            Terminate(
                job=view.id,
                region=region,
                instances=tuple(host.instance.id for host, _ in found),
                reason=reason,
                by_chain=True,
                confirmed=all(final.confirmed for _, final in found),
                alone=any(final.alone for _, final in found),
            )
        )


def clean_up(view: JobView, draft: Draft, outcome: str) -> None:
    """Nothing of the job lives any more: forget its hosts, release its image, say that it ended.

    One after the other, over several decisions: each step is seen to be done before the next.
    """
    if view.hosts:
        draft.do(*(ForgetHost(view.id, h.instance.region, h.instance.id) for h in view.hosts))
    elif view.image.phase is not ImagePhase.RELEASED:
        draft.do(ReleaseImage(view.id))
    else:
        draft.do(Finish(view.id, outcome))


def record_end(view: JobView, end: Ending, now: float, draft: Draft, rules: EndingRules) -> None:
    """The job is over but the chain does not show it: settle or finalize, whoever caused it."""
    exit_passed = end.reason is StopReason.PROVIDER_EXIT
    kind, call = (FinalizeExit, Call.FINALIZE_EXIT) if exit_passed else (Settle, Call.SETTLE)
    # A chain that nobody uses may stand before the end: one transaction makes it move. If it was
    # mined and the chain's time is still before the end, this clock is ahead: wait for the chain's.
    # So it is after one for another end, which a deposit has moved since.
    begun = f"{view.id}:{job_generation(view)}:{call.value}:{end.at}:0" in view.transactions
    begun = begun or _sent_lately(view, call, now, rules.untold_end_seconds)
    if view.head_block.timestamp < end.at and (begun or now < end.at + rules.look_again_seconds):
        pause = rules.look_again_seconds if begun else rules.next_block_seconds
        draft.look_at(max(float(end.at), now) + pause)
        return
    draft.look_at(now + rules.look_again_seconds)
    if not view.agreed and _sent_lately(view, call, now, rules.untold_end_seconds):
        return
    if _under_way(view, call):
        return  # for an end that another story gave it, maybe: the call is the same
    key = next_key(view, f"{call.value}:{end.at}", now, rules)
    if key is not None and may_send(view, key, now, draft, rules):
        draft.do(kind(view.id, _order(view, key, call)))


def request_exit(view: JobView, now: float, draft: Draft, rules: EndingRules) -> None:
    """Leave the job, once, where the market has a call for it; what follows comes from what the
    chain says then."""
    if view.head is None or view.head.exit_requested_at or not view.terms.abilities.can_exit:
        return
    key = next_key(view, Call.REQUEST_EXIT.value, now, rules)
    if key is not None and may_send(view, key, now, draft, rules):
        order = _order(view, key, Call.REQUEST_EXIT)
        wanted = view.facts.exit_ordered or view.facts.end_confirmed
        draft.do(RequestExit(view.id, order, view.alone and bool(view.live), wanted))
    draft.look_at(now + rules.look_again_seconds)


def leave(view: JobView, now: float, draft: Draft, rules: EndingRules, *, told: bool) -> None:
    """Leave it by this agent's own judgement, where the market has a call for that. An exit can't
    be taken back: not on one endpoint's word (`agent.decide.who_must_agree`)."""
    if not view.terms.abilities.can_exit:
        return
    if told:
        request_exit(view, now, draft, rules)
        return
    draft.asks = True
    draft.note("job.exit_waits", "no second endpoint has told the same of the job yet")
    draft.look_at(now + rules.look_again_seconds)


def collect(view: JobView, now: float, draft: Draft, rules: EndingRules) -> None:
    """Settle a long job now and then, so that what was earned does not stay in the escrow."""
    job = view.head
    if job is None or not job.is_started or not rules.signs or rules.settle_every_seconds <= 0:
        return
    period = int(rules.settle_every_seconds)
    due = (job.settled_until or job.started_at) + period
    if now < due:
        draft.look_at(due)
        return
    if view.terms.accrued(job, int(now)) < rules.settle_least:
        draft.look_at(now + period / 2)  # not worth its gas yet; at its end the job pays all
        return
    if _sent_lately(view, Call.SETTLE, now, period / 2):
        draft.look_at(now + period / 2)  # whatever a node says of what was settled
        return
    key = next_key(view, f"{Call.SETTLE.value}:after:{job.settled_until}", now, rules)
    if key is not None and may_send(view, key, now, draft, rules):
        draft.do(Settle(view.id, _order(view, key, Call.SETTLE)))
    draft.look_at(now + rules.look_again_seconds)


_ON_CHAIN = (TxPhase.SENT, TxPhase.MINED)


def _sent_lately(view: JobView, call: Call, now: float, seconds: float) -> bool:
    """Whether this call for this assignment was sent or mined within so many seconds, by our
    clock: a node may say each time that nothing came of it, or another thing, and each costs
    gas."""
    return any(
        tx.phase in _ON_CHAIN and not passed(now, tx.at, seconds) for tx in _calls(view, call)
    )


def _under_way(view: JobView, call: Call) -> bool:
    """Whatever it was to achieve, and whatever assignment it was believed to be: the call names
    the job alone."""
    sent = (key.split(":", 3) for key, tx in view.transactions.items() if tx.phase is TxPhase.SENT)
    return any((job, name) == (str(view.id), call.value) for job, _generation, name, _rest in sent)


def may_become_started(view: JobView) -> bool:
    """Whether a report of this assignment is on its way, or mined later than what is told of it."""
    return any(
        tx.phase is TxPhase.SENT or (tx.phase is TxPhase.MINED and tx.block > view.as_of)
        for tx in _calls(view, Call.REPORT_STARTED)
    )


def _calls(view: JobView, call: Call) -> list[TxView]:
    """All of this call for this assignment, whatever they were to achieve."""
    begins = f"{view.id}:{job_generation(view)}:{call.value}:"
    return [tx for key, tx in view.transactions.items() if key.startswith(begins)]


def settlement_may_go(view: JobView, now: float) -> bool:
    """Whether what a job that we served earned may yet have to be settled, on a market where a job
    stays open when it is over: no list of active jobs would name it again. Whoever settled it, a
    fork may take that back until the final block has it; and that it is closed or unknown may be
    one endpoint's word."""
    served = view.served or (view.head is None and view.facts.proven is not None)
    if view.terms.abilities.reports_start or not served:
        return False
    if view.head is None or view.head.is_stopped:
        return not _surely_gone(view)
    final, told = view.final, _told_at_final(view)
    if final is None or not told:
        return True
    return not all(_settled(view, job, _judged_at(view, final, now)) for job in told)


def _settled(view: JobView, job: Job | None, now: int) -> bool:
    """Whether it is over by this story, and nothing is missing for the chain to have it so. A job
    that ran dry, was paid for anew and ran dry once more is so by its first end, too."""
    if job is None or view.head is None or job.settled_until < view.head.settled_until:
        return False
    return view.terms.is_over(job, now) and not view.terms.unrecorded(job, now)


def _surely_gone(view: JobView) -> bool:
    """Closed or unknown in the final block, for each endpoint that there is."""
    told, ours = _told_at_final(view), view.account.provider
    gone = (job is None or job.is_stopped or job.provider != ours for job in told)
    return bool(told) and all(gone)


def _told_at_final(view: JobView) -> list[Job | None]:
    """The job in the final block, for each endpoint that there is; empty: not known of each."""
    final = view.final
    if final is None or final.witness not in (WitnessPhase.SPOKE, WitnessPhase.ABSENT):
        return []
    return [final.job, *([final.witnessed] if final.witness is WitnessPhase.SPOKE else [])]


def _order(view: JobView, key: str, call: Call) -> Order:
    return Order(key=key, call=call, job=view.id, as_of=view.as_of)


def job_generation(view: JobView) -> int:
    """0 for a job that the head does not know."""
    return view.head.generation if view.head else 0


def next_key(view: JobView, what: str, now: float, rules: EndingRules) -> str | None:
    """The key to send `what` under: a new one when the last changed nothing.

    None while the last is mined in a later block than what is told of the job, and after
    `max_sends`: a reorganisation takes a transaction back once or twice, not for ever. A report
    that was refused cost nothing, and is asked for again until its deadline.
    """
    spent, free = 0, what == Call.REPORT_STARTED.value
    for number in count():
        key = f"{view.id}:{job_generation(view)}:{what}:{number}"
        known = view.transactions.get(key)
        if known is None or not _spent(known, now, rules):
            return key
        mined = known.phase is TxPhase.MINED
        spent += mined or not free
        if (mined and known.block > view.as_of) or spent >= rules.max_sends:
            return None
    return None


def _spent(known: TxView, now: float, rules: EndingRules) -> bool:
    if known.phase is TxPhase.REFUSED:
        return passed(now, known.at, rules.refused_retry_seconds)
    return known.phase is TxPhase.MINED


def may_send(view: JobView, key: str, now: float, draft: Draft, rules: EndingRules) -> bool:
    """Whether the transaction may be asked for now; says why not, and when to look again."""
    known = view.transactions.get(key)
    if known is None:
        return True
    if known.phase is TxPhase.LATER:
        draft.look_at(known.retry_at)
        return passed(now, known.at, known.retry_at - known.at)
    if known.phase is TxPhase.REFUSED:
        draft.note("tx.refused", f"{key}: {known.reason}", Level.ERROR)
        draft.look_at(known.at + rules.refused_retry_seconds)  # nothing else may happen till then
    return False
