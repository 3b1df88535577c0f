"""From the block of JobAssigned to RunInstances, and to an enclave, seen from outside the agent.

The clock starts when the node has the block. A call's time is when EC2's answer was made, so moto's
own work (tens of milliseconds a launch) is in it. EC2 allows 5 RunInstances at once and 2 a second
after that (EC2 developer guide, "Request throttling"), and the agent keeps to it: of 100 jobs in
one block and one region the last can't be launched before 47.5 s. So their figures are the moment
when the launch is ready to go (the intent in the journal), and how far the calls are behind the
earliest that EC2's limit allows.

The peer of "time to enclave" is computed from the stated timings of a sequential control plane
(`STATED`, expected waits of a poll) and from parts measured here, on the same EC2 and image.
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import statistics
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from agent.market.model import JobStatus
from bench.figure import Figure
from bench.rig import Rig, rig
from cloud.layout import HOSTS

ALONE_ROUNDS, CROWD, ENCLAVE_ROUNDS = 30, 100, 3
CROWD_REST_SECONDS = 5.0
P50_SECONDS, P99_SECONDS = 0.3, 2.0
BURST, PER_SECOND = 5, 2.0
PEER_SHARE = 0.35
_IMAGE_MIB = 32
_BLOCK_SECONDS = 1.0
# Seconds. A poll every 5 s is waited for 2.5 s in the mean. SSH is not counted: nothing is stated.
STATED = {"indexer poll": 2.5, "database poll": 2.5, "delay": 3.0, "sleep": 100.0}
DOWNLOAD_CAP_SECONDS = 120.0


def run() -> list[Figure]:
    with rig() as calls:
        figures = [*_alone(calls), *_crowd(calls)]
    with rig(_IMAGE_MIB) as starts:
        starts.faulty.faults(stuck_pending=False)
        return [*figures, *_enclave(starts)]


# To the call


def _alone(rig: Rig) -> Iterator[Figure]:
    chance = random.Random(1)
    waited = [one_launch(rig, chance) for _ in range(ALONE_ROUNDS)]
    yield from _percentiles("block to RunInstances, 1 in a block", waited)


def one_launch(rig: Rig, chance: random.Random) -> float:
    """Seconds from one job's block to its launch; the block falls anywhere between two polls."""
    time.sleep(1.0 + chance.random())  # a second, so that no block is ahead of the clock
    before = rig.launched()
    rig.request(1)
    mined = rig.mine()
    after = rig.until("a launch", lambda: _newer(rig, before, 1))
    return after[0] - mined


def _crowd(rig: Rig) -> Iterator[Figure]:
    time.sleep(5)  # whatever the budget was spent on has grown back
    before, first = rig.launched(), rig.jobs() + 1
    rig.request(CROWD)
    mined = rig.mine()
    time.sleep(CROWD_REST_SECONDS)  # asking node and EC2 now would slow down what is measured
    if rig.jobs() != first + CROWD - 1:
        raise RuntimeError(f"{CROWD} jobs did not fit one block")
    launched = rig.until("every launch", lambda: _newer(rig, before, CROWD), every=1.0)
    ready = [at - mined for at in _intents(rig, first)]
    yield from _percentiles(f"block to launch ready, {CROWD} in a block", ready)
    seconds = [at - mined for at in launched]
    behind = [at - max(0, n - BURST) / PER_SECOND for n, at in enumerate(seconds, start=1)]
    note = f"behind 5 at once and 2 a second; the last call after {seconds[-1]:.1f} s"
    yield from _percentiles(f"RunInstances behind EC2's limit, {CROWD} in a block", behind, note)


def _newer(rig: Rig, before: dict[str, float], count: int) -> list[float] | None:
    """When the instances that were not there before were launched, once there are `count`."""
    found = sorted(at for one, at in rig.launched().items() if one not in before)
    return found if len(found) >= count else None


def _intents(rig: Rig, first_job: int) -> list[float]:
    """When each job's first launch stood in the journal, before the call was queued."""
    path = rig.directory / "provider" / "journal.sqlite"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as journal:
        asked = "SELECT min(at) FROM launches WHERE phase = 'asked' AND job >= ? GROUP BY job"
        return [at for (at,) in journal.execute(asked, (first_job,))]


