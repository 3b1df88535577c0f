"""Is an enclave alive? A verdict from three witnesses, none of which is enough alone.

What counts is the attestation endpoint, asked as an auditor would. The host's heartbeat and EC2's
status checks say where the trouble is: in the enclave (restart it) or under it (replace the
instance). One missed answer is nothing. When a large part of everything that was asked lately
does not answer, the observer is doubted before anybody's enclave is touched.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from agent.decide.job_view import Host, Observed
from agent.market.workload import Workload
from cloud.model import InstanceState

ASKED_AGAIN = 2  # of the pauses between two questions: by then each silent one was asked again


@dataclass(frozen=True, slots=True)
class HealthRules:
    """Seconds, and counts of answers missed in a row."""

    probe_seconds: float = 300.0
    retry_seconds: float = 20.0  # after a missed answer; N of these pass before a restart
    misses: int = 4
    catch_up_seconds: float = 60.0  # in which a new process asks all enclaves that run already
    heartbeat_seconds: float = 180.0
    start_seconds: float = 600.0  # what a replacement has to come up in
    restart_seconds: float = 180.0  # what a restarted enclave has to answer in
    impaired_seconds: float = 300.0  # EC2's checks fail though it answers: five of them in a row
    stable_seconds: float = 3600.0  # a run this long earns the host another restart
    replace_backoff_seconds: float = 600.0  # doubles with each replacement
    max_backoff_seconds: float = 6 * 3600.0
    doubt_share: float = 0.5
    doubt_jobs: int = 3  # fewer ill jobs than this never raise the doubt
    doubt_seconds: float = 300.0  # how long the observer is doubted before it is believed
    doubt_window_seconds: float = 120.0


class Verdict(StrEnum):
    WELL = "well"
    COMING = "coming"  # started anew, still within its time
    ILL = "ill"  # something is missed, not often enough to act
    ENCLAVE_DEAD = "enclave dead"
    HOST_DEAD = "host dead"
    LEAVING = "leaving"  # it answers, but EC2 will take its machine away or says that it fails


@dataclass(frozen=True, slots=True)
class Judgement:
    """The verdict, why, and whether it rests on this agent's own eyes (and can be doubted)."""

    verdict: Verdict
    why: str
    doubtful: bool = True
    alone: bool = (
        False  # its host and EC2 both say that it runs: it may be this agent that is cut off
    )


_STOPPED = frozenset({InstanceState.STOPPED, InstanceState.STOPPING})


def judge(host: Host, observed: Observed, now: float, rules: HealthRules) -> Judgement:
    """What is the matter with a host that is meant to serve a started job."""
    if host.instance.state in _STOPPED:
        return Judgement(Verdict.HOST_DEAD, f"EC2 says {host.instance.state}", doubtful=False)
    if host.status is not None and host.status.phase == "failed":
        return _failed(host, now, rules)
    if host.status is None or host.status.phase != "running":
        return _coming(host, observed, rules)
    if restarts(host.run) and host.status.run_id != host.run:
        return _unheeded(host, observed, now, rules)
    if host.probe.failures == 0:
        return _answering(host, now, rules)
    if host.unhealthy_since is not None:  # two witnesses: nothing to wait for
        return _silent(host, observed, now, rules)
    if host.probe.failures < rules.misses:
        return Judgement(Verdict.ILL, f"{host.probe.failures} answers missed in a row")
    return _silent(host, observed, now, rules)


def _answering(host: Host, now: float, rules: HealthRules) -> Judgement:
    """All is well as far as it answers; EC2 may know more of its machine."""
    ending, since = host.instance.ending, host.unhealthy_since
    if ending is not None:
        when = f"not before {clock_time(ending.at)}"
        return Judgement(Verdict.LEAVING, f"EC2 announces {ending.code}, {when}", doubtful=False)
    if since is not None and now - since >= rules.impaired_seconds:
        why = f"EC2's status checks have failed since {clock_time(since)}"
        return Judgement(Verdict.LEAVING, why, doubtful=False)
    return Judgement(Verdict.WELL, "")


