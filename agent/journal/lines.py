"""What the journal holds, as values: lines of timelines and what is known of launches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.decide.job_view import LaunchPhase
from agent.market.model import JobId

# Lines that a later process reads back (`agent.loop.restore`, `agent.apply.listings`).
ASSIGNED = "job.assigned"
TAKEN = "job.taken"  # at this price, where its user may change that: told once
ATTESTED = "enclave.attested"  # an enclave of the job proved itself
START_MINED = "tx.report_started"  # our report of its start got into a block
CONFIRMED = "job.confirmed"  # two endpoints told alike that it is ours to serve
ENDED = "job.ended"  # the last line of a timeline: nothing of the job is left in AWS
END_ASKED = "end.asked"  # the chain asks for the end of the job's instances
END_TAKEN_BACK = "end.taken_back"  # and asks for it no more, while they live
WASTED = "job.wasted"  # something was launched for it, and it was never up; the text is its user
SLASHED = "job.slashed"  # the contract took StakePerJob; once a job at most
HELD = "breaker.held"
MARKET_SEEN = "market.seen"  # what of the market only its administrator can change, as agreed to
MARKET_CHANGED = "market.changed"  # the same, changed since: a person has to look
PAID = "job.paid"  # the contract paid us for the job; of markets that tell it by events alone
IMAGE_READY = "image.ready"  # it is here, verified and measured
IMAGE_PINNED = "image.pinned"  # what a URL without a digest led to first: this is what is run
OFFER_LISTED = "offer.listed"
OFFER_WITHDRAWN = "offer.withdrawn"
OFFER_PRICED = "offer.priced"  # a rule changed what is asked for a type
CARD = "offer.card"  # what a rate card asks of a type, where no chain lists it; "": nothing
COSTED = "offer.cost"  # what a type costs, and who says so: when it changed
OFFER_AGREED = "offer.agreed"  # what a person ordered of an offer is so: its `order` is done


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a timeline; `job` None is the agent's own."""

    at: float
    name: str
    job: JobId | None = None
    generation: int | None = None
    level: int = 20
    text: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LaunchRecord:
    """One thing known of one launch: the intent, later what came of it."""

    at: float
    job: JobId
    generation: int
    attempt: int
    region: str
    instance_type: str
    phase: LaunchPhase
    instance: str | None = None
    reason: str = ""
