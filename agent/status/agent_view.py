"""The agent as the status server shows it: one frozen view, from memory, at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import program
from agent.apply.bugs import Bug
from agent.decide.fault_reports import unexplained
from agent.decide.job_view import parse_instance_type
from agent.decide.listings import CLOSED
from agent.load.launch_trouble import Trouble
from agent.market.model import Price
from agent.market.terms import Abilities
from agent.markets.marketv1.cards import RateCard, TrafficRate
from agent.ports import Clock
from agent.status.explorer import Explorer
from agent.status.finding import Query
from agent.status.health import (
    RECENT_SECONDS,
    CallSeen,
    NodeSeen,
    OfferSeen,
    RegionSeen,
    Seen,
    judge,
)
from agent.status.job_rows import JobRows
from agent.status.money import Money
from agent.status.source import (
    CallRow,
    Census,
    ChainRow,
    Crowd,
    EndpointRow,
    JobRow,
    MarketRow,
    MoneyRow,
    TypeRow,
    View,
)
from agent.status.tally import Tally
from agent.status.upkeep import Upkeep
from agent.wiring.wired import Wired
from cloud.kinds import NotAllowed
from cloud.model import Region

_LEAVING = (
    "leaving the market: nothing is offered, every job is left; "
    "`oyster-provider exit --cancel` takes new jobs again"
)
_PAUSED = "paused: nothing is offered, running jobs stay; `oyster-provider resume` lists again"
_NOTICES = {"": (), "draining": (_LEAVING,), "paused": (_PAUSED,)}


class AgentView:
    """`StatusSource` over a running agent."""

    def __init__(
        self, world: Wired, money: Money, tally: Tally, upkeep: Upkeep, clock: Clock
    ) -> None:
        self._world = world
        self._tally = tally
        self._upkeep = upkeep
        self._figures = money
        self._clock = clock
        self._started_at = clock.now()
        self.rows = JobRows(world.state.world, clock, money.earned)

    def progress_at(self) -> float:
        """When the loop last finished a turn; its start counts as one."""
        return self._world.state.progress.finished_at or self._started_at

    def census(self) -> Census:
        return self.rows.census()

    def job(self, number: int) -> JobRow | None:
        return self.rows.one(number)

    def jobs(self) -> Iterator[JobRow]:
        return self.rows.all()

    def find(self, query: Query) -> Crowd:
        return self.rows.find(query)

    def summary(self) -> View:
        state, chain = self._world.state, self._world.chain
        return View(
            provider=str(self._world.state.sources.account.provider),
            registry=str(chain.market.contract),
            chain_id=chain.endpoints.chain_id,
            version=program.version(),
            started_at=self._started_at,
            progress_at=self.progress_at(),
            health=judge(self._seen()),
            notices=_NOTICES[state.closed],
            types=tuple(self._types()),
            chain=self._chain(),
            money=self._money(),
            regions=tuple(self._world.regions),
            held=len(state.held_jobs),
            reported=sum(
                known.view is not None and known.view.ours and bool(unexplained(known.view))
                for known in state.world.memory.jobs.values()
            ),
            disputed=sum(
                known.view is not None and known.view.disputed
                for known in state.world.memory.jobs.values()
            ),
            stands_by=state.leadership.stands_by,
            term=state.leadership.term or 0,
            closed=state.closed,
            market=MarketRow(
                self._abilities.has_stake, self._abilities.lists_on_chain, self._abilities.slashes
            ),
            explorer=Explorer.of(chain.endpoints.chain_id, self._world.config.status.explorer).base,
            aws_calls=tuple(self._calls()),
            aws_ahead_seconds=self._world.aws.clock_ahead(),
            file=self._upkeep.lines(),
            config=self._upkeep.place,
        )

    def card_files(self) -> tuple[Sequence[RateCard], Sequence[TrafficRate]]:
        files = self._world.cards.files
        if self._world.state.closed or not files.cards:
            return (), files.traffic
        own = self._world.state.offering.prices
        shown = (card for card in files.cards if str(card.instance_type) not in own)
        return [self._within(card) for card in shown if self._fits(card)], files.traffic

    def _fits(self, card: RateCard) -> bool:
        fleet, now = self._world.state.world.fleet, self._clock.now()
        kind = card.instance_type
        if fleet.unseen(Region(kind.region)) or fleet.trouble.of(kind, now) is not None:
            return False
        return self._world.state.offering.fits(str(kind))

    def _within(self, card: RateCard) -> RateCard:
        """No more than an enclave gets on the type, and whole cores of it, as far as that is known:
        tools write it into jobs, which are refused otherwise."""
        room = self._world.state.loader.room_of(str(card.instance_type))
        if room is None:
            return card
        cores = max(1, min(card.cpu, room.cpu_count) // room.threads_per_core)
        memory = min(card.memory_mib, room.memory_mib)
        return replace(card, cpu=cores * room.threads_per_core, memory_mib=memory)

    @property
    def _abilities(self) -> Abilities:
        return self._world.state.sources.market.abilities

    def _seen(self) -> Seen:
        """What health is judged by, from memory."""
        state, row, upkeep = self._world.state, self._figures.row, self._upkeep
        newest, sent = self._world.chain.followed.last, self._world.chain.transactions
        bugs = list(state.world.bugs.lately(self._clock.now()))
        return Seen(
            now=self._clock.now(),
            progress_at=self.progress_at(),
            stall_seconds=self._world.config.status.stall_seconds,
            started_at=self._started_at,
            resynced=state.progress.resynced_at is not None,
            chain_error=state.progress.chain_error,
            head_at=float(newest.block.timestamp) if newest else 0.0,
            final_at=float(newest.finalized.timestamp) if newest else 0.0,
            window_seconds=row.window_seconds,
            nodes=[
                NodeSeen(one.name, one.usable, one.error)
                for one in self._world.chain.endpoints.health()
            ],
            regions=[self._region(region) for region in self._world.regions],
            offers=[self._offer(each) for each in self._types()],
            closed=state.closed,
            journal=state.world.journal.degraded,
            journal_gone=upkeep.journal_gone,
            held=len(state.held_jobs),
            recent=self._tally.recent(RECENT_SECONDS),
            file=upkeep.lines(),
            broken=upkeep.fault,
            disk=upkeep.disk,
            other_agent_at=sent.others.noticed_at if sent else None,
            held_up=list(self._held_up()),
            gas_jobs=row.gas_jobs,
            signs=sent is not None,
            stake_jobs=stake_jobs(row.stake_jobs, state.offering.stake_left),
            has_stake=self._abilities.has_stake,
            leadership=state.leadership.words,
            stands_by=state.leadership.stands_by,
            aws_ahead=self._world.aws.clock_ahead(),
            bugs=[self._bug(one) for one in bugs if not one.wanting],
            unended=state.world.fleet.unended(),
            nameless=sorted(self._world.aws.nameless()),
            wanting=[self._bug(one) for one in bugs if one.wanting],
        )

    def _held_up(self) -> Iterator[CallSeen]:
        now, sent = self._clock.now(), self._world.chain.transactions
        for one in sent.held_up.lasting(now) if sent else ():
            yield CallSeen(one.call, one.why, now - one.since, one.urgent)

    def _bug(self, bug: Bug) -> str:
        wait = max(0.0, bug.retry_at - self._clock.now())
        return f"job {bug.job}: {bug}; tried again in {wait:.0f} s"

    def _region(self, region: Region) -> RegionSeen:
        fleet = self._world.state.world.fleet
        fault = fleet.faults.get(region)
        denied, said = isinstance(fault, NotAllowed), str(fault) if fault else ""
        look = fleet.observed([region])
        both = [at for at in (look.listed_at, look.reports_at) if at is not None]
        return RegionSeen(region, min(both) if len(both) == 2 else None, said, denied)

    def _offer(self, row: TypeRow) -> OfferSeen:
        token, offering = self._world.chain.payment, self._world.state.offering
        known = offering.desk.rooms.get(row.instance_type)
        wanted, listing = (
            "" if raw is None else Price(raw).text(token.decimals)
            for raw in (row.wanted, row.listing)
        )
        on_chain = self._abilities.lists_on_chain
        if not on_chain and not row.hidden:
            listing = wanted
        never = row.limited_by if known and known.never else ""
        unpriced = row.rule if row.rule and not wanted else ""
        full = row.limited_by if known and not known.more else ""
        why, trouble = offering.desk.withdrawn.get(row.instance_type), row.trouble or unpriced
        if why in CLOSED:
            trouble = trouble or "offers are open again, and it is listed at the next look"
        elif why is not None and not full:
            full = "until lately; it comes back by itself"
        return OfferSeen(
            row.instance_type,
            wanted,
            listing,
            trouble,
            never,
            row.blocked,
            full,
            row.margin,
            on_chain,
            unread=offering.listed is None,
        )

    def _trouble(self, name: str, now: float) -> Trouble | None:
        kind = parse_instance_type(name)
        return self._world.state.world.fleet.trouble.of(kind, now) if kind else None

    def _types(self) -> Iterator[TypeRow]:
        offering = self._world.state.offering
        desk, pricing = offering.desk, self._world.state.pricing
        rules = pricing.rules if pricing else {}
        for name in sorted({*offering.prices, *desk.listed, *desk.asked, *rules}):
            listing, wanted = desk.listed.get(name), offering.prices.get(name)
            price = listing or wanted
            room = offering.desk.rooms.get(name)
            trouble = self._trouble(name, self._clock.now())
            enclave = self._world.state.loader.room_of(name)
            on_chain = self._abilities.lists_on_chain
            full = bool(self._world.state.closed) or (room is not None and room.more <= 0)
            cost = self._upkeep.costs.get(name)
            yield TypeRow(
                instance_type=name,
                price=price.raw if price else 0,
                listed=name in offering.desk.listed if on_chain else not full,
                hidden=not on_chain and (full or enclave is None or price is None),
                more=room.more if room else 0,
                limited_by=room.limited_by if room else "",
                vcpus=enclave.cpu_count if enclave else 0,
                memory_mib=enclave.memory_mib if enclave else 0,
                architecture=enclave.architecture if enclave else "",
                network_mbps=enclave.network_mbps if enclave else 0,
                wanted=wanted.raw if wanted else None,
                listing=listing.raw if listing else None,
                ordered=name in desk.asked,
                trouble=desk.troubles.get(name, ""),
                blocked=trouble.reason if trouble else "",
                cost=cost.price.raw if cost and cost.price else None,
                margin=self._upkeep.margin(name, price) if price else None,
                rule=pricing.said(name) if pricing else "",
            )

    def _chain(self) -> ChainRow:
        rows = tuple(
            EndpointRow(one.name, one.usable, one.lag_blocks or 0, one.error)
            for one in self._world.chain.endpoints.health()
        )
        newest = self._world.chain.followed.last
        if newest is None:
            return ChainRow(endpoints=rows)
        head, final = newest.block, newest.finalized
        return ChainRow(head.number, float(head.timestamp), final.number, rows)

    def _money(self) -> MoneyRow:
        token = self._world.chain.payment
        jobs = self._world.state.world.memory.jobs.values()
        heads = [job.head for job in jobs if job.stage in ("running", "exiting", "ill")]
        rate = sum(head.price.raw for head in heads if head is not None)
        row = self._figures.row
        return replace(row, symbol=token.symbol, decimals=token.decimals, rate=rate)

    def _calls(self) -> Iterator[CallRow]:
        calls = self._world.aws.calls
        for region, call in sorted(calls.sent):
            place = (region, call)
            yield CallRow(region, call, calls.sent[place], calls.throttled[place])


def stake_jobs(figure: int | None, left: int | None) -> int | None:
    """How many more jobs the stake allows, by the last round over the offers where there was one.
    The figures are a minute old: who has just staked would be told to stake, beside a line that
    knows of it."""
    return figure if left is None else left