def _percentiles(name: str, values: Sequence[float], note: str = "") -> Iterator[Figure]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    said = note or f"of {len(values)}, polling every 0.25 s"
    for share, limit in ((50, P50_SECONDS), (99, P99_SECONDS)):
        yield Figure(f"{name}, p{share}", cuts[share - 1], "s", limit, None, True, said)


# To the enclave


def _enclave(rig: Rig) -> list[Figure]:
    with _blocks(rig):
        seen = [_start(rig) for _ in range(ENCLAVE_ROUNDS)]
    ours = statistics.median(running for running, _, _ in seen)
    reported = statistics.median(told for _, told, _ in seen)
    parts = {**STATED, **_measured_parts(rig, statistics.median(r for _, _, r in seen))}
    peer = sum(parts.values())
    note = f"median of {ENCLAVE_ROUNDS}: pending 17.8 s, boot 5 s, enclave 3 s are in it; baked AMI"
    said = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
    return [
        Figure("block to enclave running", ours, "s", note=note),
        Figure("block to reportStarted on the chain", reported, "s", note="a block a second"),
        Figure("a sequential control plane", peer, "s", note=said),
        Figure("time to enclave against it", ours / peer, "x", PEER_SHARE, ours / peer, True),
    ]


def _start(rig: Rig) -> tuple[float, float, float]:
    """Seconds from the block: to enclave running, to reportStarted; and what starting it took."""
    before = rig.launched()
    rig.request(1)
    mined = rig.mine()
    job = rig.jobs()
    rig.until(f"job {job} running", lambda: rig.eyes.job(job)["status"] == JobStatus.RUNNING)
    told = time.time() - mined
    (instance,) = rig.launched().keys() - before.keys()
    phases = _phases(rig, instance)
    return phases["running"] - mined, told, phases["running"] - phases["starting"]


def _phases(rig: Rig, instance: str) -> dict[str, float]:
    """The host's own word on when it reached what; its clock is ours."""
    s3 = rig.eyes.s3
    for bucket in s3.list_buckets()["Buckets"]:
        found = s3.list_objects_v2(Bucket=bucket["Name"], Prefix=HOSTS).get("Contents", [])
        for key in (one["Key"] for one in found):
            if instance in key and key.endswith("status.json"):
                body = s3.get_object(Bucket=bucket["Name"], Key=key)["Body"].read()
                phases: dict[str, float] = json.loads(body)["phases"]
                return phases
    raise RuntimeError(f"no status of {instance}")


@contextlib.contextmanager
def _blocks(rig: Rig) -> Iterator[None]:
    """A block every second, for the agent's own transactions."""
    ending = threading.Event()

    def mine() -> None:
        while not ending.wait(_BLOCK_SECONDS):
            rig.mine()

    thread = threading.Thread(target=mine)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def _measured_parts(rig: Rig, run_enclave: float) -> dict[str, float]:
    """The peer's steps that can be done here: the same calls, the same gateway, the same enclave.

    Its download is a plain one that verifies nothing, the fastest that there is.
    """
    ec2: Any = rig.eyes.ec2
    image = next(one["ImageId"] for one in ec2.describe_images(Owners=["amazon"])["Images"])
    asked = {"ImageId": image, "InstanceType": "c6a.xlarge", "MinCount": 1, "MaxCount": 1}
    launch, launched = _timed(lambda: ec2.run_instances(**asked))
    instance = launched["Instances"][0]["InstanceId"]
    allocate, address = _timed(lambda: ec2.allocate_address(Domain="vpc"))
    found = {"InstanceId": instance, "AllocationId": address["AllocationId"]}
    rig.until("the instance to be visible", lambda: _visible(ec2, instance))
    associate, _ = _timed(lambda: ec2.associate_address(**found))
    url = f"{rig.eyes.devnet.ipfs_gateway}/ipfs/{rig.url.removeprefix('ipfs://')}"
    download, _ = _timed(lambda: urllib.request.urlopen(url, timeout=60).read())
    return {
        "RunInstances": launch,
        "Elastic IP": allocate + associate,
        "download": min(download, DOWNLOAD_CAP_SECONDS),
        "run-enclave": run_enclave,
    }


def _visible(ec2: Any, instance: str) -> bool:
    pages = ec2.get_paginator("describe_instances").paginate()
    return any(
        one["InstanceId"] == instance and one["State"]["Name"] == "running"
        for page in pages
        for reservation in page["Reservations"]
        for one in reservation["Instances"]
    )


def _timed(action: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.perf_counter()
    answer = action()
    return time.perf_counter() - begun, answer
