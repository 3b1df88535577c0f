"""What jobs paid when they were taken, as the journal has it.

Where a user may change the rate, the chain keeps the present one alone. A job that pays less than
it was taken for, and less than is asked, is served no more: also when it was lowered while no
agent ran, whose notice nobody saw.
"""

from __future__ import annotations

from agent.journal.lines import TAKEN, Event
from agent.journal.reading import Reader
from agent.market.model import JobId, Price


def agreed_rates(reader: Reader) -> dict[JobId, Price]:
    """By job; those that an older version took are not there."""
    found: dict[JobId, Price] = {}
    for event in reader.named(TAKEN):
        price = _price(event)
        if price is not None and event.job is not None:
            found.setdefault(event.job, price)
    return found


def _price(event: Event) -> Price | None:
    text = str(event.fields.get("price", ""))
    return Price(int(text)) if text.isascii() and text.isdigit() else None
