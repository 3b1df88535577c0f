"""Orders for the agent from a command: whether one is there to take them up, how far it came."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from agent.journal.orders import OrderKind, OrderRecord, Orders
from agent.market.model import JobId
from commands.agent_asked import NotYet, ask_agent
from commands.context import Desk
from commands.journal import open_reader
from commands.offering import running_agent
from commands.terminal import say
from faults import Fault, Refused, RetryLater

LOOK_SECONDS = 2.0
_PAIRS = {
    OrderKind.CANCEL_EXIT_ALL: OrderKind.EXIT_ALL,
    OrderKind.RESUME: OrderKind.PAUSE,
}


async def agent_there(desk: Desk) -> bool:
    """Whether an agent of this configuration answers. Raises Refused: another provider's does, or
    it hears no orders."""
    view = await asyncio.to_thread(running_agent, desk)
    if view is not None:
        require_hearing(view)
    return view is not None


def require_hearing(view: Mapping[str, Any]) -> None:
    """Raises Refused: the agent's journal is another file than the one that orders go into."""
    for part in view["health"]["parts"]:
        if (part["kind"], part["name"], part["grade"]) == ("journal", "journal file", "fail"):
            raise Refused(f"nothing was ordered: {part['line']}")


def not_taken_up(desk: Desk) -> RetryLater:
    """What to raise after an order that nobody is there to carry out, or who is there waits."""
    try:
        ask_agent(desk.config.status.listen)
    except NotYet as waits:
        return RetryLater(
            f"ordered, and nothing is done yet: {waits}. It is carried out after that"
        )
    except Fault:  # nobody, as before the order
        pass
    where = desk.config.status.listen or "status.listen, which is empty"
    return RetryLater(
        f"ordered, and nothing is done yet: no agent answers on {where}; it is carried out when one"
        " starts: systemctl start oyster-provider"
    )


def standing(desk: Desk, back: str) -> bool:
    """Whether there is anything that an order of the kind `back` would take back."""
    with open_reader(desk.config) as reader:
        return stands(Orders(reader.engine).after(), back)


def paused(desk: Desk) -> bool:
    """Whether the last word about it was `pause`."""
    return standing(desk, OrderKind.RESUME)


def stands(orders: Collection[OrderRecord], back: str) -> bool:
    """Of an order and the one that takes it back, whether the last was the order."""
    pair = [each.kind for each in orders if each.kind in (back, _PAIRS[back])]
    return pair[-1:] == [_PAIRS[back]]


async def left(desk: Desk, jobs: Collection[JobId], *, quiet: bool) -> None:
    """Returns when all of these jobs have stopped on the chain and the agent has nothing of them
    any more. Raises RetryLater: the agent stopped answering; the order stands."""
    said: dict[JobId, str] = {}
    while True:
        view = await asyncio.to_thread(ask_agent, desk.config.status.listen, jobs=True)
        found = await desk.market.jobs(sorted(jobs), await desk.head())
        # An agent that stands by knows no job: there the chain alone tells.
        here = {row["id"]: row["state"] for row in view["jobs"] if row["instance"]}
        states = {
            job: here.get(job, "ended") if one.is_stopped else one.status.name.lower()
            for job, one in found.items()
        }
        for job, state in states.items():
            if said.get(job) != state and not quiet:
                say(f"job {job}: {state}")
            said[job] = state
        if all(state == "ended" for state in states.values()):
            return
        await desk.clock.sleep(LOOK_SECONDS)


async def until_closed(desk: Desk, word: str) -> dict[str, Any]:
    """The agent's view once it says `word` of its offers ("paused", or "" for open) and none that
    it closes is listed. Raises RetryLater."""
    begun = desk.clock.now()
    while True:
        view = await asyncio.to_thread(ask_agent, desk.config.status.listen)
        listed = [row["instance_type"] for row in view["types"] if row["listed"]]
        if view.get("stands_by"):  # another host's agent takes it up, and the chain tells
            listed = await _listed(desk, [row["instance_type"] for row in view["types"]])
            view = {**view, "closed": word}
        if view["closed"] == word and not (word and listed):
            return view
        if desk.clock.now() - begun > 120:
            raise RetryLater(f"the agent has not come so far yet: {', '.join(listed)} still listed")
        await desk.clock.sleep(0.5)


async def _listed(desk: Desk, types: Sequence[str]) -> list[str]:
    at = await desk.head()
    prices = [await desk.market.offer(desk.provider, each, at) for each in types]
    return [each for each, price in zip(types, prices, strict=True) if price is not None]
