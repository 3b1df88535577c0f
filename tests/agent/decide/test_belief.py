"""What is believed of a job when one of two endpoints lies: properties over any claim."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.decide.belief import (
    DISPUTE_SECONDS,
    HOLD_SECONDS,
    PATIENCE_SECONDS,
    Case,
    Heard,
    Past,
    believe,
    both_serve,
)
from agent.decide.unconfirmed_launches import BurstRules, Standing, Wish, admits
from agent.market.model import BlockNumber, BlockRef, Job, JobStatus, StopReason, Wei
from agent.market.testimony import Disagreement, Story, compare
from agent.markets.registry.terms import RegistryTerms
from faults import RetryLater
from tests.agent.samples import JOB, OTHER, REGISTRY, US

pytestmark = pytest.mark.unit

TERMS = RegistryTerms(Wei(100), 600, 900, 300, 2)
TRUE = JOB
NOW = float(TRUE.assigned_at + 100)
AT = BlockRef(BlockNumber(9), "0x" + "ab" * 32, TRUE.assigned_at + 90)


def _stopped(job: Job) -> Job:
    return replace(
        job,
        status=JobStatus.STOPPED,
        stop_reason=StopReason.USER_REQUEST,
        stopped_at=job.assigned_at,
    )


LIES: list[Job | None] = [
    None,
    _stopped(TRUE),
    replace(TRUE, provider=OTHER),
    replace(
        TRUE, started_at=TRUE.assigned_at + 1, status=JobStatus.RUNNING, endpoint="192.0.2.1:1"
    ),
    replace(TRUE, generation=TRUE.generation + 1),
    replace(TRUE, enclave_url="ipfs://another"),
    replace(TRUE, user=REGISTRY),
]
lies = st.sampled_from(LIES)


def case(claim: Job | None, **more: object) -> Case:
    return Case(claim, TERMS, US, NOW, **more)  # type: ignore[arg-type]  # fields by name


@given(lie=lies)
def test_claim__against_what_is_known__is_not_believed_on_one_word(lie: Job | None) -> None:
    belief = believe(case(lie, known=TRUE))
    assert (belief.job, belief.agreed, belief.asks) == (TRUE, False, True)


@given(lie=lies, first=st.booleans(), claims=st.booleans(), known=st.booleans())
def test_two_stories__whoever_claims_them__nothing_is_agreed_and_something_is_served(
    lie: Job | None, first: bool, claims: bool, known: bool
) -> None:
    stories = (lie, TRUE) if first else (TRUE, lie)
    heard = Heard(AT, stories)
    belief = believe(
        case(lie if claims else TRUE, known=TRUE if known else None, heard=heard, watched=True)
    )
    assert not belief.agreed
    assert belief.asks
    assert belief.job is not None
    assert belief.job.provider == US
    if known:
        assert belief.job == TRUE


@given(told=lies)
def test_claim__that_two_tell__is_believed_whatever_was_known(told: Job | None) -> None:
    belief = believe(case(told, known=TRUE, heard=Heard(AT, (told,))))
    assert (belief.job, belief.agreed) == (told, True)


@given(lie=lies)
def test_claim__while_the_second_is_silent_for_long__is_believed_and_never_agreed(
    lie: Job | None,
) -> None:
    belief = believe(case(lie, known=TRUE, since=NOW - PATIENCE_SECONDS - 1))
    assert (belief.job, belief.agreed) == (lie, False)


def test_claim__of_another_job_under_the_id__holds_for_a_while() -> None:
    another = replace(TRUE, enclave_url="ipfs://another")
    assert believe(case(another, known=TRUE)).hold
    later = believe(case(another, known=TRUE, since=NOW - HOLD_SECONDS - 1))
    assert (later.job, later.hold) == (another, False)


@given(waited=st.floats(0, 10 * PATIENCE_SECONDS), known=st.booleans())
def test_claim__of_another_job__of_what_no_fork_can_have_changed__is_never_believed(
    waited: float, known: bool
) -> None:
    another, past = replace(TRUE, enclave_url="ipfs://another"), Past.told(TRUE, NOW)
    told = case(another, known=TRUE if known else None, past=past, since=NOW - waited)
    belief = believe(replace(told, settled=True))
    assert not belief.agreed
    assert belief.hold or belief.job == TRUE


@given(waited=st.floats(0, PATIENCE_SECONDS), known=st.booleans())
def test_claim__of_another_job_each_time__while_the_other_tells_what_was_known__is_not_believed(
    waited: float, known: bool
) -> None:
    another, last = (replace(TRUE, enclave_url=f"ipfs://{one}") for one in ("one", "two"))
    heard, past = Heard(AT, (last, TRUE)), Past.told(TRUE, NOW)
    told = case(another, known=TRUE if known else None, past=past, since=NOW - waited, heard=heard)
    belief = believe(told)
    assert (belief.job, belief.hold, belief.disputed) == (TRUE, False, True)


@pytest.mark.parametrize("denial", [None, _stopped(TRUE), replace(TRUE, provider=OTHER)])
def test_claim__of_another_job__is_not_taken_back_by_denying_the_job(denial: Job | None) -> None:
    """Or the image of before a fork would be reported as what is newly assigned."""
    another = replace(TRUE, enclave_url="ipfs://another")
    told = case(denial, known=TRUE, since=NOW - 1, meanwhile=another)
    assert believe(told).hold
    later = believe(replace(told, since=NOW - HOLD_SECONDS - 1))
    assert (later.job, later.hold, later.agreed) == (another, False, False)
    assert believe(replace(told, meanwhile=None)).job == TRUE
    both = Heard(AT, (denial,))
    assert believe(replace(told, heard=both)).agreed


@pytest.mark.parametrize("lie", [_stopped(TRUE), replace(TRUE, provider=OTHER)])
def test_claim__told_otherwise_each_time__is_disputed_as_its_last_story_was(lie: Job) -> None:
    """Who changes his story with each look is never compared in time, and the other endpoint is
    not silent for that: forty jobs of such a one were bought when the wait for it was over."""
    both = Heard(AT, (replace(TRUE, escrow=Wei(1)), None))
    new = believe(case(TRUE, heard=both))
    assert (new.job, new.disputed, new.agreed) == (TRUE, True, False)
    assert (new.asks, new.other) == (True, None)
    foreign = Heard(AT, (replace(TRUE, escrow=Wei(1)), replace(TRUE, provider=OTHER)))
    assert believe(case(TRUE, heard=foreign)).other == replace(TRUE, provider=OTHER)
    told = case(lie, known=TRUE, since=NOW - PATIENCE_SECONDS - 1, heard=both)
    assert (believe(told).job, believe(told).disputed) == (TRUE, True)
    ago = Heard(replace(AT, timestamp=AT.timestamp - int(DISPUTE_SECONDS)), both.stories)
    assert (believe(replace(told, heard=ago)).job, believe(case(TRUE, heard=ago)).disputed) == (
        lie,
        False,
    )
    assert not believe(case(TRUE, heard=Heard(AT, (None,)))).disputed


def test_claim__of_a_new_job__is_believed_at_once_and_asked_about() -> None:
    belief = believe(case(TRUE))
    assert (belief.job, belief.asks, belief.hold) == (TRUE, True, False)


def test_stories__after_a_restart__the_journals_is_preferred() -> None:
    another = replace(TRUE, enclave_url="ipfs://another")
    past = Past(TRUE.generation, TRUE.assigned_at, TRUE.instance_type, TRUE.enclave_url)
    assert believe(case(another, past=past)).hold
    belief = believe(case(another, past=past, heard=Heard(AT, (another, TRUE))))
    assert (belief.job, belief.other) == (TRUE, another)


def test_stories__one_endpoint_was_believed_meanwhile__the_journals_is_preferred_all_the_same() -> (
    None
):
    another = replace(TRUE, enclave_url="ipfs://another")
    past = Past(TRUE.generation, TRUE.assigned_at, TRUE.instance_type, TRUE.enclave_url)
    both = Heard(AT, (another, TRUE))
    belief = believe(case(another, known=another, past=past, heard=both))
    assert (belief.job, belief.other) == (TRUE, another)
    newer = replace(TRUE, generation=TRUE.generation + 1)  # of which the journal knows nothing
    belief = believe(case(newer, known=newer, past=past, heard=Heard(AT, (newer, another))))
    assert belief.job == newer


@pytest.mark.parametrize("first", [False, True])
def test_stories__a_later_generation_was_believed_first__the_journals_is_preferred(
    first: bool,
) -> None:
    """What was believed right after the start is the liar's own word, and counts for nothing."""
    later = replace(TRUE, generation=TRUE.generation + 1)
    past = Past(TRUE.generation, TRUE.assigned_at, TRUE.instance_type, TRUE.enclave_url)
    heard = Heard(AT, (later, TRUE) if first else (TRUE, later))
    for claim in (later, TRUE):
        assert believe(case(claim, known=later, past=past, heard=heard)).job == TRUE


