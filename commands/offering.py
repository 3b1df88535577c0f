"""An offer made or taken back so that agent, file and chain say the same, in an order that costs
no stake: first the file (what a start reads), then the agent, which serves it from then on, and the
chain last. Without an agent the command sends by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.config import load
from agent.config.load import path_of
from agent.journal.orders import OrderKind
from agent.market.model import Price
from commands.agent_asked import ask_agent, require_same_file
from commands.amounts import show_price
from commands.context import Desk
from commands.journal import order
from commands.offer_file import Ask, put_back, write_offer
from commands.offer_preview import Preview
from commands.sending import How, Quote, Step, agree_to, quote, send
from commands.terminal import print_json, say
from faults import Refused, RetryLater, UsageFault

LOOK_SECONDS = 0.5
WAIT_SECONDS = 180.0  # some blocks of a slow chain; the agent goes on trying after it
WAITS_FOR = ("no room", "paused", "draining")  # what no waiting here will change


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be offered: `price` as the chain has it, `ask` as the file does; None: nothing.

    `steps` come before it (a stake), `step` is the listing's own transaction, None when the chain
    is as wished already.
    """

    type: str
    price: Price | None
    ask: Ask | None
    step: Step | None
    steps: Sequence[Step] = ()
    preview: Preview | None = None
    below_cost: bool = False


def running_agent(desk: Desk, *, jobs: bool = False) -> dict[str, Any] | None:
    """The view of the agent of this configuration, with all its `jobs` if asked; None: none
    answers. Raises Refused: another provider's answers there."""
    try:
        view = ask_agent(desk.config.status.listen, jobs=jobs)
    except (RetryLater, UsageFault):
        return None
    whose = (view["provider"], view["registry"], view["chain_id"])
    if whose != (desk.provider, desk.registry, desk.endpoints.chain_id):
        listen = desk.config.status.listen
        raise Refused(f"the agent on {listen} is of provider {whose[0]}; set status.listen apart")
    return view


async def carry_through(desk: Desk, wish: Wish, how: How, config: Path | None) -> None:
    """Show, ask twice where it looks like a slip, do. Raises Refused (not agreed, or it would
    revert), RetryLater: not yet so, and what it waits for."""
    agent = await asyncio.to_thread(running_agent, desk)
    path = path_of(config)
    if agent:
        require_same_file(agent, path)
    _require_open(agent, wish)
    steps = [*wish.steps, *([wish.step] if wish.step else [])]
    quotes = await quote(desk, steps) if steps else []
    if not agree_to(quotes, how, _before(wish), _doubts(wish), below_cost=wish.below_cost):
        return
    before = write_offer(path, wish.type, wish.ask)
    try:
        mined = await _do(desk, wish, quotes, how, alone=agent is None)
    except Refused:
        put_back(path, before)
        raise
    at = await _agreed(desk, wish, config, agent is not None, how)
    if how.as_json:
        through = "agent" if agent else "command"
        print_json({"dry_run": False, "transactions": mined, "through": through, "block": at})


def _require_open(agent: dict[str, Any] | None, wish: Wish) -> None:
    if agent and agent.get("closed") == "draining" and wish.price is not None:
        raise Refused("the agent is leaving the market; `exit --cancel` first")


def _before(wish: Wish) -> list[str]:
    return list(wish.preview.lines()) if wish.preview else []


def _doubts(wish: Wish) -> list[str]:
    return list(wish.preview.doubts()) if wish.preview else []


