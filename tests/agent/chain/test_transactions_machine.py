"""Whatever happens between, every key is carried out exactly once.

A hypothesis state machine over a real EVM: submits, blocks, forks, forgotten pools, dead nodes,
crashes and passing time in any order. Each key stakes another power of two, so the stake at the
end tells which calls were carried out, and how often.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from agent.chain.endpoints import Endpoints
from agent.chain.fees import FeePolicy
from agent.chain.head import Finality
from agent.chain.transaction_log import TxRecord
from agent.chain.transactions import Confirmed, Reverted, Transactions
from agent.market.model import Wei
from agent.markets.registry.reads import registry_abi
from tests.agent.chain.memory_log import MemoryLog

if TYPE_CHECKING:
    from tests.agent.conftest import Stage

pytestmark = pytest.mark.integration

KEYS = 6


class Crash(BaseException):
    """The process ends here."""


class Log(MemoryLog):
    dies: str = ""

    def put(self, record: TxRecord) -> None:
        if self.dies == "before":
            raise Crash
        super().put(record)
        if self.dies == "after":
            raise Crash


class Machine(RuleBasedStateMachine):
    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        self.snapshot = self.stage.node.call("evm_snapshot")
        self.stage.node.call("evm_mine", 4)  # what came before is final
        self.loop = asyncio.new_event_loop()
        self.log = Log()
        self.begun: set[int] = set()
        self.base = self.staked()
        self.stage.node.evm.automine = False
        self.start()

    def start(self) -> None:
        self.endpoints = self.loop.run_until_complete(
            Endpoints.open([self.stage.node.url], self.stage.clock)
        )
        self.sending = Transactions(
            self.endpoints, self.stage.signers[0], self.log, self.stage.clock,
            policy=FeePolicy(per_job=Wei(10**18), per_day=Wei(10**20)), finality=Finality(3),
        )  # fmt: skip

    def stop(self) -> None:
        self.loop.run_until_complete(self.endpoints.close())

    def staked(self) -> int:
        data = "0x" + registry_abi().encode("stakeOf", self.stage.provider).hex()
        answer = self.stage.node.call("eth_call", {"to": self.stage.registry, "data": data})
        return int(answer, 16)

    def submit_one(self, number: int) -> object:
        call = self.stage.calls.stake(Wei(2**number))
        return self.loop.run_until_complete(self.sending.submit(call, key=f"k{number}"))

    @rule(number=st.integers(0, KEYS - 1))
    def submit(self, number: int) -> None:
        self.begun.add(number)
        self.submit_one(number)

    @rule()
    def pump(self) -> None:
        self.loop.run_until_complete(self.sending.pump())

    @rule(count=st.integers(1, 2))
    def mine(self, count: int) -> None:
        self.stage.node.call("evm_mine", count)

    @rule(seconds=st.sampled_from([6, 16, 31]))
    def wait(self, seconds: int) -> None:
        self.stage.clock.at += seconds

    @rule(depth=st.integers(1, 3), keep=st.booleans())
    def fork(self, depth: int, keep: bool) -> None:
        self.stage.node.call("devnet_reorg", depth, keep)

    @rule()
    def forget(self) -> None:
        self.stage.node.call("devnet_drop")

    @rule(stuck=st.booleans())
    def congest(self, stuck: bool) -> None:
        self.stage.node.evm.min_tip = 2 * 10**9 if stuck else 0

    @rule(dead=st.booleans())
    def outage(self, dead: bool) -> None:
        self.stage.node.faults.refuse = dead

    @rule(hidden=st.booleans())
    def hide_receipts(self, hidden: bool) -> None:
        methods = ["eth_getTransactionReceipt"] if hidden else []
        self.stage.node.faults.null_methods = methods

    @rule(number=st.integers(0, KEYS - 1), dies=st.sampled_from(["before", "after", ""]))
    def crash(self, number: int, dies: str) -> None:
        self.log.dies = dies
        try:
            self.submit_one(number)
        except Crash:
            pass
        else:
            self.begun.add(number)
        self.begun |= {int(key[1:]) for key, _send in self.log.records}
        self.log.dies = ""
        self.stage.node.faults.refuse = False
        self.stop()
        self.start()

    @invariant()
    def nothing_twice(self) -> None:
        done = self.staked() - self.base
        assert done < 2**KEYS
        assert not done & ~sum(2**number for number in self.begun)
        nonces = [record.nonce for record in self.log.records.values()]
        assert len(nonces) == len(set(nonces)) == len(self.log.records)

    def teardown(self) -> None:
        try:
            self.calm()
        finally:
            self.stop()
            self.loop.close()
            self.stage.node.evm.automine, self.stage.node.evm.min_tip = True, 0
            self.stage.node.call("evm_revert", self.snapshot)

    def calm(self) -> None:
        """The world is well again: within a few ticks every begun key is final."""
        self.stage.node.faults.refuse, self.stage.node.evm.min_tip = False, 0
        self.stage.node.faults.null_methods = []
        self.stage.clock.at += 100
        for _ in range(12):
            states = [self.submit_one(number) for number in self.begun]
            assert not any(isinstance(state, Reverted) for state in states)
            if all(isinstance(state, Confirmed) and state.final for state in states):
                break
            self.pump()
            self.stage.node.call("evm_mine", 1)
            self.stage.clock.at += 16
        else:
            pytest.fail(f"not settled: {states}")
        assert self.staked() - self.base == sum(2**number for number in self.begun)


def test_any_history__every_key__is_carried_out_exactly_once(stage: Stage) -> None:
    Machine.stage = stage
    # The EVM takes 30 ms a block: few long histories rather than many short ones.
    some = settings(
        max_examples=6,
        stateful_step_count=25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=some)