@given(lie=lies, first=st.booleans())
def test_stories__that_want_the_same_served__confirm_a_purchase_and_no_others_do(
    lie: Job | None, first: bool
) -> None:
    heard = Heard(AT, (lie, TRUE) if first else (TRUE, lie))
    serves = lie is not None and lie.provider == US and not lie.is_stopped
    same = lie is not None and lie.enclave_url == TRUE.enclave_url
    assert both_serve(case(TRUE, heard=heard)) is (serves and same)
    assert not both_serve(case(TRUE))


def test_stories__one_is_to_be_refused__the_other_is_served() -> None:
    denied = replace(TRUE, user=REGISTRY)
    belief = believe(
        case(denied, heard=Heard(AT, (denied, TRUE)), unfit=lambda job: job.user == REGISTRY)
    )
    assert belief.job == TRUE


def test_compare__two_of_three__decide_and_one_of_two_does_not() -> None:
    stories = [
        Story(AT, BlockNumber(9), TERMS, {TRUE.id: job} if job else {})
        for job in (None, TRUE, TRUE)
    ]
    assert compare(AT, [TRUE.id], stories, of=3).jobs == {TRUE.id: (TRUE,)}
    assert compare(AT, [TRUE.id], stories[:2], of=2).jobs == {TRUE.id: (None, TRUE)}
    with pytest.raises(RetryLater):
        compare(AT, [], stories[:1], of=2)
    moved = replace(stories[0], block=replace(AT, timestamp=AT.timestamp + 1))
    with pytest.raises(Disagreement):
        compare(AT, [], [moved, stories[1]], of=2)


def test_launch__on_one_word__is_one_of_a_few_or_waits() -> None:
    few = BurstRules().unconfirmed
    alone = Wish(agreed=False, disputed=False, waited_enough=False)
    assert admits(alone, Standing(few - 1, few), BurstRules()) == ""
    assert admits(alone, Standing(few, few), BurstRules())
    assert admits(replace(alone, agreed=True), Standing(few, few), BurstRules()) == ""
    patient = replace(alone, waited_enough=True)
    assert admits(patient, Standing(few, few, 20), BurstRules()) == ""
    assert admits(patient, Standing(few, 21, 20), BurstRules())
    denied = replace(patient, disputed=True)
    assert admits(denied, Standing(few, few, 20), BurstRules())
    assert admits(denied, Standing(few, 2 * few, 20, proven=few), BurstRules()) == ""
    assert admits(denied, Standing(2 * few, 3 * few, 20, proven=few), BurstRules())