async def _do(
    desk: Desk, wish: Wish, quotes: Sequence[Quote], how: How, *, alone: bool
) -> list[dict[str, Any]]:
    """What comes before, the agent's order, and without an agent the listing too.

    The order is left in any case: an agent that runs and does not answer must not undo it.
    """
    own = quotes if alone else quotes[: len(wish.steps)]
    mined = await send(desk, own[: len(wish.steps)], how)
    fields: dict[str, str] = {"type": wish.type}
    if wish.price is not None:
        fields["price"] = str(wish.price.raw)
    if wish.ask is not None:
        fields["said"] = wish.ask.price  # in the file's words: other hosts compare them
    if wish.ask is not None and wish.ask.by_rule:
        ask = wish.ask
        fields |= {"rule": ask.price, "floor": ask.floor, "undercut": ask.undercut}
    kind = OrderKind.REMOVE_OFFER if wish.price is None else OrderKind.OFFER
    order(desk.config, desk.clock.now(), kind, None, fields)
    return mined + await send(desk, own[len(wish.steps) :], how)


async def _agreed(
    desk: Desk, wish: Wish, config: Path | None, through_agent: bool, how: How
) -> int:
    """The block in which the chain shows what is wished, and agent and file say the same."""
    begun, said = desk.clock.now(), how.as_json
    while True:
        row = await _row(desk, wish) if through_agent else _settled(wish)
        if through_agent and not said and row["wanted"] == _raw(wish.price):
            say("the agent goes by it from now on; the chain follows")
            said = True
        at = await desk.head()
        listed = await desk.market.offer(desk.provider, wish.type, at)
        if row == {**row, **_settled(wish)} and listed == wish.price:
            _require_file(config, wish)
            if not how.as_json:
                say(_done(wish, at.number, through_agent))
            return at.number
        _give_up(row, begun, desk.clock.now())
        await desk.clock.sleep(LOOK_SECONDS)


def _settled(wish: Wish) -> dict[str, Any]:
    """What an agent says of the type once it and the chain go by the wish."""
    return {"wanted": _raw(wish.price), "listing": _raw(wish.price), "ordered": False}


def _give_up(row: dict[str, Any], begun: float, now: float) -> None:
    trouble = str(row.get("trouble") or "")
    if trouble.startswith(WAITS_FOR):
        raise RetryLater(f"file and agent have it, the chain not yet: {trouble}; the agent lists it"
                         " by itself when that is over")  # fmt: skip
    if now - begun > WAIT_SECONDS:
        why = trouble or "no block shows it yet"
        raise RetryLater(f"not everybody agrees yet: {why}; see `offers list` and `status`")


async def _row(desk: Desk, wish: Wish) -> dict[str, Any]:
    """What the running agent says of the type; one that stopped meanwhile goes by the file. Of one
    that stands by, nothing: another host's agent takes the order up, and the chain tells."""
    view = await asyncio.to_thread(ask_agent, desk.config.status.listen)
    if view.get("stands_by"):
        return _settled(wish)
    rows = [row for row in view["types"] if row["instance_type"] == wish.type]
    return rows[0] if rows else {"wanted": None, "listing": None, "ordered": False}


def _require_file(config: Path | None, wish: Wish) -> None:
    """Raises RetryLater: somebody changed the file meanwhile."""
    texts = {offer.type: str(offer.price) for offer in load(config).offers}
    if (wish.type in texts) != (wish.price is not None):
        raise RetryLater(f"the file was changed meanwhile and says otherwise of {wish.type}")


def _done(wish: Wish, block: int, through_agent: bool) -> str:
    state = f"{wish.type} at {_at(wish)}" if wish.price is not None else f"no {wish.type} on offer"
    if through_agent:
        return f"agent, file and chain agree: {state} (block {block})"
    done = f"file and chain agree: {state} (block {block})"
    return f"{done}. No agent answers yet: it goes by this once it serves"


def _at(wish: Wish) -> str:
    """The price as it was said; what a rule makes of itself now, too."""
    if wish.ask is None or not wish.ask.by_rule or wish.preview is None or wish.price is None:
        return str(wish.ask)
    return f"{show_price(wish.price, wish.preview.money)} by its rule ({wish.ask})"


def _raw(price: Price | None) -> str | None:
    return None if price is None else str(price.raw)
