"""What a takeover does next, from what is so: pure, so that whoever is interrupted begins again.

An instance of the old control plane goes when its job's own here has proven itself just now, or
when its job is over by all endpoints' word. Its addresses go after it. Everything else stays and is
shown.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.market.model import JobId
from cloud.ec2.elsewhere import Other, OtherAddress

JOB_TAG = "jobId"
# What the tags of the live market's control plane say of whose job it is, where they say it.
_OWNER_TAGS = ("operator", "contractAddress", "chainID")


class Standing(StrEnum):
    """How a job stands for this provider."""

    OURS_UP = "ours is up"  # and proved itself just now
    OURS_COMES = "ours comes up"
    REFUSED = "refused here"
    OVER = "over"
    STRANGE = "not ours"  # another provider's, or unknown to the chain


@dataclass(frozen=True, slots=True)
class JobStanding:
    """`says` is for people: where ours is, or why it is not."""

    standing: Standing
    says: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """What becomes of one old instance now."""

    old: Other
    job: JobId | None
    ends: bool
    why: str
    waits: bool = False  # looked at again: ours is coming up


@dataclass(frozen=True, slots=True)
class TakeoverPlan:
    """`released` are addresses to give back now; `unserved` are open, paid jobs that the old
    control plane runs nothing for."""

    lines: tuple[Line, ...]
    released: tuple[OtherAddress, ...]
    unserved: tuple[JobId, ...]

    @property
    def waits(self) -> bool:
        """Whether a later look may find more to do."""
        return any(line.waits or line.ends for line in self.lines) or bool(self.released)


def job_in(tags: Mapping[str, str]) -> JobId | None:
    """The job that tags name: 32 bytes of hex, or a decimal number."""
    text = tags.get(JOB_TAG, "")
    if re.fullmatch(r"0x[0-9a-fA-F]{1,64}", text):
        return JobId(int(text, 16))
    return JobId(int(text)) if re.fullmatch(r"[0-9]{1,20}", text, re.ASCII) else None


def of_owner(tags: Mapping[str, str], operator: str, contract: str, chain_id: int) -> bool:
    """Whether tags that say whose job it is say this provider's on this market; which of them are
    not there say nothing."""
    wanted = dict(zip(_OWNER_TAGS, (operator, contract, str(chain_id)), strict=True))
    return all(tags[name].lower() == wanted[name].lower() for name in _OWNER_TAGS if name in tags)


def plan_takeover(
    instances: Iterable[Other],
    addresses: Iterable[OtherAddress],
    standings: Mapping[JobId, JobStanding],
    paid: Collection[JobId],
) -> TakeoverPlan:
    """`standings` are of the jobs that tags name, `paid` are all open and paid jobs of ours."""
    listed = list(instances)
    lines = tuple(_line(one, job_in(one.tags), standings) for one in listed if one.there)
    gone = {one.id for one in listed if not one.there}
    served = {line.job for line in lines}
    released = tuple(one for one in addresses if _to_release(one, gone, standings))
    unserved = tuple(sorted(job for job in paid if job not in served))
    return TakeoverPlan(lines, released, unserved)


def _line(old: Other, job: JobId | None, standings: Mapping[JobId, JobStanding]) -> Line:
    known = standings.get(job) if job is not None else None
    if job is None or known is None:
        return Line(old, job, ends=False, why="its tags name no job")
    ends = known.standing in (Standing.OURS_UP, Standing.OVER)
    why = f"{known.standing}{': ' if known.says else ''}{known.says}"
    return Line(old, job, ends, why, waits=known.standing is Standing.OURS_COMES)


def _to_release(
    one: OtherAddress, gone: Collection[str], standings: Mapping[JobId, JobStanding]
) -> bool:
    """An address on nothing, or on an old instance that is gone, of a job that is served from here
    or over. One on an instance that is not listed here is somebody's."""
    job = job_in(one.tags)
    known = standings.get(job) if job is not None else None
    done = known is not None and known.standing in (Standing.OURS_UP, Standing.OVER)
    return done and (not one.instance or one.instance in gone)


def in_words(plan: TakeoverPlan) -> Sequence[str]:
    """A line for each thing."""
    found = []
    for line in plan.lines:
        job = "no job" if line.job is None else f"job {line.job}"
        act = "end it" if line.ends else "keep it"
        found.append(f"{line.old.region} {line.old.id} ({job}): {act}, {line.why}")
    found += [f"{one.region} {one.ip}: release it, its instance is gone" for one in plan.released]
    return found
