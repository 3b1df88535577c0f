"""What is believed of a job: one endpoint's claim at the head, or what was known before it.

A claim that leads to nothing but what can be undone is believed at once. One that would lead to an
end, an exit or a report left out (`agent.decide.who_must_agree`) is believed when a second endpoint
tells the same; until then what was known stands. Where two tell different stories, the one by which
there is a job to serve is acted on, as far as that can be undone: a lie costs an instance for a
while there, and the stake the other way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from agent.clock import passed
from agent.decide.who_must_agree import TABLE, Statement, Until, needs_two
from agent.market.model import Address, BlockRef, Job
from agent.market.terms import Terms
from enclave.web.image_url import told as shown_url

HOLD_SECONDS = 20.0  # for which nothing is done about an id that seems to be another job now
DISPUTE_SECONDS = 300.0  # for which a story that one endpoint changes once more is still disputed
PATIENCE_SECONDS = 1800.0  # a second endpoint that is silent for so long is no reason any more


@dataclass(frozen=True, slots=True)
class Heard:
    """What several endpoints told of a job at a block: one story where two agree."""

    at: BlockRef
    stories: tuple[Job | None, ...]

    @property
    def agreed(self) -> bool:
        return len(self.stories) == 1


@dataclass(frozen=True, slots=True)
class Past:
    """An assignment as two endpoints told it alike at `alike_at` (unix seconds), or as an earlier
    process wrote it down when it first saw it; of the URL, what may be shown."""

    generation: int
    assigned_at: int
    instance_type: str
    enclave_url: str
    alike_at: float | None = None

    @classmethod
    def told(cls, job: Job, at: float) -> Past:
        """As two endpoints told it alike."""
        shown = shown_url(job.enclave_url)
        return cls(job.generation, job.assigned_at, job.instance_type, shown, at)

    def is_settled(self, final: BlockRef, now: float) -> bool:
        """Whether no fork can have made another job of it since two told it. One that did while it
        was not final was read, and believed, before that is final which came so much later."""
        if self.alike_at is None:
            return False
        is_final = final.timestamp >= self.alike_at + 2 * HOLD_SECONDS
        return is_final or passed(now, self.alike_at, PATIENCE_SECONDS)

    def is_of(self, job: Job, terms: Terms) -> bool:
        """Where users may change a job, its generation alone says so."""
        if terms.abilities.changes_in_place:
            return job.generation == self.generation
        told = (job.generation, job.assigned_at, job.instance_type, shown_url(job.enclave_url))
        return told == (self.generation, self.assigned_at, self.instance_type, self.enclave_url)


@dataclass(frozen=True, slots=True)
class Case:
    """One job at one moment (`now`, unix seconds).

    `known` is what was believed before, None where nothing was, and `past` what two told of it or
    the journal has; `settled`: no fork can have made another job of that. `since` is when the claim
    began to differ, and `meanwhile` what other job the id was told to be since. `watched`: there is
    more to it than this claim (an instance, another endpoint's list).
    Of a story, `reported` says whether its start is our own doing, and `unfit` whether the policy
    would refuse it.
    """

    claim: Job | None
    terms: Terms
    provider: Address
    now: float
    known: Job | None = None
    past: Past | None = None
    settled: bool = False
    heard: Heard | None = None
    since: float | None = None
    meanwhile: Job | None = None
    watched: bool = False
    reported: Callable[[Job], bool] = lambda job: False
    unfit: Callable[[Job], bool] = lambda job: False


@dataclass(frozen=True, slots=True)
class Belief:
    """`job` is what to decide by. `agreed`: two endpoints tell exactly that. `asks`: a second one
    should be asked. `hold`: nothing should be done about it for now. `disputed`: endpoints differ,
    and `other` is the story that is not believed."""

    job: Job | None
    agreed: bool = False
    asks: bool = False
    hold: bool = False
    disputed: bool = False
    other: Job | None = None


def believe(case: Case) -> Belief:
    """What to decide by, and whether a second endpoint has to be asked."""
    heard = case.heard if case.heard and case.claim in case.heard.stories else None
    if heard is not None and heard.agreed:
        return Belief(case.claim, agreed=True, asks=_outdated(case, heard))
    said = statements(case)
    if heard is None and case.meanwhile and said & {Statement.GONE, Statement.ENDED}:
        # What it denies now it told a moment ago: that is newer than what was known before.
        return believe(replace(case, claim=case.meanwhile, meanwhile=None))
    serious = frozenset(filter(needs_two, said))
    gone = serious <= {Statement.GONE, Statement.ENDED}
    if serious and gone and not (_serves(case.known, case) or case.watched):
        return Belief(case.claim)  # it never was ours, and nobody says that it is
    if heard is not None:
        return _disputed(case, heard)
    if not serious:
        return _in_dispute(case, Belief(case.claim, asks=Statement.ASSIGNED in said))
    return _in_dispute(case, _waiting(case, serious))


def both_serve(case: Case) -> bool:
    """Whether by all that endpoints tell there is the same to be served here, whatever else they
    differ in: what is bought by one story serves the other."""
    stories = case.heard.stories if case.heard else ()
    serving = [story for story in stories if story and _serves(story, case)]
    wanted = {(story.instance_type, story.enclave_url) for story in serving}
    return len(serving) == len(stories) and len(wanted) == 1


def statements(case: Case) -> frozenset[Statement]:
    """What the claim says that was not known."""
    claim, known = case.claim, case.known
    if claim is None or claim.provider != case.provider:
        return frozenset({Statement.GONE})
    if case.terms.is_over(claim, int(case.now)):
        return frozenset({Statement.ENDED})
    if known is None or not _serves(known, case):
        if known is None and case.past and _contradicts(claim, case.past, case):
            return frozenset({Statement.ANOTHER})
        starts_are_told = case.terms.abilities.reports_start
        foreign_start = starts_are_told and claim.is_started and not case.reported(claim)
        return frozenset({Statement.STARTED if foreign_start else Statement.ASSIGNED})
    if not is_same(claim, known, case.terms):
        return frozenset({Statement.ANOTHER})
    if claim.is_started and not known.is_started:
        return frozenset() if case.reported(claim) else frozenset({Statement.STARTED})
    if known.is_started and not claim.is_started:
        return frozenset({Statement.NOT_STARTED})
    return frozenset() if claim.is_started else frozenset({Statement.ASSIGNED})


def _contradicts(claim: Job, past: Past, case: Case) -> bool:
    """Whether it is another job than the past has; what one alone told of a generation says nothing
    of a later one."""
    same = claim.generation == past.generation or past.alike_at is not None
    return same and not past.is_of(claim, case.terms)


def is_same(one: Job | None, other: Job | None, terms: Terms) -> bool:
    """Whether two stories of a job are of one assignment: where users may change a job, only whose
    it is has to be the same."""
    if one is None or other is None:
        return one is other
    return _assignment(one, terms) == _assignment(other, terms)


def _assignment(job: Job, terms: Terms) -> tuple[object, ...]:
    if terms.abilities.changes_in_place:
        return (job.user, job.provider, job.generation)
    return (
        job.user, job.provider, job.generation, job.assigned_at,
        job.instance_type, job.enclave_url, job.price,
    )  # fmt: skip


def _serves(job: Job | None, case: Case) -> bool:
    """Whether, by this story, there is something for us to serve."""
    if job is None or job.provider != case.provider:
        return False
    return not case.terms.is_over(job, int(case.now))


def _outdated(case: Case, heard: Heard) -> bool:
    """At the slash point the chain's own time counts, too: two have to have got there."""
    job = case.claim
    if job is None or job.is_started or job.is_stopped:
        return False
    return case.now >= case.terms.due(job).at > heard.at.timestamp


def _disputed(case: Case, heard: Heard) -> Belief:
    serving = [story for story in heard.stories if story and _serves(story, case)]
    serving.sort(key=lambda story: _doubtful(story, case))
    job = serving[0] if serving else case.claim
    other = next((story for story in heard.stories if story != job), None)
    return Belief(job, asks=True, disputed=True, other=other)


def _was_disputed(case: Case) -> bool:
    """Whether another endpoint contradicted the last story of it lately: who tells it otherwise
    each time is never compared in time, and the other one is not silent for that."""
    heard = case.heard
    return (
        heard is not None
        and not heard.agreed
        and abs(case.now - heard.at.timestamp) < DISPUTE_SECONDS
    )


def _in_dispute(case: Case, belief: Belief) -> Belief:
    """The same, but for what the others told lately against it, who are asked again."""
    if not _was_disputed(case):
        return belief
    stories = case.heard.stories if case.heard else ()
    others = (each for each in stories if not is_same(each, belief.job, case.terms))
    return replace(belief, asks=True, disputed=True, other=next(others, None))


def _doubtful(story: Job, case: Case) -> tuple[bool, ...]:
    """The order in which to prefer stories by which there is something to serve: what two told of
    it once, what can be served at all, what was known before, what we started ourselves, what is
    left to start. A job that runs may be unfit by now: by that it is no other one."""
    own = story.is_started and case.reported(story)
    alike = case.past is not None and case.past.alike_at is not None
    other = not is_same(story, case.known, case.terms)
    return (
        alike and not _was(story, case), case.unfit(story), not _was(story, case), other, not own,
        story.is_started,
    )  # fmt: skip


def _was(story: Job, case: Case) -> bool:
    """Whether it is of the assignment that was known before: what two told, or an earlier process
    wrote down, counts before what this one believed of a single endpoint."""
    if case.past is not None:
        return case.past.is_of(story, case.terms)
    return is_same(story, case.known, case.terms)


def _waiting(case: Case, serious: frozenset[Statement]) -> Belief:
    """The second endpoint has not been heard of this claim."""
    waited = 0.0 if case.since is None else max(0.0, case.now - case.since)
    known = case.known if _serves(case.known, case) else None
    if {TABLE[one].until for one in serious} == {Until.KNOWN_BRIEFLY}:
        return _another(case, known, serious, waited)
    if known and (waited < PATIENCE_SECONDS or _was_disputed(case)):
        return Belief(known, asks=True)
    return Belief(case.claim, asks=True)


def _another(case: Case, known: Job | None, serious: frozenset[Statement], waited: float) -> Belief:
    """A fork may have made another job of it, or its first seconds' start undone: for a while
    nothing is done. Not while another endpoint tells what was known, whatever else this one makes
    up each time; nor ever of what no fork can have changed."""
    told = _told_as_before(case, known)
    if told is not None:
        return Belief(told, asks=True)
    settled = case.settled and Statement.ANOTHER in serious
    if settled and known is not None:
        return Belief(known, asks=True)
    hold = settled or waited < HOLD_SECONDS
    return Belief(known if hold and known else case.claim, asks=True, hold=hold)


def _told_as_before(case: Case, known: Job | None) -> Job | None:
    """What an endpoint told lately against another one, if that is what was known before."""
    stories = case.heard.stories if case.heard and _was_disputed(case) else ()
    for story in stories:
        if story is None or not _serves(story, case):
            continue
        same = is_same(story, known, case.terms) if known else bool(case.past) and _was(story, case)
        if same and (story.is_started or known is None or not known.is_started):
            return story
    return None
