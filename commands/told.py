"""Jobs as chain and journal tell them together.

A market may forget a job that was closed, and may keep no sum of what a job was paid, nor when it
began: what the chain has not is the journal's here, and what neither has is said to be unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.chain.rpc import NodeRefused
from agent.history.earnings import EARNINGS_READ
from agent.journal.lines import ASSIGNED, ATTESTED, ENDED, PAID, Event, LaunchRecord
from agent.journal.reading import Reader
from agent.market.model import ZERO_ADDRESS, BlockNumber, Job, JobId, Price, Settlement
from agent.wiring.adapters import known_deployment
from commands.context import Desk, Standing
from faults import RetryLater, TryElsewhere

REFUSED = "job.refused"
LEAST_RANGE = 1_000  # blocks; a node that searches fewer is not asked on
MOST_RANGES = 200


@dataclass(frozen=True, slots=True)
class Told:
    """`earned` by the block, in base units (None: no node tells), settled or not; `refused` is why
    the job is not served, in the agent's words; `awaited`: the journal knows it taken and not up,
    of which such a market says nothing."""

    job: Job
    earned: int | None
    refused: str = ""
    awaited: bool = False


async def tell(
    desk: Desk, standing: Standing, reader: Reader, jobs: Iterable[Job]
) -> dict[JobId, Told]:
    """These jobs, by their ids. Raises RetryLater: the journal's file is held."""
    known = {job.id: job for job in jobs}
    launched = reader.launches(list(known))
    refused = _refusals(reader, launched)
    if standing.abilities.keeps_sums:
        return {n: Told(job, _summed(desk, standing, job), refused.get(n, "")) for n, job in
                known.items()}  # fmt: skip
    lines = _Lines(reader)
    paid = await _settled(desk, standing, reader, known)
    found = {}
    for number, job in known.items():
        # One that runs goes on as it was when its user writes what nobody can serve.
        why = refused.get(number, "") or ("" if number in launched else job.unreadable)
        # What its user owes a job that is not served is nobody's earning until somebody settles it.
        open_ = 0 if why else standing.terms.earned(job, standing.at.timestamp)
        earned = None if paid is None else paid.get(number, 0) + open_
        found[number] = Told(lines.complete(desk, job), earned, why, lines.awaits(number))
    return found


def _summed(desk: Desk, standing: Standing, job: Job) -> int | None:
    """What the present assignment came to; of somebody else's, the chain's sum is not ours."""
    ours = job.provider == desk.provider
    return standing.terms.earned(job, standing.at.timestamp) if ours else None


def _refusals(
    reader: Reader, launches: Mapping[JobId, Sequence[LaunchRecord]]
) -> Mapping[JobId, str]:
    """The last refusal of each that nothing was launched for since."""
    newest = {job: max(each.at for each in found) for job, found in launches.items()}
    return {
        job: event.text
        for job, event in reader.last(REFUSED).items()
        if event.at > newest.get(job, 0.0)
    }


class _Lines:
    """The journal's lines that stand for what such a market does not keep."""

    def __init__(self, reader: Reader) -> None:
        self._assigned = reader.last(ASSIGNED)
        self._ended = reader.last(ENDED)
        self._proven: dict[JobId, Event] = {}
        for event in reader.named(ATTESTED):
            if event.job is not None:
                self._proven.setdefault(event.job, event)

    def awaits(self, job: JobId) -> bool:
        return job in self._assigned and job not in self._proven

    def complete(self, desk: Desk, job: Job) -> Job:
        """With its opening and its start; a closed one, and one whose metadata names nothing any
        more, with what it was."""
        began, up = self._assigned.get(job.id), self._proven.get(job.id)
        opened = began.fields.get("assigned_at") if began else None
        found = replace(
            job,
            assigned_at=int(opened) if isinstance(opened, int | float) else job.assigned_at,
            started_at=int(up.at) if up else 0,
        )
        if began is None:
            return found
        if job.provider != ZERO_ADDRESS:
            kind = job.instance_type or str(began.fields.get("instance_type", ""))
            return replace(found, instance_type=kind)
        ended = self._ended.get(job.id)
        return replace(
            found,
            provider=desk.provider,
            instance_type=str(began.fields.get("instance_type", "")),
            enclave_url=str(began.fields.get("url", "")),
            price=_price(began) or job.price,
            stopped_at=int(ended.at) if ended else 0,
        )


def _price(began: Event) -> Price | None:
    """What it paid when it was taken; older lines do not say."""
    text = str(began.fields.get("price", ""))
    return Price(int(text)) if text.isascii() and text.isdigit() else None


async def _settled(
    desk: Desk, standing: Standing, reader: Reader, jobs: Mapping[JobId, Job]
) -> Mapping[JobId, int] | None:
    """What settlements paid for each by the block the jobs are as of: the journal's lines, and the
    chain's events since the block up to which those are whole. None: no node searches so far."""
    told = {
        (event.job, str(event.fields.get("tx"))): int(event.fields.get("amount", 0))
        for event in reader.named(PAID)
        if _settled_by(event, jobs)
    }
    noted, known = reader.own(EARNINGS_READ), known_deployment(desk.config)
    begins = known.first_block if known else 0
    first = int(noted[-1].fields["block"]) + 1 if noted else begins
    try:
        found = await read_settlements(desk, standing, sorted(jobs), first)
    except (NodeRefused, RetryLater, TryElsewhere):
        return None
    told |= {(each.job, each.transaction): int(each.amount) for each in found}
    sums: dict[JobId, int] = {}
    for (job, _), amount in told.items():
        if job is not None:
            sums[job] = sums.get(job, 0) + amount
    return sums


def _settled_by(event: Event, jobs: Mapping[JobId, Job]) -> bool:
    """Whether the job, as it was read, knows of that settlement: the agent may have heard of one
    that is newer, whose money is in the job's unsettled part still."""
    job = None if event.job is None else jobs.get(event.job)
    return job is not None and (job.is_stopped or event.at <= job.settled_until)


async def read_settlements(
    desk: Desk, standing: Standing, jobs: Sequence[JobId], first: int
) -> list[Settlement]:
    """The settlements of these jobs to this provider from block `first` on, in ranges as wide as
    the node takes. Raises NodeRefused: it takes none that would come to an end."""
    found: list[Settlement] = []
    last = standing.at.number
    width = last - first + 1
    while jobs and first <= last:
        to = replace(standing.at, number=BlockNumber(min(last, first + width - 1)))
        try:
            found += await desk.reads.settlements(jobs, desk.provider, first, to)
        except NodeRefused:
            width //= 2
            if width < LEAST_RANGE or (last - first) // width > MOST_RANGES:
                raise
            continue
        first = to.number + 1
    return found
