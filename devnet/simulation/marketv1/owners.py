"""What owners will do in one storm, drawn from its seed before it begins.

They open jobs at our provider, some with nothing in them, raise and lower rates with a notice, pay
in and take out, change what runs, close, and now and then flood the market with dust.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from agent.market.model import Address
from devnet.simulation.marketv1.asked import Meaning, fields, fuzz
from devnet.simulation.names import OTHER, US
from devnet.simulation.people import DENIED, HOSTILE, TYPES, UNIT, USERS

WORD_MAX = 2**256 - 1
DUST = 40  # jobs of one flood


@dataclass(frozen=True, slots=True)
class Act:
    """One call about a job, at a second of the run: a function and what follows the job's id."""

    at: float
    function: str
    args: tuple[object, ...] = ()


@dataclass(frozen=True, slots=True)
class Wish:
    """One job and what becomes of it. `number` is in its metadata, and finds it again."""

    number: int
    at: float
    owner: Address
    provider: Address
    metadata: str
    rate: int
    balance: int
    acts: tuple[Act, ...] = ()


@dataclass
class Drawn:
    """`meanings` are the texts that can be served; every other one can't."""

    wishes: list[Wish] = field(default_factory=list)
    meanings: dict[str, Meaning] = field(default_factory=dict)


def draw_owners(seed: int, count: int, *, within: float, wait_seconds: int) -> Drawn:
    """`count` jobs worth a look, and the dust of a flood or two between them."""
    rng = random.Random(f"{seed}:owners")
    drawn = Drawn()
    for number in range(count):
        drawn.wishes.append(_wish(rng, number, within, wait_seconds, drawn))
    for _ in range(rng.choice([0, 1, 2])):
        drawn.wishes += _flood(rng, len(drawn.wishes), within, drawn)
    drawn.wishes.sort(key=lambda wish: wish.at)
    return drawn


def _good(rng: random.Random, number: int, drawn: Drawn, like: str = "") -> str:
    """A text that can be served, of another image than `like`."""
    ec2_type = json.loads(like)["instance"] if like else rng.choice(TYPES).partition("/")[2]
    url = f"ipfs://image{rng.randrange(12)}"
    text = json.dumps(fields(number, ec2_type, url))
    drawn.meanings[text] = Meaning(ec2_type, url, (1024, 2))
    return text


def _wish(rng: random.Random, number: int, within: float, wait: int, drawn: Drawn) -> Wish:
    at, seconds = rng.uniform(1, within), rng.uniform(620, 1500)
    rate = rng.choice([UNIT, UNIT, 3 * UNIT, UNIT + 333, UNIT * 7 + 1])
    metadata = _good(rng, number, drawn)
    draw = rng.random()
    if draw < 0.15:
        was = drawn.meanings[metadata]
        metadata, _ = fuzz(rng, number, was.ec2_type, was.url)
    elif draw < 0.18:
        was = drawn.meanings[metadata]
        metadata = json.dumps({**json.loads(metadata), "url": HOSTILE})
        drawn.meanings[metadata] = replace(was, url=HOSTILE)
    elif draw < 0.24:
        rate = rng.choice([0, 1, UNIT - 1, WORD_MAX, 2**200])
    poor = rng.random() < 0.04
    balance = 200 if poor else int(seconds) * min(rate, 10 * UNIT) // UNIT
    good = metadata in drawn.meanings and drawn.meanings[metadata].url != HOSTILE
    return Wish(
        number, at, DENIED if rng.random() < 0.03 else rng.choice(USERS[:4]),
        OTHER if rng.random() < 0.08 else US, metadata, rate, balance,
        tuple(_life(rng, number, at, rate, wait, metadata, drawn) if good else ()),
    )  # fmt: skip


