"""The core is broken on purpose, and the tests that guard it fail: they are able to."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest

from agent.decide import bootstrap, ending
from agent.decide.bootstrap import Rules
from agent.decide.ending import Final
from agent.decide.job_view import JobView
from agent.decide.plan import Draft
from tests.agent.decide import test_plan_properties as properties
from tests.agent.loop import test_crash_matrix as matrix
from tests.agent.scripts import test_end, test_start

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("quiet")]

FOUND = (AssertionError, ExceptionGroup)  # hypothesis groups several counterexamples


def report_unproven(view: JobView, now: float, draft: Draft, rules: Rules) -> None:
    """Whoever has an address is reported, whatever it answered."""
    hosts = [host for host in view.live if host.instance.public_ip]
    if hosts:
        bootstrap._report(view, hosts[0], now, draft, rules)


def always_fresh() -> Callable[..., int]:
    """Every launch is another attempt, with a token of its own."""
    numbers = itertools.count(1)
    return lambda *_: next(numbers)


def at_once(*_: object) -> Final:
    """What the head says is taken for final."""
    return Final("the head says so")


def test_attestation_ignored__is_found_by_the_properties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_prove_and_report", report_unproven)
    with pytest.raises(FOUND):
        properties.test_plan__any_view__reports_only_what_proved_itself_in_time()


def test_attestation_ignored__is_found_by_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "_prove_and_report", report_unproven)
    with pytest.raises(AssertionError):
        test_start.test_report__nothing_attested__is_never_sent()


def test_attempt_always_fresh__is_found_by_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "next_attempt", always_fresh())
    with pytest.raises(AssertionError):
        test_start.test_launch__its_reply_lost_and_not_listed_yet__is_the_same_call_again()


def test_attempt_always_the_first__is_found_by_the_properties(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bootstrap, "next_attempt", lambda *_: 1)
    with pytest.raises(FOUND):
        properties.test_plan__any_view__launches_at_most_once_and_never_what_is_there()


def test_end_not_awaited__is_found_by_the_properties(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "final_reason", at_once)
    with pytest.raises(FOUND):
        properties.test_plan__any_view__terminates_for_the_chain_only_what_is_final()


def test_end_not_awaited__is_found_by_the_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "final_reason", at_once)
    with pytest.raises(AssertionError):
        test_end.test_job__stopped_by_its_user__ends_when_that_is_final()


def test_attempt_always_fresh__is_found_by_the_crash_matrix(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed when the launch was made, before EC2 lists it: the next process must say the same."""
    monkeypatch.setattr(matrix, "VISIBLE_SECONDS", 30.0)
    case = ("launch", "after", False)
    matrix.test_crash__at_any_effect__ends_in_the_same_state(*case)
    monkeypatch.setattr(bootstrap, "next_attempt", always_fresh())
    with pytest.raises(AssertionError):
        matrix.test_crash__at_any_effect__ends_in_the_same_state(*case)
