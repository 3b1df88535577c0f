"""What a look at a job costs beside its reads: deciding (`lifecycle.plan`), and noting it.

Deciding is measured on a running job of which nothing is due, as nearly all are. Journal lines
are committed a turn at a time, on this disk; the peer writes the same columns with bare sqlite3,
as many commits and the same pragmas.
"""

from __future__ import annotations

import json
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from agent.decide.job_view import Host, ImagePhase, ImageView, JobView, Observed, Probe
from agent.decide.lifecycle import plan
from agent.journal.engines import open_file
from agent.journal.lines import Event
from agent.journal.writing import Journal
from agent.market.model import JobId, JobStatus
from bench.figure import Figure
from enclave.host.documents import Status
from tests.agent.samples import ACCOUNT, BLOCK, IMAGE, INSTANCE, JOB, NOW, ROOM, RULES, TERMS

ROUNDS, DECISIONS = 5, 10_000
TURNS, LINES = 100, 20
_TABLE = (
    "CREATE TABLE line (id INTEGER PRIMARY KEY, at, name, job, generation, level, text, fields)"
)
_INSERT = "INSERT INTO line (at, name, job, generation, level, text, fields) VALUES (?,?,?,?,?,?,?)"


def run() -> list[Figure]:
    view = _running()
    decided = _best(lambda: [plan(view, float(NOW), RULES) for _ in range(DECISIONS)])
    with tempfile.TemporaryDirectory(prefix="oyster-bench-") as name:
        ours = min(_ours(Path(name) / f"{number}.sqlite") for number in range(ROUNDS))
        peer = min(_peer(Path(name) / f"bare{number}.sqlite") for number in range(ROUNDS))
    note = f"{TURNS} commits of {LINES} lines; sqlite3 alone {peer / TURNS * 1e3:.2f} ms"
    return [
        Figure("deciding a running job", decided / DECISIONS * 1e6, "us", note="best of 5"),
        Figure("a turn's journal lines", ours / TURNS * 1e3, "ms", None, ours / peer, True, note),
    ]


def _running() -> JobView:
    """A started job, its enclave asked a moment ago."""
    status = Status("running", "g1a1r0", NOW - 3.0, "p", "i-1", {"running": NOW - 900.0})
    probe = Probe(asked_at=NOW - 5.0, passed_at=NOW - 5.0, passed_run="g1a1r0")
    instance = replace(INSTANCE, launched_at=NOW - 1000.0)
    job = replace(JOB, status=JobStatus.RUNNING, assigned_at=NOW - 1010, started_at=NOW - 890,
                  settled_until=NOW - 900, endpoint="192.0.2.1:1300")  # fmt: skip
    return JobView(
        JOB.id, ACCOUNT, TERMS, BLOCK, job,
        hosts=(Host(instance, status, NOW - 3.0, probe, "g1a1r0"),),
        observed=Observed(NOW - 1.0, NOW - 1.0, NOW - 2000.0, 2000.0),
        image=ImageView(ImagePhase.READY, NOW - 900.0, image=IMAGE, url=job.enclave_url),
        room=ROOM,
    )  # fmt: skip


def _best(work: Callable[[], object]) -> float:
    return min(_timed(work) for _ in range(ROUNDS))


def _timed(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _ours(path: Path) -> float:
    engine = open_file(path)
    journal = Journal(engine)

    def write() -> None:
        for turn in range(TURNS):
            for line in range(LINES):
                fields = {"instance": f"i-{line:017x}"}
                journal.event(Event(float(turn), "host.ordered", JobId(line), 1, fields=fields))
            journal.flush()

    seconds = _timed(write)
    engine.dispose()
    return seconds


def _peer(path: Path) -> float:
    with closing(sqlite3.connect(path)) as bare:
        bare.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
        bare.execute(_TABLE)

        def write() -> None:
            for turn in range(TURNS):
                fields = [json.dumps({"instance": f"i-{line:017x}"}) for line in range(LINES)]
                rows = [
                    (float(turn), "host.ordered", line, 1, 20, "", said)
                    for line, said in enumerate(fields)
                ]
                with bare:
                    bare.executemany(_INSERT, rows)

        return _timed(write)
