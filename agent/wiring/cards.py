"""The operators' files of rates and of traffic, as the configuration names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from agent.apply.bulk import Bulk
from agent.config import Config
from agent.config.secrets import locate
from agent.market.model import Price
from agent.markets.marketv1.cards import (
    MAX_FILE_BYTES,
    RateCard,
    TrafficRate,
    read_bandwidth,
    read_rates,
)
from faults import UsageFault

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CardFiles:
    """Cards of the regions that are served, in the file's order, and what traffic costs."""

    cards: tuple[RateCard, ...] = ()
    traffic: tuple[TrafficRate, ...] = ()

    def bulk(self) -> Bulk:
        """As the agent's core takes it."""
        prices = {str(card.instance_type): card.min_rate for card in self.cards}
        smallest: dict[str, RateCard] = {}
        for card in sorted(self.cards, key=lambda card: (card.cpu, card.instance_type)):
            smallest.setdefault(card.instance_type.region, card)
        return Bulk(prices, {region: str(c.instance_type) for region, c in smallest.items()})


def card_files(config: Config) -> CardFiles:
    """Both files. Raises UsageFault that names the file and the entry."""
    cards = _read(config, config.cards.rates_file, read_rates) or ()
    traffic = _read(config, config.cards.bandwidth_file, read_bandwidth) or ()
    served = frozenset(config.aws.regions)
    return CardFiles(tuple(c for c in cards if c.instance_type.region in served), traffic)


def all_prices(config: Config, offered: Mapping[str, Price]) -> dict[str, Price]:
    """The least price of each type on offer: those of [[offers]] before those of the file."""
    return {**card_files(config).bulk().prices, **offered}


def _read(config: Config, name: str, reader: Callable[[str], T]) -> T | None:
    if not name:
        return None
    path = locate(name, config.base)
    try:
        return reader(_text(path))
    except UsageFault as fault:
        raise UsageFault(f"{path}: {fault}") from None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE_BYTES + 1)
        return raw.decode("utf-8-sig")  # editors of Windows begin with a mark
    except OSError as error:
        raise UsageFault(error.strerror or "it can't be read") from None
    except UnicodeDecodeError:
        raise UsageFault("it is no UTF-8 text") from None