def clock_time(at: float) -> str:
    """A time for people, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _coming(host: Host, observed: Observed, rules: HealthRules) -> Judgement:
    """Nothing runs on it yet, or nothing any more; how long was that so when it was last seen?"""
    if host.unhealthy_since is not None:
        return Judgement(Verdict.HOST_DEAD, "EC2's status checks fail, and its enclave is not up")
    since = max(host.instance.launched_at, host.probe.restarted_at or 0.0)
    if host.status is not None:
        since = max(since, host.status.phases.get(host.status.phase, 0.0))
    waited = min((observed.reports_at or since) - since, host.known_seconds)
    if waited < rules.start_seconds:
        return Judgement(Verdict.COMING, "its enclave is not up yet")
    phase = host.status.phase if host.status else "not booted"
    return Judgement(Verdict.HOST_DEAD, f"{phase} for {rules.start_seconds:.0f} s and more")


def _failed(host: Host, now: float, rules: HealthRules) -> Judgement:
    """The host gave up on its enclave: its own word, which needs no doubt.

    What it says of the run before is old when it was told to start another and may not have read
    that yet.
    """
    if host.status is not None and host.status.run_id != host.run and restarting(host, now, rules):
        return Judgement(Verdict.COMING, "restarted, not up yet", doubtful=False)
    error = (host.status.last_error if host.status else None) or "no reason given"
    verdict = Verdict.ENCLAVE_DEAD if may_restart(host, now, rules) else Verdict.HOST_DEAD
    return Judgement(verdict, f"the host gave up: {error}", doubtful=False)


def _unheeded(host: Host, observed: Observed, now: float, rules: HealthRules) -> Judgement:
    """A restart was ordered, and the host's last word is of the run before it."""
    if host.unhealthy_since is not None:
        return Judgement(Verdict.HOST_DEAD, "a restart unheeded, and EC2's status checks fail")
    if heartbeat_stale(host, observed, rules):
        return Judgement(Verdict.HOST_DEAD, "a restart unheeded, and the host's heartbeat stopped")
    if restarting(host, now, rules):
        return Judgement(Verdict.COMING, "a restart was ordered")
    return Judgement(Verdict.HOST_DEAD, f"a restart unheeded for {rules.restart_seconds:.0f} s")


def _silent(host: Host, observed: Observed, now: float, rules: HealthRules) -> Judgement:
    """The enclave does not answer; is it the enclave, or what it runs on?"""
    missed = f"{host.probe.failures} answers missed in a row"
    if host.unhealthy_since is not None:
        return Judgement(Verdict.HOST_DEAD, f"{missed}, and EC2's status checks fail")
    if heartbeat_stale(host, observed, rules):
        return Judgement(Verdict.HOST_DEAD, f"{missed}, and the host's heartbeat stopped")
    if restarting(host, now, rules):
        return Judgement(Verdict.COMING, "restarted, not answering yet")
    if may_restart(host, now, rules):
        return Judgement(Verdict.ENCLAVE_DEAD, missed)
    return Judgement(Verdict.HOST_DEAD, f"{missed}, after a restart too", alone=True)


def silent_since(host: Host, observed: Observed) -> float:
    """When it last answered, or was last given time to; unix seconds."""
    return max(host.probe.passed_at or 0.0, host.probe.restarted_at or 0.0, observed.since or 0.0)


def heartbeat_stale(host: Host, observed: Observed, rules: HealthRules) -> bool:
    """Whether the mailbox was read and the host's last word in it is old, by the clock and by the
    looks in which nothing new was there: a clock that jumps makes nobody silent."""
    if observed.reports_at is None:
        return False
    last = host.written_at if host.written_at is not None else host.instance.launched_at
    quiet = min(observed.reports_at - last, host.quiet_seconds)
    return quiet > rules.heartbeat_seconds


def restarting(host: Host, now: float, rules: HealthRules) -> bool:
    """Whether the present run is so young that silence says nothing yet."""
    if restarts(host.run) == 0:
        return False
    if host.status is None or host.status.run_id != host.run:
        return now - (host.probe.restarted_at or now) < rules.restart_seconds
    begun = min(host.status.phases.values(), default=0.0)
    return now - max(begun, host.probe.restarted_at or 0.0) < rules.restart_seconds


def may_restart(host: Host, now: float, rules: HealthRules) -> bool:
    """Once an instance, and again whenever a run has lasted; else the host is the problem."""
    if host.status is None:
        return False
    begun = host.status.phases.get("running") if host.status.run_id == host.run else None
    lasted = begun is not None and now - begun >= rules.stable_seconds
    return restarts(host.run) == 0 or lasted


