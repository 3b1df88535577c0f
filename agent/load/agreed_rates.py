"""What jobs paid when they were taken, as the journal has it, and when that is.

Where a user may change the rate, the chain keeps the present one alone. A job that pays less than
it was taken for, and less than is asked, is served no more: also when it was lowered while no
agent ran, whose notice nobody saw.
"""

from __future__ import annotations

from agent.decide.job_view import JobView
from agent.journal.lines import TAKEN, Event
from agent.journal.reading import Reader
from agent.market.model import Job, JobId, Price


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


def rate_counts(view: JobView, now: float, *, buys: bool) -> Job | None:
    """The job, where its present rate is what it is served for: an instance is bought for it now,
    or it is up. Of one that was found up the journal may be lost, and no other rate is known: else
    it would be served at any lower one that comes to hold later."""
    job = view.head
    if job is None or not (buys or (view.ours and view.up)):
        return None
    return None if view.terms.is_over(job, int(now)) else job
