"""The market's transactions as data: each function gives what `Transactions.submit` takes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent import ports
from agent.chain.transactions import Call
from agent.market.model import Address, JobId, Price, Wei
from agent.markets.registry.reads import registry_abi
from agent.markets.token import token_abi
from faults import UsageFault


@dataclass(frozen=True, slots=True)
class Calls:
    """Of one registry. Labels are for people; amounts are base units."""

    registry: Address

    def stake(self, amount: Wei) -> Call:
        return self._call("stake", amount)

    def unstake(self, amount: Wei) -> Call:
        return self._call("unstake", amount)

    def register(self, instance_type: str, price: Price) -> Call:
        return self._call("register", instance_type, price.raw)

    def deregister(self, instance_type: str) -> Call:
        return self._call("deregister", instance_type)

    def report_started(self, job: JobId, endpoint: str) -> Call:
        return replace(self._call("reportStarted", job, endpoint), urgent=True)

    def request_exit(self, job: JobId) -> Call:
        return replace(self._call("requestToExitJob", job), urgent=True)

    def finalize_exit(self, job: JobId) -> Call:
        return self._call("finalizeExit", job)

    def settle(self, job: JobId) -> Call:
        return self._call("settle", job)

    def request_job(
        self, instance_type: str, max_price: Price, enclave_url: str, deposit: Wei
    ) -> Call:
        return self._call("requestJob", instance_type, max_price.raw, enclave_url, deposit)

    def add_funds(self, job: JobId, amount: Wei) -> Call:
        return self._call("addFunds", job, amount)

    def request_stop(self, job: JobId) -> Call:
        return self._call("requestToStopJob", job)

    def report_fault(self, job: JobId, generation: int) -> Call:
        return self._call("reportFault", job, generation)

    def approve(self, token: Address, amount: Wei) -> Call:
        """Let the registry take `amount` of a token: before stake, requestJob and addFunds."""
        data = token_abi().encode("approve", self.registry, amount)
        return Call(token, data, f"approve({amount})")

    def of(self, order: ports.Order) -> Call:
        """What an order self. Raises UsageFault: it lacks what the call takes."""
        match order:
            case ports.Order(call=ports.Call.REPORT_STARTED, job=int(job), endpoint=str(endpoint)):
                report = self.report_started(JobId(job), endpoint)
                return replace(report, urgent=not order.disputed)
            case ports.Order(call=ports.Call.SETTLE, job=int(job)):
                return self.settle(JobId(job))
            case ports.Order(call=ports.Call.REQUEST_EXIT, job=int(job)):
                return self.request_exit(JobId(job))
            case ports.Order(call=ports.Call.FINALIZE_EXIT, job=int(job)):
                return self.finalize_exit(JobId(job))
            case ports.Order(call=ports.Call.REGISTER, instance_type=str(kind), price=Price() as p):
                return self.register(kind, p)
            case ports.Order(call=ports.Call.DEREGISTER, instance_type=str(kind)):
                return self.deregister(kind)
        raise UsageFault(f"order {order.key} lacks what {order.call} takes")

    def _call(self, name: str, *args: object) -> Call:
        data = registry_abi().encode(name, *args)
        shown = ", ".join(str(arg)[:80] for arg in args)
        return Call(self.registry, data, f"{name}({shown})")
