"""The effect of every order to the market: one transaction, mined once."""

from __future__ import annotations

from agent.apply.bugs import Bug
from agent.apply.context import Outside, World, wait_seconds
from agent.decide.belief import is_same
from agent.decide.deadline import Stage
from agent.decide.job_view import TxPhase, TxView
from agent.decide.plan import FinalizeExit, Level, ReportStarted, RequestExit, Settle
from agent.market.model import JobId
from agent.ports import Call, Mined, Wanted
from faults import Refused, RetryLater, TryElsewhere

Transact = ReportStarted | Settle | RequestExit | FinalizeExit

EVENT_NAMES = {
    Call.REPORT_STARTED: "report_started",
    Call.SETTLE: "settled",
    Call.REQUEST_EXIT: "exit_requested",
    Call.FINALIZE_EXIT: "exit_finalized",
}


async def transact(world: World, action: Transact, outside: Outside) -> None:
    order, sent = action.order, world.memory.known(action.job).transactions
    begun, wanted = world.clock.now(), _wanted(world, action.job)
    sent[order.key] = TxView(TxPhase.SENT, begun)
    try:
        mined = await outside(lambda: world.transactor.carry_out(order, wanted))
    except Refused as refused:
        sent[order.key] = TxView(TxPhase.REFUSED, world.clock.now(), reason=str(refused))
        world.say(action.job, "tx.refused", f"{order.call.value}: {refused}", Level.ERROR)
    except (RetryLater, TryElsewhere) as later:
        now = world.clock.now()
        retry = now + wait_seconds(later)
        sent[order.key] = TxView(TxPhase.LATER, now, reason=str(later), retry_at=retry)
        world.say_failing(action.job, "tx.later", f"{order.call.value}: {later}")
    else:
        sent[order.key] = TxView(TxPhase.MINED, world.clock.now(), block=mined.block)
        _mined(world, action, mined, begun)


def broke(world: World, action: Transact, bug: Bug) -> None:
    """Asked for again; what was sent by then is found under the same key."""
    sent = world.memory.known(action.job).transactions
    sent[action.order.key] = TxView(TxPhase.LATER, bug.at, reason=str(bug), retry_at=bug.retry_at)


def _wanted(world: World, job: JobId) -> Wanted:
    """Whether the job is believed to be the assignment that it was when this was asked: seconds
    pass until an order is signed, and a fork may have made another one of it meanwhile."""
    then = world.memory.known(job).head

    def still() -> bool:
        view = world.memory.known(
            job
        ).view  # of who has it by then: it may have ended and come back
        return view is None or is_same(then, view.head, view.terms)

    return still


def _mined(world: World, action: Transact, mined: Mined, begun: float) -> None:
    call = action.order.call
    if call is Call.REPORT_STARTED:
        world.learner.observe(Stage.REPORT, world.clock.now() - begun)
        world.memory.known(action.job).start_mined = int(action.order.key.split(":")[1])
    name, fee = f"tx.{EVENT_NAMES[call]}", str(mined.fee_wei)
    world.say(action.job, name, tx=mined.tx_hash, block=mined.block, fee_wei=fee)
