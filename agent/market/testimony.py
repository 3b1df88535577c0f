"""What several endpoints say of the same block, and what of it two of them tell alike.

Values and one comparison, for whoever asks more than one endpoint. Which statements need two
voices, and what is done until there are, is `agent.decide.who_must_agree`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from agent.market.model import Address, BlockNumber, BlockRef, Job, JobId
from agent.market.terms import Terms
from faults import RetryLater

T = TypeVar("T")

VOICES = 2  # that must tell the same, of however many are configured


class Disagreement(RetryLater):
    """Two endpoints tell different things of one block; do nothing that can't be undone."""


@dataclass(frozen=True, slots=True)
class Story:
    """What one endpoint says as of one block. `block` is what it has under that number, `final`
    the newest block that it holds for final; ids that it does not know are left out of `jobs`."""

    block: BlockRef
    final: BlockNumber
    terms: Terms
    jobs: Mapping[JobId, Job]


@dataclass(frozen=True, slots=True)
class Testimony:
    """What two endpoints or more say as of block `at`, which two of them have.

    Of parameters and each job: one value where two tell the same, else the different ones; None
    stands for "no such job". `final`: two hold the block for final.
    """

    at: BlockRef
    final: bool
    terms: tuple[Terms, ...]
    jobs: Mapping[JobId, tuple[Job | None, ...]]

    @property
    def disputed(self) -> bool:
        """Whether a third endpoint could decide something."""
        return len(self.terms) > 1 or any(len(told) > 1 for told in self.jobs.values())


@dataclass(frozen=True, slots=True)
class FaultVote:
    """One auditor's report of an assignment, as a log has it."""

    job: JobId
    generation: int
    auditor: Address


@dataclass(frozen=True, slots=True)
class Listing:
    """What one endpoint says is there, as of its own newest block: the provider's active jobs,
    the jobs that logs since the last time named, and how many jobs the stake is for (None: this
    market locks none)."""

    at: BlockRef
    active: frozenset[JobId]
    named: frozenset[JobId]
    stake_is_for: int | None


def compare(at: BlockRef, ids: Sequence[JobId], stories: Sequence[Story], of: int) -> Testimony:
    """What the stories of so many configured endpoints (`of`) come to.

    Raises Disagreement: some have another block there. RetryLater: too few answer.
    """
    needed = min(VOICES, of)
    if len(stories) < needed:
        raise RetryLater(f"{len(stories)} of {of} RPC endpoints answer at block {at}; two must")
    same = [story for story in stories if story.block == at]
    if len(same) < needed:
        raise Disagreement(f"endpoints disagree about block {at}: {_blocks(stories)}")
    return Testimony(
        at=at,
        final=sum(story.final >= at.number for story in same) >= needed,
        terms=_told((story.terms for story in same), needed),
        jobs={job: _told((story.jobs.get(job) for story in same), needed) for job in ids},
    )


def alike(values: Sequence[T], about: str) -> T:
    """The one thing that two endpoints tell.

    Raises RetryLater: too few answer. Disagreement: no two tell the same.
    """
    if len(values) < VOICES:
        raise RetryLater(f"{len(values)} RPC endpoints tell {about}; two must")
    told = _told(values, VOICES)
    if len(told) > 1:
        raise Disagreement(f"RPC endpoints disagree about {about}")
    return told[0]


def _told(values: Iterable[T], needed: int) -> tuple[T, ...]:
    """The one that enough tell, or all that are told."""
    found = list(values)
    for value in found:
        if found.count(value) >= needed:
            return (value,)
    return tuple(value for place, value in enumerate(found) if value not in found[:place])


def _blocks(stories: Sequence[Story]) -> str:
    seen = (f"{story.block} of second {story.block.timestamp}" for story in stories)
    return ", ".join(dict.fromkeys(seen))
