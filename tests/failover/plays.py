"""Each row of `tests.failover.strikes` played, and what is counted after it.

At a moment in which one job comes up something happens to the host that leads, and another job is
requested. However it goes: both are started, by one instance each, by one transaction each.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Event
from typing import Any

import sqlalchemy as sa

from agent.journal.transactions import transactions
from cloud.layout import DESIRED, HOSTS
from devnet.aws.ec2 import TERMINATED
from tests.failover.hand_over import HandOver, hand_over
from tests.failover.pair import PATIENCE, Pair, on_host
from tests.failover.strikes import TABLE

OPENS_SECONDS = 1.0  # between two jobs: py-evm and a process for each instance, on two cores


@dataclass
class Report:
    """What was seen; `failover` in seconds, from the fault to the next job's instance."""

    failover: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    instances: int = 0  # the most of one identity
    raw: int = 0  # the most transactions of one key
    hand_overs: list[HandOver] = field(default_factory=list)
    versions: int = 0  # the most of one host's desired.json
    went_back: int = 0  # of desired.json: how often a version came again

    def lines(self) -> Iterator[str]:
        every = sorted(one for took in self.failover.values() for one in took)
        for name, took in self.failover.items():
            yield f"{name:<30} {_spread(took)}"
        yield f"{'together':<30} {_spread(every)}"
        for part in HandOver._fields if self.hand_overs else ():
            took = [getattr(one, part) for one in self.hand_overs]
            yield f"{'hand-over: ' + part.replace('_', ' '):<30} {_spread(took, 2)}"
        yield f"instances of one identity at most {self.instances}"
        yield f"transactions of one key at most {self.raw}"
        yield f"versions of one host's desired.json at most {self.versions}, back {self.went_back}"


def _spread(took: Sequence[float], digits: int = 1) -> str:
    ordered = sorted(took)
    if not ordered:
        return "never"
    middle = ordered[len(ordered) // 2]
    return f"n {len(ordered):>3}  p50 {middle:5.{digits}f} s  max {ordered[-1]:5.{digits}f} s"


def play(pair: Pair, name: str, report: Report) -> None:
    """One row once: strike while a job comes up, and look at what the other host makes of it."""
    _forget_ended(pair)
    row, leader = TABLE[name], pair.both()
    first = pair.requested()
    time.sleep(hash((name, first)) % 10 / 10)  # somewhere while it is brought up
    began = time.monotonic()
    with ThreadPoolExecutor(1) as aside:
        striking = aside.submit(row.strikes, pair, leader)
        second = pair.requested()
        if row.late:
            struck = striking.result()
            pair.another_than(leader)
        pair.scene.launched(second)
        launched, struck = time.monotonic(), striking.result()
    if row.timed:
        report.failover[name].append(launched - (struck or began))
    if not row.leader_stays:
        assert pair.leader() not in ("", leader), f"{name}: {leader} leads on"
    row.ends(pair, leader)
    for job in (first, second):
        pair.scene.started(job)
    other = pair.both()
    if name == "yields":
        report.hand_overs.append(hand_over(pair.log(leader), pair.log(other)))
    _count(pair, report, (first, second))
    pair.stopped(first, second)


def rolling_upgrade(pair: Pair, report: Report) -> None:
    """Both hosts restarted one after the other, the lease handed over in between, while jobs are
    opened all the time: as many as this stage takes, of which each block has one or two."""
    jobs, done = list[int](), Event()

    def opens() -> None:
        while not done.wait(OPENS_SECONDS):
            jobs.append(pair.requested())

    with ThreadPoolExecutor(1) as aside:
        opening = aside.submit(opens)
        try:
            for _ in range(2):
                leader = pair.both()
                pair.restarted(pair.other_than(leader))
                pair.scene.provider.ask("hosts", "yield")
                pair.another_than(leader)
        finally:
            done.set()
        opening.result()
    for job in jobs:
        pair.scene.started(job)
    pair.both()
    pair.seen["jobs opened in a rolling upgrade"].append(len(jobs))
    _count(pair, report, tuple(jobs))
    pair.stopped(*jobs)


def two_terminals_at_once(pair: Pair, report: Report) -> None:
    """Each on its own host: both transactions get into a block, under nonces of their own."""
    provider = pair.scene.provider

    def unstakes(host: str) -> Any:
        words = ("unstake", "1", "--yes")
        return on_host(provider, host).ask(*words)

    with ThreadPoolExecutor(2) as both:
        done = list(both.map(unstakes, ("a", "b")))
    hashes = {one["transactions"][-1]["hash"] for one in done} if done else set()
    assert len(hashes) == 2, done
    _count(pair, report, ())


def _count(pair: Pair, report: Report, jobs: tuple[int, ...]) -> None:
    for log in (pair.directory / "hosts").glob("*/agent.log"):
        assert ".bug" not in log.read_text(), f"{log}: see its last lines"
    launched = Counter(one.identity for job in jobs for one in pair.scene.eyes.instances(job))
    report.instances = max([report.instances, *launched.values()])
    with pair.engine.connect() as connection:
        keys = Counter(connection.execute(sa.select(transactions.c.key)).scalars())
        nonces = list(connection.execute(sa.select(transactions.c.nonce)).scalars())
    assert len(nonces) == len(set(nonces))
    report.raw = max([report.raw, *keys.values()])
    for versions in _desired(pair).values():
        report.versions = max(report.versions, len(versions))
        report.went_back += sum(new in versions[:at] for at, new in enumerate(versions))
    _forget_versions(pair)


def _forget_ended(pair: Pair) -> None:
    """What was terminated in plays before, as EC2 itself forgets after an hour: here a new one ends
    every few seconds, and each look at all of them would take the longer."""
    faulty = pair.scene.faulty
    lasts = faulty.timings()["remembered"]
    faulty.timings(remembered=0.0)

    def are_forgotten() -> bool:
        return all(one["state"] != TERMINATED for one in faulty.instances())

    pair.scene.eyes.until("an EC2 that forgets", are_forgotten, PATIENCE)
    faulty.timings(remembered=lasts)


def _forget_versions(pair: Pair) -> None:
    """What was counted is not kept: a heartbeat of each host every few seconds would fill the
    stand-in of S3 within a few rounds, and slow down what is measured."""
    s3 = pair.scene.eyes.s3
    for bucket in s3.list_buckets()["Buckets"]:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket["Name"]):
            old = [one for one in page.get("Versions", []) if not one["IsLatest"]]
            gone = [*old, *page.get("DeleteMarkers", [])]  # of a page: as many as one call takes
            objects: Any = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in gone]
            if objects:
                s3.delete_objects(Bucket=bucket["Name"], Delete={"Objects": objects})


def _desired(pair: Pair) -> dict[str, list[str]]:
    """The ETags of each host's desired.json in the order they were written, but for the same one
    written again."""
    s3, found = pair.scene.eyes.s3, dict[str, list[str]]()
    for bucket in s3.list_buckets()["Buckets"]:
        pages = s3.get_paginator("list_object_versions").paginate(
            Bucket=bucket["Name"], Prefix=HOSTS
        )
        for page in pages:
            for one in page.get("Versions", []):
                if one["Key"].endswith(f"/{DESIRED}"):
                    found.setdefault(one["Key"], []).append(one["ETag"])
    newest_last = {key: tags[::-1] for key, tags in found.items()}
    return {
        key: [tag for tag, after in pairwise([*tags, ""]) if tag != after]
        for key, tags in newest_last.items()
    }
