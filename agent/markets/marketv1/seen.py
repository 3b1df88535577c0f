"""What is remembered of MarketV1's ids, and how far a count of them is believed.

`jobIndex` is one node's word. A false one of 10^9 would have as many ids read, and a mark at it
would hide every job that is opened below it afterwards. So a look reads freely up to what two
endpoints say (with one: up to what it said first, and as much more as a chain can open in the time
since), goes on beyond only while what it reads are jobs, and never further than `MOST_A_LOOK`. What
is left is read in the next looks, the oldest first: the truth of a node lies below its lies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from agent.market.model import BlockRef, Job, JobId, Price

MOST_JOBS = 1 << 40  # ids are kept as 64-bit numbers; the live contract counts from 0
# Ids that were opened within so many blocks are looked at again: a fork may have given them away.
RESCAN_BLOCKS = 1_000
AGAIN = 10_000  # ids: what ten jobs a block come to in so many blocks
# jobOpen writes some ten slots, about 250,000 gas; Arbitrum sustains 7 million gas a second, so
# that a chain which does nothing else opens 28. What is really opened faster is read all the same.
OPENED_A_SECOND = 30
# Who was settled so long ago was opened before that, and so was every id below: no fork gives those
# away. Ethereum is final after two epochs, 13 minutes, and so are rollups whose batches it has.
OLD_SECONDS = 3_000
# A listing takes a reader's word of a job to serve that is no older, by the chain's time: the agent
# reads each anew within half of that, and to list one that is closed since costs one look at it.
FRESH_SECONDS = 600
# Jobs that ran dry stay open for ever, and who opens one with nothing in it pays a cent or two. An
# event tells of the one that is paid for again; that it was missed is found out by turns.
DRY_A_LOOK = 1_000  # 20 exchanges
AHEAD = 100  # ids: the block that is read may be some newer than a second endpoint's newest
MOST_A_LOOK = 50_000  # ids: 500 exchanges, some ten seconds at 50 a second


@dataclass(frozen=True, slots=True)
class Mark:
    """At `block` the ids below `count` had been read; `proven` is after the last that was a job.

    A count that was too high is seen when a later one is lower. Then `proven` is what is left.
    """

    block: int
    count: int
    proven: int

    def at_most(self, count: int) -> Mark:
        """What of it holds where there are so many."""
        return self if self.count <= count else replace(self, count=min(self.count, self.proven))


@dataclass(frozen=True, slots=True)
class Base:
    """So many jobs there were at a second of the chain, by whom one goes."""

    count: int
    second: int

    def grown(self, at: BlockRef) -> int:
        """How many there can be by that block."""
        return self.count + AHEAD + OPENED_A_SECOND * max(0, at.timestamp - self.second)


@dataclass(frozen=True, slots=True)
class Reach:
    """Which ids a look reads: from `first`, freely up to `free`, never from `last` on."""

    first: int
    free: int
    last: int

    def goes_on(self, read: int, *, found: bool) -> bool:
        """Whether to go on at id `read`; `found`: there were jobs among those read just before."""
        return read < self.last and (read < self.free or found)


@dataclass(slots=True)
class Seen:
    """What is remembered of ids, by everybody who reads for one provider.

    `marks`: how far each reader has read; `ours` are the ids that any reader said are ours, `last`
    our jobs as they were last seen open; `over`: for each reader, since which block it has said of
    ours that they are closed, or another provider's. `agreed` is what two endpoints told of the
    count, `alone` what each reader told. `taken`: the rates at which this provider took jobs.
    `old`: below which id each reader told of old jobs; `heard`: what it told of ours, and when.
    """

    ours: set[JobId] = field(default_factory=set)
    last: dict[JobId, Job] = field(default_factory=dict)
    marks: dict[str, list[Mark]] = field(default_factory=dict)
    over: dict[str, dict[JobId, int]] = field(default_factory=dict)
    agreed: Base | None = None
    alone: dict[str, Base] = field(default_factory=dict)
    taken: dict[JobId, Price] = field(default_factory=dict)
    old: dict[str, int] = field(default_factory=dict)
    heard: dict[str, dict[JobId, tuple[int, Job]]] = field(default_factory=dict)

    def hear(self, reader: str, at: BlockRef, job: Job) -> None:
        """What this reader told of a job of ours, and at which second of the chain."""
        self.heard.setdefault(reader, {})[job.id] = (at.timestamp, job)

    def fresh(self, reader: str, at: BlockRef, ids: Sequence[JobId]) -> dict[JobId, Job]:
        """Those of these that it told of lately, as it did."""
        told = self.heard.get(reader, {})
        known = ((number, told[number]) for number in ids if number in told)
        return {
            number: job
            for number, (second, job) in known
            if 0 <= at.timestamp - second < FRESH_SECONDS
        }

    def waiting(self, reader: str, ids: Sequence[JobId], paid: Callable[[Job], bool]) -> set[JobId]:
        """Those of these that are not paid for by what it told, but the DRY_A_LOOK whose turn it
        is: of which it told the longest ago."""
        told = self.heard.get(reader, {})
        dry = [number for number in ids if number in told and not paid(told[number][1])]
        return set(sorted(dry, key=lambda number: told[number][0])[DRY_A_LOOK:])

    # Which of ours to read.

    def to_read(self, reader: str, at: BlockRef, count: int) -> list[JobId]:
        """Those of ours that this reader has to be asked of: one that is over only until no fork
        can open it again."""
        done = self.over.get(reader, {})
        over = {job for job, block in done.items() if block <= at.number - RESCAN_BLOCKS}
        return sorted(job for job in self.ours - over if job < count)

    def note_over(self, reader: str, at: BlockRef, jobs: Mapping[JobId, Job], ours: str) -> None:
        """What this reader says at that block of ids of ours, which is provider `ours`."""
        done = self.over.setdefault(reader, {})
        for number, job in jobs.items():
            if job.is_stopped or job.provider != ours:
                done.setdefault(number, at.number)
            else:
                done.pop(number, None)

    # How far to read.

    def surprising(self, count: int) -> bool:
        """Whether it is more than two endpoints told of."""
        return self.agreed is None or count > self.agreed.count + AHEAD

    def agree(self, count: int, at: BlockRef) -> None:
        """Two endpoints tell of so many at least. A count never falls, but for forks."""
        if self.agreed is None or count >= self.agreed.count:
            self.agreed = Base(count, at.timestamp)

    def told(self, reader: str, at: BlockRef, count: int) -> None:
        """It tells of so many: what it told first, and what can have come since, is its base."""
        before = self.alone.get(reader)
        if before is None or count <= before.grown(at):
            self.alone[reader] = Base(count, at.timestamp)
        marks = self.marks.get(reader, [])
        self.marks[reader] = [mark.at_most(count) for mark in marks]

    def reach(self, reader: str, at: BlockRef, count: int) -> Reach:
        """How far this reader is followed now, who has `told` of so many."""
        base, first = self.agreed or self.alone[reader], min(self.first_unread(reader, at), count)
        free = max(base.grown(at), self.read_by(reader) + 1)  # a batch of new ones in any case
        return Reach(first, free, min(count, first + MOST_A_LOOK))

    # How far it was read.

    def first_unread(self, reader: str, at: BlockRef) -> int:
        """From which id on this reader has to be asked again: those that a fork may have given
        away since, and those that it was not asked for."""
        marks = self.marks.get(reader, [])
        settled = [mark.count for mark in marks if mark.block <= at.number - RESCAN_BLOCKS]
        old = min(self.old.get(reader, 0), self.read_by(reader))
        return max(*settled, self.read_by(reader) - AGAIN, old)

    def read_by(self, reader: str) -> int:
        """Below which id it was asked for all, once at least."""
        return max((mark.count for mark in self.marks.get(reader, [])), default=0)

    def told_old(self, reader: str, number: int) -> None:
        """This reader told a time of this id at which it was settled, OLD_SECONDS ago or more."""
        self.old[reader] = max(self.old.get(reader, 0), number + 1)

    def proven(self, reader: str) -> int:
        """The id after the last that this reader told a job of."""
        return max((mark.proven for mark in self.marks.get(reader, [])), default=0)

    def read_up_to(self, reader: str, at: BlockRef, count: int, proven: int) -> None:
        """Keeps the newest mark that no fork reaches, and what came after it."""
        marks = [mark for mark in self.marks.get(reader, []) if mark.block < at.number]
        old = [mark for mark in marks if mark.block <= at.number - RESCAN_BLOCKS]
        new = [mark for mark in marks if mark.block > at.number - RESCAN_BLOCKS]
        # A look a minute leaves a mark each; those between are not needed to know where to begin.
        self.marks[reader] = [*old[-1:], *new[:1], Mark(at.number, count, proven)]
