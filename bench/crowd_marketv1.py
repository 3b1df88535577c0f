"""The same thousands of jobs as MarketV1 has them: a counter of ids, metadata, locks, no stake."""

from __future__ import annotations

from agent.market.model import InstanceType
from agent.markets.marketv1.metadata import write
from agent.markets.marketv1.reads import market_abi
from agent.markets.marketv1.shape import EXTRA_DECIMALS
from bench.crowd import EC2_TYPE
from bench.crowd_chain import HOUR, MONEY, PRICE, USER, Chain, _encoded

NOTHING = (b"", "0x" + "0" * 40, "0x" + "0" * 40, 0, 0, 0)  # closed, or never opened


class MarketV1Chain(Chain):
    """Job 0 was closed long ago; ids go on from there."""

    def _learn(self) -> None:
        functions = market_abi().functions
        self._views[functions["jobs"].selector] = self._job
        self._always(functions["locks"], (0, 0))
        self._always(functions["jobIndex"], (self._crowd.jobs.stop,))
        self._always(functions["EXTRA_DECIMALS"], (EXTRA_DECIMALS,))
        self._always(functions["lockWaitTime"], (300,))
        self._always(functions["token"], (MONEY,))

    def _topics(self, job: int) -> list[str]:
        return [market_abi().topics["JobClosed"], f"0x{job:064x}"]

    def _job(self, data: bytes) -> str:
        job = int.from_bytes(data[:32])
        key = f"job {job}"
        if key not in self._answers:
            self._answers[key] = _encoded(market_abi().functions["jobs"].wire, self._row(job))
        return self._answers[key]

    def _row(self, job: int) -> tuple[object, ...]:
        crowd = self._crowd
        work = crowd.workload(job)
        closed = job not in crowd.jobs or crowd.special(job) == "ended" or job in self._over[1]
        if closed or work is None:
            return NOTHING
        new = crowd.special(job) == "assigned"
        settled = crowd.assigned_at(job) if new else int(crowd.born) - HOUR
        text = write(InstanceType(crowd.region(job), EC2_TYPE), work).encode()
        balance = PRICE * 365 * 86400 // 10**12
        return (text, USER, crowd.provider, PRICE, balance, settled)
