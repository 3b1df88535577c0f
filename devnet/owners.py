"""What users do on the devnet's MarketV1: open jobs, pay, change and close them.

Beside `people`, whose registry this market has not. Each doing is one transaction, sent the plain
way; a revert leaves as Refused with the contract's reason, a silent one without. Not for real keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.market.model import InstanceType
from agent.market.workload import Workload
from agent.markets.marketv1.metadata import write
from devnet.people import ALLOWANCE, Market
from devnet.state import Person


def job_key(job: int) -> bytes:
    """A job's id as the contract has it."""
    return job.to_bytes(32, "big")


@dataclass(frozen=True)
class Owners:
    """Rates are base units x 10^12 a second, amounts base units."""

    market: Market

    @property
    def _functions(self) -> Any:
        return self.market.marketv1.functions

    def allow(self, person: Person) -> None:
        """Let the market take this person's payment tokens."""
        approve = self.market.payment_token.functions.approve
        self.market.send(person, approve(self.market.marketv1.address, ALLOWANCE))

    def open(
        self, owner: Person, provider: Person, kind: InstanceType, work: Workload, rate: int,
        balance: int,
    ) -> int:  # fmt: skip
        """A new job with metadata as Marlin's command line writes it; its id."""
        return self.open_with(owner, provider, write(kind, work, "devnet"), rate, balance)

    def open_with(
        self, owner: Person, provider: Person, metadata: str, rate: int, balance: int
    ) -> int:
        """A new job with whatever metadata; its id."""
        call = self._functions.jobOpen(metadata, provider.address, rate, balance)
        receipt = self.market.send(owner, call)
        event = self.market.marketv1.events.JobOpened()
        opened = [event.process_log(log) for log in receipt["logs"] if len(log["topics"]) == 4]
        return int.from_bytes(opened[0]["args"]["job"], "big")

    def deposit(self, anyone: Person, job: int, amount: int) -> None:
        self.market.send(anyone, self._functions.jobDeposit(job_key(job), amount))

    def withdraw(self, owner: Person, job: int, amount: int) -> None:
        self.market.send(owner, self._functions.jobWithdraw(job_key(job), amount))

    def update(self, owner: Person, job: int, metadata: str) -> None:
        self.market.send(owner, self._functions.jobMetadataUpdate(job_key(job), metadata))

    def announce(self, owner: Person, job: int, rate: int) -> None:
        """A new rate; 0 is the notice of the end."""
        self.market.send(owner, self._functions.jobReviseRateInitiate(job_key(job), rate))

    def revise(self, owner: Person, job: int) -> None:
        """Have the announced rate hold, once it has waited its time."""
        self.market.send(owner, self._functions.jobReviseRateFinalize(job_key(job)))

    def close(self, owner: Person, job: int) -> None:
        self.market.send(owner, self._functions.jobClose(job_key(job)))

    def job(self, job: int) -> dict[str, Any]:
        """The job as the contract stores it; all of it empty when closed or never opened."""
        names = ("metadata", "owner", "provider", "rate", "balance", "lastSettled")
        return dict(zip(names, self._functions.jobs(job_key(job)).call(), strict=True))

    def opened(self) -> int:
        """How many jobs were ever opened."""
        count: int = self._functions.jobIndex().call()
        return count
