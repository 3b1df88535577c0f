"""What is heard of the chain: its head, the events about jobs, and what events alone tell."""

from __future__ import annotations

from collections.abc import Sequence

from agent.chain.events import EventReader
from agent.chain.head import HeadFollower, HeadTracker, Pace
from agent.config import Config
from agent.history.faults import FaultHistory
from agent.history.slashes import SlashHistory
from agent.load.fault_claims import FaultClaims
from agent.markets.wakes import ChainWakes
from agent.ports import Clock
from agent.wiring.adapters import finality_of
from agent.wiring.chain import Chain
from agent.wiring.journal import OpenJournal
from agent.wiring.markets import Events


def reader_of(config: Config, chain: Chain, watched: Events, topics: Sequence[str]) -> EventReader:
    """Reads the logs of these topics in ranges that nodes give."""
    return EventReader(
        chain.endpoints,
        chain.market.contract,
        topics,
        watched.jobs_in,
        config.chain.log_range_blocks,
    )


def wakes_of(config: Config, chain: Chain, clock: Clock, events: EventReader) -> ChainWakes:
    """What wakes the loop: new blocks, and what happens to jobs in them."""
    settings = config.chain
    sockets = [settings.ws_url.reveal()] if settings.ws_url else []
    follower = HeadFollower(chain.followed, clock, Pace(poll=settings.poll_seconds), sockets)
    return ChainWakes(follower, events)


def history_of(
    config: Config,
    chain: Chain,
    watched: Events,
    opened: OpenJournal,
    clock: Clock,
    claims: FaultClaims,
) -> SlashHistory:
    """Of what events alone tell: slashes and auditors' reports, or what was paid."""
    topic, noted_as = watched.history
    tracker = HeadTracker(chain.endpoints, finality_of(config))
    events = reader_of(config, chain, watched, [topic])
    kept = (opened.journal, clock, noted_as, opened.aside)
    if not watched.vote_topic:
        return SlashHistory(events, tracker, *kept)
    blocks = config.chain.log_range_blocks
    contract, topic = chain.market.contract, watched.vote_topic
    faults = FaultHistory(chain.endpoints, contract, topic, claims, blocks)
    return SlashHistory(events, tracker, *kept, also=faults.read)
