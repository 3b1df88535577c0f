"""Reads what the chain says of some jobs, at one block and in few calls, and makes their views.

Cost: one exchange for the blocks, one batch for the jobs at the head; and only where something
irreversible may follow, one batch at the finalized block. A second endpoint is asked beside the
turns (`agent.load.second_voices`): what it told is in the memory when the next one begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import structlog

from agent.decide.belief import Belief, Case, Past, believe, both_serve
from agent.decide.fault_reports import explained
from agent.decide.job_view import (
    FinalView,
    Host,
    ImagePhase,
    ImageView,
    JobView,
    Probe,
    TxPhase,
    WitnessPhase,
    parse_instance_type,
)
from agent.decide.lifecycle import needs_final
from agent.load.fleet import Fleet
from agent.load.remembered import JobMemory, Memory
from agent.load.second_voices import Asking
from agent.market.model import BlockNumber, BlockRef, Job, JobId
from agent.market.terms import Terms
from agent.ports import Account, Blocks, Call, Clock, Cloud, Market, Witness
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

    def __init__(
        self, sources: Sources, on_offer: Callable[[str], bool] = lambda instance_type: True
    ) -> None:
        self._from = sources
        self._on_offer = on_offer
        self._terms: tuple[float, Terms] | None = None
        self._rooms: dict[tuple[str, str], EnclaveRoom | str] = {}
        self.asking = Asking(sources.witness, sources.memory, sources.clock)

    async def frame(self) -> Frame:
        """The blocks to read at, and the parameters. Raises RetryLater."""
        blocks = await self._from.market.blocks()
        self.asking.blocks = blocks
        return Frame(blocks, await self.terms(blocks.head))

    @property
    def blocks(self) -> Blocks | None:
        """Those of the last frame."""
        return self.asking.blocks

    async def load(
        self,
        ids: Sequence[JobId],
        frame: Frame,
        *,
        drained: bool,
        doubt: bool,
        unfit: Callable[[JobView], bool] = lambda view: False,
    ) -> list[JobView]:
        """One view a job, all at the frame's head; `unfit` chooses between two endpoints' stories.

        Raises RetryLater: the chain can't be read.
        """
        blocks, terms = frame.blocks, frame.terms
        heads = await self._from.market.jobs(ids, blocks.head)
        await self._learn_rooms(ids, heads)

        def refused(job: Job) -> bool:
            return unfit(JobView(job.id, self._from.account, terms, blocks.head, job))

        views = [
            self._with_facts(
                self._view(job, self._believe(job, heads.get(job), frame, refused), frame),
                drained=drained,
                doubt=doubt,
            )
            for job in ids
        ]
        return await self._with_finals(views, blocks.final)

    def _with_facts(self, view: JobView, *, drained: bool, doubt: bool) -> JobView:
        now = self._from.clock.now()
        facts = self._from.memory.facts(view.id, view.head, now, drained=drained)
        return replace(view, facts=facts, doubt=doubt)

    async def terms(self, at: BlockRef) -> Terms:
        """The market's parameters, read again every few minutes: as two endpoints tell them, where
        there are two. Raises RetryLater."""
        now, memory = self._from.clock.now(), self._from.memory
        if self._terms is None or now - self._terms[0] > TERMS_SECONDS:
            self._terms = (now, await self._from.market.terms(at))
        told = self._terms[1]
        if self._from.witness is None:
            return told
        if told != memory.terms:
            self.asking.ask_terms()
        return memory.terms or reduce(lambda one, other: one.kinder(other), memory.terms_told, told)

    def _view(self, job: JobId, belief: Belief, frame: Frame) -> JobView:
        known, head, terms = self._from.memory.job(job), belief.job, frame.terms
        memory, alone = self._from.memory, self._from.witness is None
        if head is not None and not known.image.is_of(head.enclave_url):
            self._forget_image(known)
        self._explain(known)
        room = self._room(head)
        self._note_gone(known, head)
        return JobView(
            id=job,
            account=self._from.account,
            terms=terms,
            head_block=frame.blocks.head,
            head=head,
            hosts=self._from.fleet.hosts(job),
            observed=self._from.fleet.observed(self._regions(head, known)),
            image=known.image,
            launch=known.launch,
            transactions=dict(known.transactions),
            room=room if isinstance(room, EnclaveRoom) else None,
            room_refused=room if isinstance(room, str) else "",
            alone=alone,
            agreed=alone or (belief.agreed and memory.terms == terms),
            told_at=float((known.heard.at if known.heard else frame.blocks.head).timestamp),
            head_as_of=None if alone else known.believed_as_of,
            hold=belief.hold,
            disputed=belief.disputed,
            other=belief.other,
        )

    def _believe(
        self, job: JobId, claim: Job | None, frame: Frame, unfit: Callable[[Job], bool]
    ) -> Belief:
        """What to decide by; a second endpoint is asked where it takes one."""
        if self._from.witness is None:
            return Belief(claim, agreed=True)
        known = self._from.memory.job(job)
        case = self._case(known, claim, frame, unfit)
        belief = believe(case)
        self._note_belief(known, belief, claim, frame)
        self._note_alike(case, belief, known)
        self._note_difference(known, belief, case)
        if belief.asks:
            self.asking.ask([known.id])
        return belief

    def _case(
        self, known: JobMemory, claim: Job | None, frame: Frame, unfit: Callable[[Job], bool]
    ) -> Case:
        now, hosts = self._from.clock.now(), self._from.fleet.hosts(known.id)

        def reported(story: Job) -> bool:
            window = frame.terms.due(story).at - story.assigned_at
            return _reported(known, story, hosts, now - window)

        return Case(
            claim=claim,
            terms=frame.terms,
            provider=self._from.account.provider,
            now=now,
            known=known.believed,
            past=known.past,
            settled=self._settled(known, frame, now),
            heard=known.heard,
            since=known.differs_since,
            meanwhile=known.meanwhile,
            watched=known.watched or bool(hosts),
            reported=reported,
            unfit=unfit,
        )

    def _note_belief(
        self, known: JobMemory, belief: Belief, claim: Job | None, frame: Frame
    ) -> None:
        """What was decided by; while it is held back, what the first endpoint tells meanwhile."""
        if belief.hold:
            known.meanwhile = claim if self._serves(claim) else known.meanwhile
            return
        known.believed_as_of = self._as_of(known, belief.job, claim, frame)
        known.believed, known.meanwhile = belief.job, None

    @staticmethod
    def _note_difference(known: JobMemory, belief: Belief, case: Case) -> None:
        """Since when the first endpoint is not simply believed."""
        if belief.job == case.claim and not belief.hold:
            known.differs_since = None
        elif known.differs_since is None:
            known.differs_since = case.now

    @staticmethod
    def _settled(known: JobMemory, frame: Frame, now: float) -> bool:
        """Whether its assignment is beyond forks, as two told it and as it is believed to be."""
        past = known.alike
        if past is None or not past.is_settled(frame.blocks.final, now):
            return False
        return known.believed is None or past.is_of(known.believed, frame.terms)

    def _note_alike(self, case: Case, belief: Belief, known: JobMemory) -> None:
        """What two tell alike is remembered, from when they first did: it is what another story is
        measured by. What all of them would have served is confirmed, whatever else they differ
        in."""
        job, heard = belief.job, known.heard
        if job is None or heard is None or not self._serves(job):
            return
        told = (story.generation for story in heard.stories if story)
        if belief.agreed or (both_serve(case) and job.generation in told):
            known.confirmed = job.generation
        if belief.agreed and not (known.alike and known.alike.is_of(job, case.terms)):
            known.past = Past.told(job, max(case.now, heard.at.timestamp))

    @staticmethod
    def _as_of(
        known: JobMemory, told: Job | None, claim: Job | None, frame: Frame
    ) -> BlockNumber | None:
        """The block that tells the story: the newest, or an earlier one."""
        if told == claim:
            return frame.blocks.head.number
        if known.heard is not None and told in known.heard.stories:
            return known.heard.at.number
        return known.believed_as_of

    def _serves(self, job: Job | None) -> bool:
        ours = job is not None and job.provider == self._from.account.provider
        return ours and job is not None and not job.is_stopped

    def renewed(self, known: JobMemory, view: JobView, *, drained: bool) -> JobView:
        """The last view with what has become known beside the chain since; nothing is read."""
        return replace(
            view,
            hosts=self._from.fleet.hosts(known.id),
            observed=self._from.fleet.observed(self._regions(view.head, known)),
            image=known.image,
            launch=known.launch,
            transactions=known.transactions,
            facts=self._from.memory.facts(
                known.id, view.head, self._from.clock.now(), drained=drained
            ),
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

    def _explain(self, known: JobMemory) -> None:
        """Of auditors' reports that are news: whether what is seen here accounts for them."""
        if any(report.explained is None for report in known.reports):
            hosts = self._from.fleet.hosts(known.id)
            known.reports = tuple(
                report
                if report.explained is not None
                else replace(report, explained=explained(hosts, report.at))
                for report in known.reports
            )

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

    async def _learn_rooms(self, ids: Sequence[JobId], heads: Mapping[JobId, Job]) -> None:
        """Of every story that may be believed; of no type that is not on offer, since users may
        write any."""
        heard = (self._from.memory.known(job).heard for job in ids)
        stories = (story for one in heard if one for story in one.stories if story)
        for text in {job.instance_type for job in (*heads.values(), *stories)}:
            if self._on_offer(text):
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
        """Add the finalized block's word where something irreversible may depend on it. What was
        told for an end that is asked for no more is forgotten: where users can take an end back,
        a later one is another end."""
        now = self._from.clock.now()
        wanted = {view.id for view in views if needs_final(view, now)}
        for view in views:
            if view.id not in wanted:
                self._from.memory.job(view.id).final = None
        if not wanted:
            return views
        jobs = await self._from.market.jobs(sorted(wanted), final)
        return [
            replace(view, final=self._final(view, jobs.get(view.id), final))
            if view.id in wanted
            else view
            for view in views
        ]

    def _final(self, view: JobView, claim: Job | None, block: BlockRef) -> FinalView:
        """What several endpoints told of it at a final block; one's word while they did not."""
        if self._from.witness is None:
            return FinalView(block, claim, WitnessPhase.ABSENT)
        self.asking.ask_final([view.id])
        known = self._from.memory.job(view.id).final
        if known is not None and known.witness is WitnessPhase.SPOKE:
            return known
        return FinalView(block, claim, known.witness if known else WitnessPhase.SILENT)


def _reported(known: JobMemory, claim: Job, hosts: Sequence[Host], before: float) -> bool:
    """Whether its start is our own doing: our report is in a block, or it is where an instance of
    ours is, launched `before` its slash point passed. Anybody may know that address, its user
    above all: until then a report too many is better than one that is left out."""
    begins = f"{known.id}:{claim.generation}:{Call.REPORT_STARTED.value}:"
    sent = known.transactions.items()
    mined = any(key.startswith(begins) and tx.phase is TxPhase.MINED for key, tx in sent)
    if mined or known.start_mined == claim.generation:
        return True
    where = claim.endpoint.rpartition(":")[0]
    instances = (host.instance for host in hosts)
    return any(where and i.public_ip == where and i.launched_at <= before for i in instances)


def parts(ids: Sequence[JobId]) -> Iterator[Sequence[JobId]]:
    """All of `ids`, in parts that double: the first is read soon, all in few reads."""
    begun, size = 0, FIRST_PART
    while begun < len(ids):
        yield ids[begun : begun + size]
        begun, size = begun + size, min(2 * size, LARGEST_PART)
