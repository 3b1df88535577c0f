"""How two configurations differ, a setting at a time, in the file's words; no secret is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from agent.config.fields import key_of, setting_of
from agent.config.model import Config, Offer

# What a reload takes up (agent.wiring.rules); all else needs a restart.
RELOADED = frozenset(
    {"offers", "listing", "cards", "jobs", "deadlines", "keepalive", "breaker", "enclave"}
)


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One setting. `then` and `now` as texts; `restart`: a reload does not take it up."""

    key: str
    then: str
    now: str
    restart: bool

    @property
    def line(self) -> str:
        how = " (needs a restart)" if self.restart else ""
        return f"{self.key}: {self.now} in the file, {self.then} runs{how}"


def differences(runs: Config, file: Config) -> list[Difference]:
    """Every setting that the file says otherwise than what runs, in the file's order."""
    return [*_plain(runs, file), *_offers(runs.offers, file.offers)]


def _plain(runs: Any, file: Any, section: str = "") -> Iterator[Difference]:
    for each in dataclasses.fields(runs):
        if not each.compare or each.name == "offers":
            continue
        then, now = getattr(runs, each.name), getattr(file, each.name)
        if dataclasses.is_dataclass(then) and dataclasses.is_dataclass(now):
            yield from _plain(then, now, each.name)
        elif then != now:
            key = ".".join(filter(None, (section, key_of(each.name))))
            show = setting_of(each).kind.show
            yield Difference(
                key, _text(show, then), _text(show, now), restart=section not in RELOADED
            )


def _offers(runs: tuple[Offer, ...], file: tuple[Offer, ...]) -> Iterator[Difference]:
    then, now = ({each.type: each for each in offers} for offers in (runs, file))
    for kind in sorted({*then, *now}):
        old, new = then.get(kind), now.get(kind)
        if _price(old) != _price(new):
            yield Difference(f"offers {kind}", _price(old), _price(new), restart=False)
        if old and new and old.cost != new.cost:
            key = f"offers {kind} cost"
            yield Difference(
                key, str(old.cost or "nothing"), str(new.cost or "nothing"), restart=False
            )


def _price(offer: Offer | None) -> str:
    return offer.rule_text if offer else "not on offer"


def _text(show: Callable[[Any], str], value: Any) -> str:
    """As the file would say it."""
    return "nothing" if value in (None, "", ()) else show(value).strip('"')
