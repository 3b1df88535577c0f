"""Quick wire storms, and what must make them fail: the agent's chain side broken on purpose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

import devnet.simulation.wire.life
from agent.chain.encoding import Fees, Unsigned
from agent.chain.transactions import Transactions
from agent.market.model import Address, JobId, Price, Wei
from agent.markets.registry.calls import Calls
from devnet.simulation.__main__ import failure, play
from devnet.simulation.loop import START
from devnet.simulation.model_faults import Weather
from devnet.simulation.names import REGISTRY
from devnet.simulation.protocol import Refusal
from devnet.simulation.scenario import Scenario, genesis, scenario
from devnet.simulation.storm import Storm, quiet
from devnet.simulation.storm_troubles import WIRE_NATURES, Kind, Plan, Trouble, draw, draw_wire
from devnet.simulation.watch import TWICE, Violation
from devnet.simulation.wire.chain import CHAIN_ID, GWEI, Declined, WireChain
from devnet.simulation.wire.signing import NotOurs, StormSigner, opened
from tests.agent.chain.memory_log import MemoryLog
from tests.clocks import MovingClock

pytestmark = pytest.mark.integration

Break = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_wire_storm__of_twenty_jobs__violates_nothing(seed: int) -> None:
    assert [str(violation) for violation in play(seed, 20, wire=True).violations] == []


def test_wire_seed__played_twice__gives_the_same_run() -> None:
    first, second = play(5, 10, wire=True), play(5, 10, wire=True)
    assert first == second


def test_plan__of_a_wire_storm__is_the_seeds_own_and_more() -> None:
    plain = draw(7, length=1000.0, witness=True).troubles
    wired = draw_wire(7, length=1000.0, witness=True).troubles
    assert [one for one in wired if one.kind not in WIRE_NATURES] == list(plain)
    assert len(wired) > len(plain)


def test_failure__of_a_wire_storm__names_the_switch() -> None:
    result = replace(play(5, 10, wire=True), violations=(Violation(1.0, TWICE, "seen"),))
    assert next(failure(result, 10, wire=True)).endswith("--seed 5 --jobs 10 --wire")


# Broken on purpose.


def small(*troubles: Trouble, seed: int = 2024, block_seconds: float = 12.0) -> Scenario:
    what = replace(scenario(seed, 12, wire=True), witness=True, others_price=10**13, depth=6)
    plan = Plan(seed, troubles, gentle=True)
    return replace(what, block_seconds=block_seconds, plan=plan)


def names(what: Scenario) -> set[str]:
    quiet()
    return {violation.name for violation in Storm(what).run().violations}


def journal_in_memory(patch: pytest.MonkeyPatch) -> None:
    """A process that was killed has sent nothing, as far as the next one knows."""
    patch.setattr(devnet.simulation.wire.life, "MortalTxJournal", lambda journal: MemoryLog())


def blind_to_what_is_on_its_way(patch: pytest.MonkeyPatch) -> None:
    async def nothing(transactions: Transactions, call: object) -> list[object]:
        return []

    patch.setattr(Transactions, "_same", nothing)


KILLS = tuple(Trouble(Kind.KILLED_SENDING, 20.0 + 20 * n, 80.0 + 20 * n, 2) for n in range(110))
FORKS = tuple(Trouble(Kind.REORG, 20.0 + 30 * n, 20.0 + 30 * n, n) for n in range(60))

# A kill has to fall between two reads: one run of several shows it, and which one is chance.
BROKEN: list[tuple[Break, str, list[Scenario]]] = [
    (journal_in_memory, TWICE, [small(*KILLS, seed=n, block_seconds=6.0) for n in range(9)]),
    (blind_to_what_is_on_its_way, TWICE, [small(*FORKS)]),
]


@pytest.mark.parametrize(("broken", "name", "runs"), BROKEN, ids=[b.__name__ for b, _, _ in BROKEN])
def test_chain_side__broken_on_purpose__is_found_out(
    broken: Break, name: str, runs: list[Scenario], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert names(runs[0]) == set()
    broken(monkeypatch)
    assert any(name in names(what) for what in runs)


# The nodes.


def unsigned(nonce: int, tip: int, price: int = 9) -> Unsigned:
    data = Calls(REGISTRY).register("us-east-1/c6a.xlarge", Price(price)).data
    fees = Fees(Wei(2 * GWEI + tip), Wei(tip))
    return Unsigned(CHAIN_ID, nonce, fees, 60_000, REGISTRY, data)


def chain() -> WireChain:
    clock = MovingClock(START)
    return WireChain(clock, Weather(clock), genesis(scenario(1)))


def test_pool__replacement__takes_a_tenth_more_of_both_fees() -> None:
    nodes = chain()
    nodes.take("0x1", unsigned(0, GWEI))
    with pytest.raises(Declined, match="already known"):
        nodes.take("0x1", unsigned(0, GWEI))
    with pytest.raises(Declined, match="underpriced"):
        nodes.take("0x2", unsigned(0, GWEI * 109 // 100))
    nodes.take("0x3", unsigned(0, GWEI * 140 // 100))
    nodes.mine()
    assert nodes.nonce_at(nodes.head) == 1
    with pytest.raises(Declined, match="nonce too low"):
        nodes.take("0x4", unsigned(0, 9 * GWEI))


def test_block__takes_ours_in_order_without_gaps_at_its_base_fee() -> None:
    nodes = chain()
    nodes.take("0x1", unsigned(1, GWEI))
    nodes.mine()
    assert (nodes.unmined, nodes.nonce_at(nodes.head)) == (1, 0)
    nodes.take("0x0", unsigned(0, GWEI))
    nodes.base_fee = 4 * GWEI
    nodes.mine()
    assert nodes.unmined == 2
    nodes.base_fee = GWEI
    nodes.mine()
    assert (nodes.unmined, nodes.nonce_at(nodes.head)) == (0, 2)


async def test_signature__of_other_bytes__is_not_the_providers() -> None:
    bare = unsigned(3, GWEI)
    raw = bare.signed(await StormSigner().sign(bare.digest()))
    assert opened(raw) == replace(bare, to=Address(bare.to.lower()))
    with pytest.raises(NotOurs):
        opened(bare.signed(await StormSigner().sign(unsigned(4, GWEI).digest())))
    with pytest.raises(NotOurs):
        opened(b"\x01" + raw[1:])


def test_job__that_is_unknown__has_no_exit() -> None:
    with pytest.raises(Refusal, match="no such job"):
        chain().simulate(chain().head, "requestToExitJob", (JobId(1),))
