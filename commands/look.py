"""`status` and `capacity`: the agent as it says it is, and how much more it could take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from commands.terminal import ConfigOption, JsonOption, print_facts, print_json, print_table, say
from faults import RetryLater, printable

if TYPE_CHECKING:
    from commands.context import Desk


def status(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """What the running agent says of itself; exit 4 when it does not answer, or is not ready.

    A host that stands by for another one is well: exit 0.
    """
    from commands.looking import ask_running

    view, broken = ask_running(config, jobs=as_json)
    if as_json:
        print_json(to_json(view))
    else:
        _print_status(view)
        if broken and not any(broken in part["line"] for part in view["health"]["parts"]):
            say(f"!  the file is broken, and what was read before it runs on: {broken}")
    if view["stalled"]:
        raise RetryLater(
            "the agent's loop stands still; look at its log (journalctl -u oyster-provider)"
        )
    fails = [part["line"] for part in view["health"]["parts"] if _is_fault(part)]
    if fails:
        raise RetryLater(f"the agent is not ready: {fails[0]}")


def _is_fault(part: dict[str, Any]) -> bool:
    """That another host leads keeps this one from being ready, as it should."""
    return bool(part["grade"] == "fail" and part.get("kind") != "standby")


def to_json(view: dict[str, Any]) -> dict[str, Any]:
    """The agent's view in the commands' dialect: times as times, amounts with their tokens."""
    from commands.dialect import amount, moment

    money = view.get("money", {})
    of = {
        "earned": (money.get("symbol"), money.get("decimals")),
        "stake": (money.get("stake_symbol"), money.get("stake_decimals")),
        "coin": ("coin", 18),
        "gas_day": ("coin", 18),
    }

    def told(name: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: told(key, each) for key, each in value.items()}
        if isinstance(value, list):
            return [told("", each) for each in value]
        if name == "since" or name == "now" or name.endswith("_at") or name == "deadline":
            return moment(value) if isinstance(value, int | float) else value
        token = next((of[key] for key in of if name.startswith(key)), None)
        if token and isinstance(value, str) and value.isdigit():
            return amount(int(value), *token)
        return value

    found: dict[str, Any] = told("", view)
    return found


def _print_status(view: dict[str, Any]) -> None:
    from commands.amounts import show_time

    word = view["health"]["word"]
    state = "serving; see below" if word == "look" else word
    facts = [
        ("state", "stalled" if view["stalled"] else state),
        ("provider", f"{view['provider']} on chain {view['chain_id']}"),
        ("up since", f"{show_time(view['started_at'])} UTC, version {view['version']}"),
        *_served(view),
        ("chain head", _head(view)),
        ("nodes", _nodes(view["chain"]["endpoints"])),
    ]
    print_facts(facts)
    for part in view["health"]["parts"]:
        if part["grade"] != "ok":
            mark = "!!" if _is_fault(part) else "! "
            say(printable(f"{mark} {part['line']}"))
    for notice in view["notices"]:
        say(f"!  {notice}")


def _served(view: dict[str, Any]) -> list[tuple[str, str]]:
    """Its jobs and what they pay; a host that stands by knows of none, which is not that none are
    there."""
    if view.get("stands_by"):
        return []
    money = view["money"]
    rate = int(money["rate"]) * 3600 / 10 ** (12 + money["decimals"])
    earning = f"{rate:.4f} {money['symbol']}/h"
    return [("jobs", _counted(view["counts"])), ("earning", earning)]


def _counted(counts: dict[str, int]) -> str:
    """How many jobs are in each state, in words."""
    some = (f"{count} {state}" for state, count in sorted(counts.items()) if count)
    return ", ".join(some) or "none"


def _head(view: dict[str, Any]) -> str:
    from commands.amounts import show_span

    chain = view["chain"]
    if not chain["head"]:
        return "not read yet"
    return f"{chain['head']}, {show_span(max(0.0, view['now'] - chain['head_at']))} old"


def _nodes(endpoints: list[dict[str, Any]]) -> str:
    return ", ".join(f"{each['name']} {'ok' if each['healthy'] else 'DOWN'}" for each in endpoints)


def capacity(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """How many more jobs of each offered type fit now, and what limits it."""
    from commands.context import at_desk
    from commands.looking import looking

    rows = at_desk(looking(config), _room)
    if as_json:
        print_json(rows)
        return
    print_table(
        ("type", "room for", "limited by", "AWS alone"),
        [(row["type"], row["more"], row["limited_by"], row["aws"]) for row in rows],
        empty="nothing is on offer in the configuration",
    )


async def _by_stake(desk: Desk) -> int | None:
    """How many more jobs the stake is for; None: none is locked on this market."""
    from agent.wiring.markets import abilities_of
    from commands.context import terms_of

    if not abilities_of(desk.config).has_stake:
        return None
    terms = await terms_of(desk)
    return terms.stake.unlocked // max(1, terms.params.stake_per_job)


async def _room(desk: Desk) -> list[dict[str, Any]]:
    from cloud.model import Region

    by_stake = await _by_stake(desk)
    aws = desk.open_cloud()
    rows = []
    try:
        for offer in desk.config.offers:
            found = await aws.headroom(Region(offer.region), offer.instance_type)
            tight = by_stake is not None and by_stake < found.more
            rows.append(
                {
                    "type": offer.type,
                    "more": found.more if by_stake is None else min(by_stake, found.more),
                    "limited_by": "stake" if tight else found.limited_by,
                    "aws": found.more,
                    "stake": by_stake,
                }
            )
    finally:
        aws.close()
    return rows
