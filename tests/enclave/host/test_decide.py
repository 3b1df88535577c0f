"""The host's decisions, and a host's whole life against a model of a machine that misbehaves."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from enclave.host.decide import (
    MOST_FAILURES,
    Observed,
    Plan,
    Tries,
    decide,
    enclave_name,
    failed,
    noticed,
    started,
)
from enclave.host.documents import Desired, DocumentRefused, Egress, Port, Status
from enclave.host.lingering import BOOTING_SECONDS, Lingering, Lingers
from enclave.host.model import Allocate, Allocation, Enclave, Install, Run, Terminate

pytestmark = pytest.mark.unit

DESIRED = Desired("run-1", "a" * 64, 1000, 2, 512)
NAME = enclave_name(DESIRED)
READY = Observed(tools=True, image=True, allocation=Allocation(2, 512), enclaves=())
WELL_AFTER = 600.0


def enclave(name: str = NAME, state: str = "RUNNING", id: str = "e-1") -> Enclave:
    return Enclave(id, name, 16, state, 2, 512)


@pytest.mark.parametrize(
    ("seen", "plan"),
    [
        (READY, Plan("starting", Run(NAME, DESIRED))),
        (replace(READY, image=False), Plan("fetching", None, fetch=True)),
        (
            replace(READY, image=False, allocation=Allocation(0, 0)),
            Plan("fetching", Allocate(2, 512), fetch=True),
        ),
        (replace(READY, tools=False, image=False), Plan("fetching", Install(), fetch=True)),
        (replace(READY, allocation=Allocation(2, 511)), Plan("allocating", Allocate(2, 512))),
        (replace(READY, enclaves=(enclave(),)), Plan("running", enclave=enclave())),
        (replace(READY, enclaves=(enclave(state="EMPTY"),)), Plan("starting")),
        (replace(READY, enclaves=(enclave("old"),)), Plan("allocating", Terminate("e-1"))),
        (
            replace(READY, enclaves=(enclave("old"),), image=False),
            Plan("fetching", None, fetch=True),
        ),
        (
            replace(READY, enclaves=(enclave(), enclave("old", id="e-2"))),
            Plan("running", Terminate("e-2"), enclave=enclave()),
        ),
        (replace(READY, enclaves=None), Plan("starting")),
    ],
)
def test_decide__what_is_seen__leads_to_the_next_step(seen: Observed, plan: Plan) -> None:
    assert decide(DESIRED, seen, Tries(NAME), 0.0) == plan


def test_decide__nothing_desired__installs_ahead_and_waits() -> None:
    assert decide(None, replace(READY, tools=False), Tries(), 0.0) == Plan("booted", Install())
    assert decide(None, READY, Tries(), 0.0) == Plan("booted")


@pytest.mark.parametrize(
    "other",
    [
        replace(DESIRED, run_id="run-2"),
        replace(DESIRED, image_sha256="b" * 64),
        replace(DESIRED, debug=True),
        replace(DESIRED, cpu_count=4),
        replace(DESIRED, memory_mib=1024),
    ],
)
def test_enclave_name__another_enclave__is_another_name(other: Desired) -> None:
    assert enclave_name(other) != NAME


def test_enclave_name__other_ports__is_the_same_enclave() -> None:
    assert enclave_name(replace(DESIRED, ports=(Port(80, 80),))) == NAME


def test_failed__six_in_a_row__is_final_and_pauses_doubled() -> None:
    tries, pauses = Tries(NAME), []
    for _ in range(MOST_FAILURES + 1):
        assert not tries.final
        tries = failed(tries, "E36", 100.0, 1.0)
        pauses.append(tries.retry_at - 100.0)
    assert pauses == [1, 2, 4, 8, 16, 32]
    assert tries.final
    assert decide(DESIRED, READY, tries, 1e9) == Plan("failed")


def test_noticed__died_after_a_long_life__counts_from_one_again() -> None:
    tries = replace(Tries(NAME, failures=5, restarts=5), alive_since=0.0)
    seen = replace(READY, enclaves=())
    young = noticed(tries, seen, 10.0, backoff=1.0, well_after=WELL_AFTER)
    old = noticed(tries, seen, WELL_AFTER, backoff=1.0, well_after=WELL_AFTER)
    assert (young.failures, young.restarts) == (6, 6)
    assert (old.failures, old.restarts) == (1, 6)


def test_noticed__gone_before_it_was_ever_seen__is_a_failure() -> None:
    tries = started(Tries(NAME), NAME, 5.0)
    gone = noticed(tries, replace(READY, enclaves=()), 5.1, backoff=1.0, well_after=WELL_AFTER)
    assert (gone.failures, gone.restarts, gone.retry_at) == (1, 1, 6.1)
    assert started(Tries(NAME), "another", 5.0) == Tries(NAME)


class World:
    """A machine on which steps work or fail as a list says; time stands where it is put."""

    def __init__(self, faults: list[str]) -> None:
        self.faults, self.now = faults, 0.0
        self.seen = Observed(False, False, Allocation(0, 0), ())
        self.tries, self.runs = Tries(NAME), 0

    def turn(self) -> Plan:
        """One turn of the host; what must never be is asserted."""
        plan = decide(DESIRED, self.seen, self.tries, self.now)
        fault = self.faults.pop(0) if self.faults else ""
        if plan.fetch and fault != "fetch":
            self.seen = replace(self.seen, image=True)
        if plan.step is not None:
            self._carry_out(plan.step, fault)
        if fault == "die":
            self.seen = replace(self.seen, enclaves=())
        blind = replace(self.seen, enclaves=None) if fault == "blind" else self.seen
        self.tries = noticed(self.tries, blind, self.now, backoff=1.0, well_after=WELL_AFTER)
        self.now = max(self.now + 0.1, self.tries.retry_at)
        return plan

    def _carry_out(self, step: object, fault: str) -> None:
        if fault == "step":
            self.tries = failed(self.tries, "no", self.now, 1.0)
        elif isinstance(step, Install):
            self.seen = replace(self.seen, tools=True)
        elif isinstance(step, Allocate):
            assert not self.seen.enclaves, "the allocator can't work beside an enclave"
            self.seen = replace(self.seen, allocation=Allocation(2, 512))
        elif isinstance(step, Run):
            assert self.seen.tools
            assert self.seen.image
            assert self.seen.allocation.holds(DESIRED)
            assert self.seen.enclaves == ()
            self.runs += 1
            self.tries = started(self.tries, step.name, self.now)
            self.seen = replace(self.seen, enclaves=(enclave(),))


FAULTS = st.lists(st.sampled_from(["", "step", "fetch", "die", "blind"]), max_size=40)


@given(FAULTS)
@example(["", ""] + ["die"] * 6)
def test_life__any_faults__ends_running_or_failed_and_never_doubles(faults: list[str]) -> None:
    world = World(list(faults))
    plans = [world.turn() for _ in range(len(faults) + 10)]
    last = plans[-1]
    assert last.phase in ("running", "failed")
    bad = sum(fault in ("step", "die") for fault in faults)
    if bad <= MOST_FAILURES:
        assert last.phase == "running"
    assert world.runs <= MOST_FAILURES + 1


def texts(longest: int) -> st.SearchStrategy[str]:
    return st.text("abcXYZ019._-", min_size=1, max_size=longest)


ports = st.integers(1, 65535)
DESIREDS = st.builds(
    Desired,
    texts(64),
    st.text("0123456789abcdef", min_size=64, max_size=64),
    st.integers(1, 1 << 40),
    st.integers(1, 1024),
    st.integers(64, 1 << 26),
    st.booleans(),
    st.lists(st.builds(Port, ports, ports), max_size=5, unique_by=lambda one: one.listen).map(
        tuple
    ),
    st.lists(
        st.builds(Egress, ports, st.just("kms.us-east-1.amazonaws.com"), ports),
        max_size=5,
        unique_by=lambda one: one.enclave,
    ).map(tuple),
)


@given(DESIREDS)
def test_desired__to_json_and_back__is_equal(desired: Desired) -> None:
    assert Desired.from_json(desired.to_json()) == desired


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("run_id", "a b"),
        ("run_id", "a\n"),
        ("image_sha256", "../../etc/passwd"),
        ("cpu_count", True),
        ("memory_mib", 1.5),
        ("ports", [{"listen": 80, "enclave": 1}, {"listen": 80, "enclave": 2}]),
        ("egress", [{"enclave": 1, "host": "-config", "port": 1}]),
        ("egress", [{"enclave": 1, "host": "a,fork", "port": 1}]),
        ("schema", 2),
    ],
)
def test_desired__hostile_field__is_refused(field: str, value: object) -> None:
    with pytest.raises(DocumentRefused):
        Desired.from_json({**DESIRED.to_json(), field: value})


@pytest.mark.parametrize("field", ["last_error", "run_id", "program", "enclave_id"])
def test_status__text_with_half_a_surrogate__is_read_as_what_utf8_can_hold(field: str) -> None:
    document = Status("failed", "r", 1.5, "p", "i-1").to_json()
    said = json.loads(json.dumps({**document, field: "é \ud800 \U0001f600"}))
    found = getattr(Status.from_json(said), field)
    assert found == "é ? \U0001f600"


def test_status__to_json_and_back__is_equal() -> None:
    status = Status("running", "r", 1.5, "p", "i-1", {"booted": 1.0}, pcrs={"PCR0": "0" * 96})
    assert Status.from_json(status.to_json()) == status


NOW = 1_790_000_000.0
ROUNDING_SECONDS = 1e-3  # of sums beside such a number
OTHER = enclave("old", state="TERMINATING", id="e-9")


def lingering(state: str, since: float, asked: float | None = None) -> Lingering:
    return Lingering({"e-9": Lingers(state, since, since if asked is None else asked)})


def test_decide__another_is_terminating__waits_then_asks_again_every_minute() -> None:
    seen = replace(READY, enclaves=(OTHER,))
    fresh = replace(seen, lingering=lingering("TERMINATING", NOW - 59))
    assert decide(DESIRED, fresh, Tries(NAME), NOW) == Plan("allocating")
    stuck = replace(seen, lingering=lingering("TERMINATING", NOW - 60))
    assert decide(DESIRED, stuck, Tries(NAME), NOW) == Plan("allocating", Terminate("e-9"))
    asked = replace(seen, lingering=stuck.lingering.asked("e-9", NOW))
    assert decide(DESIRED, asked, Tries(NAME), NOW + 59) == Plan("allocating")
    assert decide(DESIRED, asked, Tries(NAME), NOW + 60).step == Terminate("e-9")


@pytest.mark.parametrize(
    ("state", "seconds", "ends"),
    [("TERMINATING", 59, False), ("TERMINATING", 60, True),
     ("EMPTY", 60, False), ("EMPTY", BOOTING_SECONDS, True)],
)  # fmt: skip
def test_decide__the_wanted_one_lingers__is_ended_when_nothing_else_will(
    state: str, seconds: float, ends: bool
) -> None:
    one = enclave(state=state, id="e-9")
    seen = replace(READY, enclaves=(one,), lingering=lingering(state, NOW - seconds))
    step = Terminate("e-9") if ends else None
    assert decide(DESIRED, seen, Tries(NAME), NOW) == Plan("starting", step)


def test_decide__one_of_two_others_is_leaving__the_one_that_runs_is_ended() -> None:
    runs = enclave("older", id="e-8")
    seen = replace(READY, enclaves=(OTHER, runs), lingering=lingering("TERMINATING", NOW))
    assert decide(DESIRED, seen, Tries(NAME), NOW) == Plan("allocating", Terminate("e-8"))


def test_lingering__words__say_what_since_when_and_what_is_done() -> None:
    first = Lingering().seen([OTHER, enclave()], NOW)
    assert first.words(NOW + 9) is None
    again = first.seen([OTHER], NOW + 30)
    assert again.words(NOW + 30) == (
        "enclave e-9 is TERMINATING since 2026-09-21T14:13:20Z; terminate is asked for every 60 s"
    )
    assert again.seen([], NOW + 31).words(NOW + 31) is None
    booting = Lingering().seen([enclave("x", "EMPTY", "e-7")], NOW)
    assert booting.words(NOW + 179) is None
    assert "e-7 is EMPTY since" in (booting.words(NOW + 180) or "")


@example(steps=[("EMPTY", 0.0), ("TERMINATING", 60.0), ("EMPTY", -1.0), ("TERMINATING", 60.0)])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["RUNNING", "EMPTY", "TERMINATING", "gone"]), st.floats(-60, 400)
        ),
        max_size=30,
    )
)
def test_lingering__any_life__asks_at_most_once_a_minute(steps: list[tuple[str, float]]) -> None:
    """Of time that really passed: a clock that is set back takes none of it away."""
    known, now, passed, asked = Lingering(), NOW, 0.0, None
    for state, later in steps:
        now, passed = now + later, passed + max(later, 0.0)
        listed = [] if state == "gone" else [enclave("old", state, "e-9")]
        known = known.seen(listed, now)
        if listed and not listed[0].running and known.to_end(listed[0], now):
            assert asked is None or passed - asked >= 60 - ROUNDING_SECONDS
            known, asked = known.asked("e-9", now), passed