_RUN = re.compile(r"g(\d+)a(\d+)r(\d+)(?:p([0-9a-f]{8})c([0-9a-f]{8}))?\Z")


def run_id(generation: int, attempt: int, restart: int, workload: Workload | None = None) -> str:
    """Names one run of an enclave; the host echoes it, so the count of restarts is never lost.

    Where the market says what is run and in what, the name says that too: once it is another
    workload, it is another run.
    """
    run = f"g{generation}a{attempt}r{restart}"
    return run if workload is None else f"{run}p{workload.place}c{workload.content}"


def runs_other(run: str | None, workload: Workload) -> bool:
    """Whether a run is of another workload than this, by its own name."""
    match = _RUN.match(run or "")
    return match is None or (match[4], match[5]) != (workload.place, workload.content)


def runs_elsewhere(run: str | None, workload: Workload) -> bool:
    """Whether a run is of an enclave of another size or family: its host can't be changed to it."""
    match = _RUN.match(run or "")
    return match is not None and match[4] != workload.place


def names_of(run: str | None) -> tuple[str, str] | None:
    """The workload's place and content that a run's name tells; None: it tells none."""
    match = _RUN.match(run or "")
    return (match[4], match[5]) if match is not None and match[4] else None


def restarts(run: str | None) -> int:
    """How often the agent restarted the enclave on this host, from the run's own name."""
    match = _RUN.match(run or "")
    return int(match[3]) if match else 0


def next_probe_at(host: Host, rules: HealthRules, since: float | None = None) -> float:
    """When to ask the enclave again (unix seconds); 0: at once.

    `since` is when this process first looked at the region. Who ran then already is asked within
    `catch_up_seconds`, and the second time at a moment of its own within the next
    `probe_seconds`: thousands are not asked at once, now or ever after, and none is asked less
    often than each `probe_seconds`.
    """
    asked, share = host.probe.asked_at, _share(host)
    found_running = since is not None and host.instance.launched_at < since
    if asked is None:
        return since + share * rules.catch_up_seconds if found_running and since else 0.0
    if host.probe.failures:
        return asked + rules.retry_seconds
    again = asked + rules.probe_seconds
    if not found_running or since is None:
        return again
    own = since + rules.catch_up_seconds + share * rules.probe_seconds
    return min(again, own) if asked < own else again


def _share(host: Host) -> float:
    """From 0 to 1, evenly spread over instances and always the same for one."""
    return zlib.crc32(host.instance.id.encode()) / (1 << 32)


def backoff_until(launched: Iterable[float], rules: HealthRules) -> float:
    """Before when no further replacement is bought, from the launches of this generation.

    One launch, the first replacement is free; each further one waits twice as long.
    """
    times = sorted(launched)
    if len(times) < 2:
        return 0.0
    wait = rules.replace_backoff_seconds * 2.0 ** min(len(times) - 2, 20)
    return times[-1] + min(wait, rules.max_backoff_seconds)


@dataclass(frozen=True, slots=True)
class Answers:
    """How the enclaves that were asked within the window answered."""

    asked: int
    ill: int


@dataclass(frozen=True, slots=True)
class Doubt:
    """Since when the observer is doubted, and since when no more; None: it was not."""

    since: float | None = None
    over_at: float | None = None

    def holds(self, now: float, rules: HealthRules) -> bool:
        """Whether nobody's enclave is touched on this agent's own word just now.

        When it is over, what was missed meanwhile says nothing: all who seem silent are asked once
        more first.
        """
        if self.over_at is not None:
            return now - self.over_at < ASKED_AGAIN * rules.retry_seconds
        return self.since is not None and now - self.since < rules.doubt_seconds


def reconsider(doubt: Doubt, answers: Answers, now: float, rules: HealthRules) -> Doubt:
    """Raise the doubt when much looks dead at once, drop it when that is over. One that comes back
    before it was dropped is the same doubt, so that it lasts no longer for coming and going."""
    many = answers.ill >= rules.doubt_jobs and answers.ill > rules.doubt_share * answers.asked
    if many and doubt.over_at is not None and doubt.holds(now, rules):
        return replace(doubt, over_at=None)
    if many:
        return Doubt(now) if doubt.since is None or doubt.over_at is not None else doubt
    if doubt.over_at is None and doubt.holds(now, rules):
        return replace(doubt, over_at=now)
    return doubt if doubt.holds(now, rules) else Doubt()
