"""What a command learnt of a market's ids is not learnt again by the next one."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.market.model import BlockRef, JobId
from agent.markets.marketv1.seen import RESCAN_BLOCKS, Mark, Seen
from commands.kept_ids import FILE, keep, own_jobs, restore
from tests.agent.markets.marketv1.test_seen import AT, SCAN, US, Node, later, market_over

pytestmark = pytest.mark.unit

NUMBERS = st.integers(min_value=0, max_value=2**40)


async def asked(node: Node, folder: Path, at: BlockRef, assigned: set[int] | None = None) -> int:
    """Ids that one command asks for, in a process of its own; it finds those that are ours."""
    config = SimpleNamespace(state=folder, chain=SimpleNamespace(chain_id=1))
    market = await market_over(node)
    desk: Any = SimpleNamespace(config=config, registry=US, provider=US, reads=market)
    journal: Any = SimpleNamespace(assigned=lambda: set(map(JobId, assigned or ())))
    before = node.asked
    assert await own_jobs(desk, journal, at) == sorted(node.ours)
    return node.asked - before


async def test_commands__one_after_the_other__read_each_id_of_others_once(tmp_path: Path) -> None:
    node = Node()
    assert await asked(node, tmp_path, AT) >= node.true
    far = later(RESCAN_BLOCKS + 1)
    assert await asked(node, tmp_path, far) <= SCAN
    node.true, node.ours = 2_700, node.ours | {2_600}
    assert await asked(node, tmp_path, later(2 * RESCAN_BLOCKS + 2)) <= SCAN
    assert not list(tmp_path.glob(f".{FILE}.*"))


async def test_commands__without_a_state_directory__read_all_and_say_the_same(
    tmp_path: Path,
) -> None:
    node, nowhere = Node(), tmp_path / "none"
    for at in (AT, later(RESCAN_BLOCKS + 1)):
        assert await asked(node, nowhere, at) >= node.true
    assert not nowhere.exists()


async def test_commands__what_the_journal_was_assigned__is_found_wherever_the_file_begins(
    tmp_path: Path,
) -> None:
    node = Node()
    lost = Seen(marks={"": [Mark(AT.number - RESCAN_BLOCKS, 2_500, 2_500)]})
    keep(lost, tmp_path / FILE, f"1:{US}:{US}".lower())
    assert await asked(node, tmp_path, AT, {7, 2_499}) == 2


@settings(max_examples=40)
@given(
    marks=st.lists(st.builds(Mark, NUMBERS, NUMBERS, NUMBERS), max_size=3),
    ours=st.sets(NUMBERS.map(JobId), max_size=20),
    over=st.dictionaries(NUMBERS.map(JobId), NUMBERS, max_size=5),
)
def test_kept__read_back__is_what_was_kept(
    tmp_path_factory: pytest.TempPathFactory,
    marks: list[Mark],
    ours: set[JobId],
    over: dict[JobId, int],
) -> None:
    path = tmp_path_factory.getbasetemp() / FILE
    keep(Seen(ours=ours, marks={"": marks}, over={"": over}), path, "me")
    found = Seen()
    restore(found, path, "me")
    assert (found.ours, found.marks[""], found.over[""]) == (ours, marks, over)
    other = Seen()
    restore(other, path, "another contract")
    assert other == Seen()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=12,
)


@settings(max_examples=60)
@given(said=JSON | st.fixed_dictionaries({
    "schema": st.just(1) | JSON, "whose": st.just("me") | JSON, "marks": st.lists(JSON) | JSON,
    "ours": JSON, "over": JSON,
}))  # fmt: skip
def test_kept__any_other_text__is_as_nothing_or_numbers(
    tmp_path_factory: pytest.TempPathFactory, said: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / FILE
    path.write_text(json.dumps(said))
    found = Seen()
    restore(found, path, "me")
    numbers = [*found.ours, *found.over.get("", {}), *found.over.get("", {}).values()]
    assert all(type(each) is int and 0 <= each <= 2**40 for each in numbers)
