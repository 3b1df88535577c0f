"""Reads what the chain says of some jobs, at one block and in few calls, and makes their views.

Cost: one exchange for the blocks, one batch for the jobs at the head; and only where something
irreversible may follow, one batch at the finalized block and one at a second endpoint.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from agent.decide.job_view import (
    FinalView,
    ImagePhase,
    ImageView,
    JobView,
    Probe,
    WitnessPhase,
    parse_instance_type,
)
from agent.decide.lifecycle import needs_final
from agent.load.fleet import Fleet
from agent.load.remembered import JobMemory, Memory
from agent.market.model import BlockRef, Job, JobId
from agent.market.terms import Terms
from agent.ports import Account, Blocks, Clock, Cloud, Market, Witness
from cloud.model import EnclaveRoom, Region
from faults import Refused, RetryLater

log = structlog.get_logger()

FIRST_PART = 8  # jobs: a read that small is not slower than one of a single job
LARGEST_PART = 512  # jobs: what is under way beside the turn gets its turn in between
TERMS_SECONDS = 300.0  # no market changes its parameters often; a resync reads them anew


@dataclass(frozen=True, slots=True)
class Sources:
    """Where views come from."""

    account: Account
    market: Market
    witness: Witness | None
    cloud: Cloud
    fleet: Fleet
    memory: Memory
    clock: Clock
    regions: tuple[Region, ...]


@dataclass(frozen=True, slots=True)
class Frame:
    """What all views of one turn share, however many reads they take."""

    blocks: Blocks
    terms: Terms


class Loader:
    """`load` makes views; parameters and what enclaves get on a type are kept in between."""

    def __init__(self, sources: Sources) -> None:
        self._from = sources
        self._terms: tuple[float, Terms] | None = None
        self._rooms: dict[tuple[str, str], EnclaveRoom | str] = {}
        self.blocks: Blocks | None = None

    async def frame(self) -> Frame:
        """The blocks to read at, and the parameters. Raises RetryLater."""
        blocks = await self._from.market.blocks()
        self.blocks = blocks
        return Frame(blocks, await self.terms(blocks.head))

    async def load(
        self, ids: Sequence[JobId], frame: Frame, *, drained: bool, doubt: bool
    ) -> list[JobView]:
        """One view a job, all at the frame's head. Raises RetryLater: the chain can't be read."""
        blocks, terms = frame.blocks, frame.terms
        heads = await self._from.market.jobs(ids, blocks.head)
        await self._learn_rooms(heads)
        views = [
            self._view(job, heads.get(job), blocks.head, terms, drained=drained, doubt=doubt)
            for job in ids
        ]
        return await self._with_finals(views, blocks.final)

    async def terms(self, at: BlockRef) -> Terms:
        """The market's parameters, read again every few minutes. Raises RetryLater."""
        now = self._from.clock.now()
        if self._terms is None or now - self._terms[0] > TERMS_SECONDS:
            self._terms = (now, await self._from.market.terms(at))
        return self._terms[1]

    def _view(
        self,
        job: JobId,
        head: Job | None,
        block: BlockRef,
        terms: Terms,
        *,
        drained: bool,
        doubt: bool,
    ) -> JobView:
        known = self._from.memory.job(job)
        if head is not None and not known.image.is_of(head.enclave_url):
            self._forget_image(known)
        room = self._room(head)
        self._note_gone(known, head)
        return JobView(
            id=job,
            account=self._from.account,
            terms=terms,
            head_block=block,
            head=head,
            hosts=self._from.fleet.hosts(job),
            observed=self._from.fleet.observed(self._regions(head, known)),
            image=known.image,
            launch=known.launch,
            transactions=dict(known.transactions),
            room=room if isinstance(room, EnclaveRoom) else None,
            room_refused=room if isinstance(room, str) else "",
            facts=self._from.memory.facts(job, drained=drained),
            doubt=doubt,
        )

    def renewed(self, known: JobMemory, view: JobView, *, drained: bool) -> JobView:
        """The last view with what has become known beside the chain since; nothing is read."""
        return replace(
            view,
            hosts=self._from.fleet.hosts(known.id),
            observed=self._from.fleet.observed(self._regions(view.head, known)),
            image=known.image,
            launch=known.launch,
            transactions=known.transactions,
            facts=self._from.memory.facts(known.id, drained=drained),
        )

    def _note_gone(self, known: JobMemory, head: Job | None) -> None:
        if (
            head is not None
            and not head.is_stopped
            and head.provider == self._from.account.provider
        ):
            known.gone_since = None
        elif known.gone_since is None:
            known.gone_since = self._from.clock.now()

    def _forget_image(self, known: JobMemory) -> None:
        """A reorganisation made the id another job: nothing proven of the old image counts."""
        if known.image.phase is ImagePhase.FETCHING:
            return
        known.image = ImageView()
        for host in self._from.fleet.hosts(known.id):
            record = self._from.fleet.record(host.instance.id)
            if record is not None:
                self._from.fleet.probed(record, Probe())

    def _regions(self, head: Job | None, known: JobMemory) -> Sequence[Region]:
        """Where the job's instances can be: the region of its type, or anywhere."""
        kind = parse_instance_type(head.instance_type) if head else None
        here = Region(kind.region) if kind else None
        return [here] if here is not None and here in self._from.regions else self._from.regions

    def _room(self, head: Job | None) -> EnclaveRoom | str | None:
        kind = parse_instance_type(head.instance_type) if head else None
        return self._rooms.get((kind.region, kind.ec2_type)) if kind else None

    def room_of(self, instance_type: str) -> EnclaveRoom | None:
        """What an enclave gets on a type, as far as it was asked."""
        kind = parse_instance_type(instance_type)
        found = self._rooms.get((kind.region, kind.ec2_type)) if kind else None
        return found if isinstance(found, EnclaveRoom) else None

    async def _learn_rooms(self, heads: Mapping[JobId, Job]) -> None:
        for text in {job.instance_type for job in heads.values()}:
            await self.learn_room(text)

    async def learn_room(self, instance_type: str) -> None:
        """Ask what an enclave gets on a type, once; a cloud that is silent is asked again."""
        kind = parse_instance_type(instance_type)
        if kind is None or kind.region not in self._from.regions:
            return
        key = (kind.region, kind.ec2_type)
        if key in self._rooms:
            return
        try:
            self._rooms[key] = await self._from.cloud.room(Region(kind.region), kind.ec2_type)
        except Refused as refused:
            self._rooms[key] = str(refused)
        except RetryLater as later:
            log.warning("type.unknown_yet", type=instance_type, error=str(later))

    async def _with_finals(self, views: list[JobView], final: BlockRef) -> list[JobView]:
        """Add the finalized block's word where something irreversible may depend on it."""
        now = self._from.clock.now()
        wanted = {view.id for view in views if needs_final(view, now)}
        if not wanted:
            return views
        jobs = await self._from.market.jobs(sorted(wanted), final)
        phase, witnessed = await self._ask_witness(sorted(wanted), final)
        return [
            replace(view, final=FinalView(final, jobs.get(view.id), phase, witnessed.get(view.id)))
            if view.id in wanted
            else view
            for view in views
        ]

    async def _ask_witness(
        self, ids: Sequence[JobId], final: BlockRef
    ) -> tuple[WitnessPhase, Mapping[JobId, Job]]:
        if self._from.witness is None:
            return WitnessPhase.ABSENT, {}
        try:
            return WitnessPhase.SPOKE, await self._from.witness.jobs(ids, final)
        except RetryLater as later:
            log.warning("witness.silent", error=str(later), jobs=len(ids))
            return WitnessPhase.SILENT, {}


def parts(ids: Sequence[JobId]) -> Iterator[Sequence[JobId]]:
    """All of `ids`, in parts that double: the first is read soon, all in few reads."""
    begun, size = 0, FIRST_PART
    while begun < len(ids):
        yield ids[begun : begun + size]
        begun, size = begun + size, min(2 * size, LARGEST_PART)
