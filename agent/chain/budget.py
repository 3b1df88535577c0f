"""What may be spent on gas, and what of it is kept for what a slash would follow from.

A report that is not sent and an exit that is not asked for cost stake; a settlement that waits
costs nothing. So half of each budget, and some of the account's balance, is for the former alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.chain.fees import FeePolicy
from agent.chain.transaction_log import TransactionLog, TxStatus
from agent.market.model import JobId

DAY_SECONDS = 86_400
KEPT_PERCENT = 50  # of gas.per_day and gas.per_job, for urgent calls
KEPT_GAS = 400_000  # of the balance: a report and an exit, each below 200,000 (docs/gas.md)


@dataclass(frozen=True, slots=True)
class Spending:
    """`worst`: wei that it may cost at most, beyond what is recorded. `urgent`: stake is lost when
    it does not go out in time."""

    job: JobId | None
    worst: int
    urgent: bool


class Budget:
    """Of one account, by its log."""

    def __init__(self, log: TransactionLog, policy: FeePolicy) -> None:
        self._log = log
        self._policy = policy

    async def over(self, spending: Spending, now: float) -> str:
        """Why it has to wait; empty: it has not."""
        percent = 100 if spending.urgent else 100 - KEPT_PERCENT
        kept = "" if spending.urgent else f", but for {KEPT_PERCENT} % for reports and exits"
        day = await self._log.worst_fees(since=now - DAY_SECONDS) + spending.worst
        if 100 * day > percent * self._policy.per_day:
            return f"the gas budget of 24 h ({self._policy.per_day} wei) is spent{kept}"
        if spending.job is None:
            return ""
        job = await self._log.worst_fees(job=spending.job) + spending.worst
        if 100 * job > percent * self._policy.per_job:
            return (
                f"the gas budget of job {spending.job} ({self._policy.per_job} wei) is spent{kept}"
            )
        return ""

    async def lacking(self, spending: Spending, balance: int, max_fee: int) -> int:
        """Wei that the account has too little of, what is open and what is kept included."""
        unfinished = await self._log.unfinished()
        reserved = sum(r.worst_fee for r in unfinished if r.status is TxStatus.OPEN)
        kept = 0 if spending.urgent else KEPT_GAS * max_fee
        return max(0, reserved + kept + spending.worst - balance)