def _life(
    rng: random.Random, number: int, at: float, rate: int, wait: int, metadata: str, drawn: Drawn
) -> Iterator[Act]:
    """What its owner does after the opening; many a call comes too early or twice, and reverts."""

    def later(least: float, most: float) -> float:
        return at + rng.uniform(least, most)

    if rng.random() < 0.35:
        yield from _ending(rng, later(20, 1300), wait)
    if rng.random() < 0.25:
        yield from _rate_game(rng, later(20, 900), rate, wait)
    if rng.random() < 0.25:
        yield Act(later(30, 1600), "jobDeposit", (rng.randint(1, 900) * max(rate, 1) // UNIT + 1,))
    if rng.random() < 0.15:
        yield Act(later(30, 900), "jobWithdraw", (rng.randint(1, 900),))
    if rng.random() < 0.1:
        yield Act(later(30, 1200), "jobSettle")
    if rng.random() < 0.25:
        yield from _changes(rng, number, later(30, 900), metadata, drawn)


def _ending(rng: random.Random, at: float, wait: int) -> Iterator[Act]:
    """Notice of 0, then the close; some never come back for it, some try it at once."""
    yield Act(at, "jobReviseRateInitiate", (0,))
    if rng.random() < 0.2:
        yield Act(at + rng.uniform(5, wait), "jobReviseRateCancel")
    how = rng.random()
    if how < 0.6:
        yield Act(at + wait + rng.uniform(-20, 200), "jobClose")
        yield Act(at + wait + rng.uniform(200, 300), "jobClose")
    elif how < 0.8:
        yield Act(at + wait + rng.uniform(1, 200), "jobReviseRateFinalize")


def _rate_game(rng: random.Random, at: float, rate: int, wait: int) -> Iterator[Act]:
    new = rng.choice([2 * rate, rate * 3 // 2, UNIT // 2, 1, 0, WORD_MAX, 2**200])
    yield Act(at, "jobReviseRateInitiate", (min(new, WORD_MAX),))
    if rng.random() < 0.3:
        yield Act(at + rng.uniform(5, wait + 60), "jobReviseRateCancel")
    if rng.random() < 0.7:
        yield Act(at + wait + rng.uniform(-30, 400), "jobReviseRateFinalize")


def _changes(
    rng: random.Random, number: int, at: float, metadata: str, drawn: Drawn
) -> Iterator[Act]:
    """Another image, mostly; or what can't be had in place, or can't be read, and back again."""
    draw = rng.random()
    if draw < 0.6:
        yield Act(at, "jobMetadataUpdate", (_good(rng, number, drawn, metadata),))
    elif draw < 0.75:
        other = json.dumps({**json.loads(metadata), "memory": 2048})
        was = drawn.meanings[metadata]
        drawn.meanings[other] = Meaning(was.ec2_type, was.url, (2048, 2))
        yield Act(at, "jobMetadataUpdate", (other,))
    else:
        said = json.loads(metadata)
        text, _ = fuzz(rng, number, said["instance"], said["url"])
        yield Act(at, "jobMetadataUpdate", (text,))
        if rng.random() < 0.5:
            yield Act(at + rng.uniform(30, 300), "jobMetadataUpdate", (metadata,))


def _flood(rng: random.Random, first: int, within: float, drawn: Drawn) -> Iterator[Wish]:
    """Dust: nothing paid, nearly nothing paid, or a rate that nothing can pay."""
    at, owner = rng.uniform(1, within), rng.choice(USERS[:4])
    for number in range(first, first + DUST):
        text = _good(rng, number, drawn)
        rate = rng.choice([0, 1, UNIT, WORD_MAX, UNIT // 2])
        yield Wish(number, at + rng.uniform(0, 20), owner, US, text, rate, rng.choice([0, 1, 5]))


def timeline(wishes: Sequence[Wish]) -> list[tuple[float, int, Act | None]]:
    """(second, index of the wish, what) in order; None is the opening."""
    found: list[tuple[float, int, Act | None]] = []
    for index, wish in enumerate(wishes):
        found.append((wish.at, index, None))
        found += [(act.at, index, act) for act in wish.acts]
    return sorted(found, key=lambda one: (one[0], one[1]))
