"""MarketV1's transactions as data: each function gives what `Transactions.submit` takes."""

from __future__ import annotations

from dataclasses import dataclass

from agent import ports
from agent.chain.transactions import Call
from agent.market.model import Address, JobId, Price, Wei
from agent.markets.marketv1.reads import market_abi
from agent.markets.token import token_abi
from faults import UsageFault


@dataclass(frozen=True, slots=True)
class Calls:
    """Of one contract. Labels are for people; amounts are base units."""

    contract: Address

    # A provider's, and anybody's

    def settle(self, job: JobId) -> Call:
        return self._call("jobSettle", _key(job), shown=f"jobSettle({job})")

    def provider_add(self, url: str) -> Call:
        return self._call("providerAdd", url)

    def provider_update(self, url: str) -> Call:
        return self._call("providerUpdateWithCp", url)

    def provider_remove(self) -> Call:
        return self._call("providerRemove")

    # A user's

    def open(self, metadata: str, provider: Address, rate: Price, balance: Wei) -> Call:
        return self._call("jobOpen", metadata, provider, rate.raw, balance)

    def deposit(self, job: JobId, amount: Wei) -> Call:
        return self._call("jobDeposit", _key(job), amount, shown=f"jobDeposit({job}, {amount})")

    def withdraw(self, job: JobId, amount: Wei) -> Call:
        return self._call("jobWithdraw", _key(job), amount, shown=f"jobWithdraw({job}, {amount})")

    def update(self, job: JobId, metadata: str) -> Call:
        return self._call(
            "jobMetadataUpdate", _key(job), metadata, shown=f"jobMetadataUpdate({job})"
        )

    def announce(self, job: JobId, rate: Price) -> Call:
        label = f"jobReviseRateInitiate({job}, {rate.raw})"
        return self._call("jobReviseRateInitiate", _key(job), rate.raw, shown=label)

    def cancel(self, job: JobId) -> Call:
        return self._call("jobReviseRateCancel", _key(job), shown=f"jobReviseRateCancel({job})")

    def revise(self, job: JobId) -> Call:
        return self._call("jobReviseRateFinalize", _key(job), shown=f"jobReviseRateFinalize({job})")

    def close(self, job: JobId) -> Call:
        return self._call("jobClose", _key(job), shown=f"jobClose({job})")

    def approve(self, token: Address, amount: Wei) -> Call:
        """Let the market take `amount` of a token: before jobOpen and jobDeposit."""
        data = token_abi().encode("approve", self.contract, amount)
        return Call(token, data, f"approve({amount})")

    def of(self, order: ports.Order) -> Call:
        """What an order calls. Raises UsageFault: the market has no such call for a provider."""
        match order:
            case ports.Order(call=ports.Call.SETTLE, job=int(job)):
                return self.settle(JobId(job))
        raise UsageFault(f"this market has no call for {order.call} (order {order.key})")

    def _call(self, name: str, *args: object, shown: str = "") -> Call:
        data = market_abi().encode(name, *args)
        told = ", ".join(str(arg)[:80] for arg in args)
        return Call(self.contract, data, shown or f"{name}({told})")


def _key(job: JobId) -> bytes:
    return job.to_bytes(32, "big")
