"""10,000 running jobs in 4 regions: what a calm agent costs, and how soon a restarted one knows.

The agent is its own process, started as `oyster-provider run` starts, with the shipped defaults;
its adapters talk HTTP to a world that is another process (`bench.crowd_world`), so what is counted
is the agent's CPU alone, sockets included and TLS not. Its clock is the wall's until it has
decided about every job, and SPEED times as fast after that: a minute of its life costs what it
costs, and takes 60 / SPEED seconds here.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_utils.address import to_checksum_address

import program
from agent.config.template import render, write
from agent.decide.job_view import LaunchPhase
from agent.journal.engines import open_file
from agent.journal.lines import ASSIGNED, TAKEN, Event, LaunchRecord
from agent.journal.writing import Journal
from agent.load.agreements import fields_of
from agent.market.model import JobId, Price
from agent.market.workload import Ask
from bench.crowd import (
    CHAIN_ID,
    EC2_TYPE,
    IMAGE_BYTES,
    IMAGES,
    REGIONS,
    REGISTRY,
    SPECIALS,
    Crowd,
    Image,
)
from bench.crowd_aws import etag
from bench.crowd_chain import PRICE, USER
from bench.crowd_stage import SPEED, Stage, environment
from bench.crowd_world import ROOT
from bench.figure import Figure
from cloud.bucket.status_cache import KeptWords, Words
from devnet.processes import Child, Children, free_port
from enclave.cid import parse_cid
from enclave.fetch.store import ImageStore, StoredImage
from faults import RetryLater

SIZES = (1_000, 10_000)
CORE_SHARE, RSS_MIB, RESTART_SECONDS = 25.0, 400.0, 15.0
# Agent seconds. The window is one whole cycle of questions to the enclaves, 300 s by default; the
# first cycle after a restart has half as many again, until each enclave has a moment of its own.
CALM_AFTER, WINDOW = 390.0, 300.0
SMALL_WINDOW = 60.0
PAGE, OBJECTS_A_HOST = 1000, 2
PATIENCE_SECONDS = 600.0  # a machine that others keep busy is waited for


@dataclass(frozen=True)
class Measured:
    """One agent: seconds to every decision, CPU until then, and the window's counts."""

    restart: float
    restart_cpu: float
    wrong: int
    cpu_share: float
    peak_mib: float
    looks: dict[str, float]
    pages_a_look: dict[str, float]
    probes_a_second: float
    rpc: dict[str, float]


def run() -> list[Figure]:
    small, large = (_measure(size, large=size == SIZES[-1]) for size in SIZES)
    return [*_steady(small, large), *_restart(large)]


def _steady(small: Measured, large: Measured) -> Iterator[Figure]:
    name = f"{SIZES[-1]} running jobs"
    yield Figure(
        f"CPU, {name}",
        large.cpu_share,
        "% of a core",
        CORE_SHARE,
        large.cpu_share / small.cpu_share,
        True,
        f"{SIZES[0]} jobs: {small.cpu_share:.1f}; {large.probes_a_second:.0f} enclaves asked a"
        f" second, {large.rpc.get('eth_call', 0):.0f} eth_calls",
    )
    yield Figure(f"peak RSS, {name}", large.peak_mib, "MiB", RSS_MIB, at_most=True)
    for call, each in (("DescribeInstances", 1), ("ListObjectsV2", OBJECTS_A_HOST)):
        for size, one in zip(SIZES, (small, large), strict=True):
            pages = math.ceil(size / len(REGIONS) * each / PAGE)
            yield Figure(
                f"{call} calls a look at a region, {size} running jobs",
                one.pages_a_look[call],
                "calls",
                pages,
                at_most=True,
                note=f"pages of {PAGE}; {one.looks[call] / len(REGIONS):.1f} looks a minute",
            )


def _restart(large: Measured) -> Iterator[Figure]:
    total = SIZES[-1] + 4 * SPECIALS
    yield Figure(
        f"process start to the last right decision, {total} jobs",
        large.restart,
        "s",
        RESTART_SECONDS,
        at_most=True,
        note=f"{4 * SPECIALS} due actions made, all others judged; CPU {large.restart_cpu:.1f} s",
    )
    yield Figure("wrong or missing actions", large.wrong, "actions", 0, at_most=True)


# One agent


def _measure(size: int, *, large: bool) -> Measured:
    with on_stage(size) as stage:
        restart, cpu = decided(stage)
        time.sleep(1.0)  # what was wrong as well would follow at once
        wrong = stage.wrong()
        stage.ask("/end-specials")
        stage.clock.set_speed(SPEED)
        stage.sleep(CALM_AFTER)
        before, begun, spent = stage.ask(), stage.clock.now(), stage.cpu()
        stage.sleep(WINDOW if large else SMALL_WINDOW)
        after, seconds, spent = stage.ask(), stage.clock.now() - begun, stage.cpu() - spent
        return Measured(
            restart=restart,
            restart_cpu=cpu,
            wrong=wrong,
            cpu_share=spent / seconds * 100,
            peak_mib=stage.peak_mib(),
            looks=_rates(before["looks"], after["looks"], seconds / 60),
            pages_a_look=_pages_a_look(before, after),
            probes_a_second=(after["probes"] - before["probes"]) / seconds,
            rpc=_rates(before["rpc"], after["rpc"], seconds),
        )


def _rates(before: dict[str, int], after: dict[str, int], units: float) -> dict[str, float]:
    return {name: (count - before.get(name, 0)) / units for name, count in after.items()}


def _pages_a_look(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """Of counts, so that it is exact."""
    pages, looks = (_rates(before[what], after[what], 1) for what in ("pages", "looks"))
    return {name: pages[name] / count for name, count in looks.items() if count}


def decided(stage: Stage) -> tuple[float, float]:
    """Seconds and CPU from the start to the last of: every job judged, every due action made."""
    begun = stage.start()
    crowd, words = stage.crowd, ""
    counted = len(crowd.jobs) - len(crowd.these("ended"))  # which are forgotten once they ended
    while time.monotonic() - begun < PATIENCE_SECONDS:
        words = stage.said() or words
        if stage.counted(words) >= counted and not stage.missing():
            return time.monotonic() - begun, stage.cpu()
    raise RetryLater(f"not decided within {PATIENCE_SECONDS:.0f} s; it said: {words}")


@contextmanager
def on_stage(
    size: int, market: str = "registry", own: Mapping[str, str] | None = None
) -> Iterator[Stage]:
    """A provider whose agent was stopped yesterday, and the world that went on without it; `own`
    is of its environment."""
    with ExitStack() as stack:
        kept = os.environ.get("BENCH_DIRECTORY")
        name = kept or stack.enter_context(tempfile.TemporaryDirectory(prefix="oyster-bench-"))
        directory = Path(name)
        key = directory / "key"
        key.write_text("0x" + "11" * 32)
        key.chmod(0o600)
        provider = str(Account.from_key("0x" + "11" * 32).address)
        children = stack.enter_context(Children(directory))
        arguments = [sys.executable, "-m", "bench.crowd_world", str(directory), str(size)]
        world = children.start("world", [*arguments, provider, market])
        crowd = Crowd(size, provider, float(world.hello["born"]), market)
        config = _write_config(directory, crowd, world)
        _command(config, "cloud", "setup")
        _write_journal(directory, crowd)
        _keep_words(directory, crowd)
        _keep_images(directory, crowd)
        yield Stage(directory, children, crowd, world, own)


def _write_config(directory: Path, crowd: Crowd, world: Child) -> Path:
    """The shipped defaults, but for where everything is."""
    here = "http://127.0.0.1:{}".format
    answers: dict[str, dict[str, Any]] = {
        "": {"state_dir": str(directory / "state")},
        "chain": {
            "chain_id": CHAIN_ID,
            "market": crowd.market,
            "registry": REGISTRY,
            "rpc_urls": [here(world.hello["node"])],
        },
        "wallet": {"key_file": str(directory / "key")},
        "aws": {"regions": list(REGIONS), "endpoint_url": here(world.hello["aws"])},
        "images": {"gateways": [here(1)]},
        "enclave": {
            "root_file": str(directory / ROOT),
            "attestation_port": world.hello["enclave"],
            "ports": [f"{world.hello['enclave']}:1300"],
        },
        "status": {"listen": f"127.0.0.1:{free_port()}"},
        "log": {"level": os.environ.get("BENCH_LOG", "warning")},
    }
    offers = [{"type": f"{region}/{EC2_TYPE}", "price": "1.80/h"} for region in REGIONS]
    path = directory / "provider.toml"
    write(path, render(answers, offers))
    return path


def _command(config: Path, *words: str) -> None:
    subprocess.run(
        program.command(*words),
        env={**os.environ, **environment(), "OYSTER_CONFIG": str(config)},
        check=True,
        capture_output=True,
    )


def _write_journal(directory: Path, crowd: Crowd) -> None:
    """What the agent noted of each job when it brought it up."""
    (directory / "state").mkdir(mode=0o700, exist_ok=True)
    engine = open_file(directory / "state" / "journal.sqlite")
    journal = Journal(engine)
    for number in crowd.jobs:
        if crowd.special(number) != "assigned":
            _note(journal, crowd, number)
        if number % 1000 == 0:
            journal.flush()
    journal.flush()
    engine.dispose()


def _note(journal: Journal, crowd: Crowd, number: int) -> None:
    job, at = JobId(number), float(crowd.assigned_at(number))
    steps = ("launch.asked", "launch.launched", "image.ready", "image.staged", "host.ordered")
    names = (ASSIGNED, TAKEN, *steps, "enclave.attested", "tx.mined")
    for second, name in enumerate(names):
        fields = _agreed(crowd, number) if name == TAKEN else {}
        journal.event(Event(at + 5 * second, name, job, 1, fields=fields))
    for phase, instance in (
        (LaunchPhase.ASKED, None),
        (LaunchPhase.LAUNCHED, crowd.instance(number)),
    ):
        region = crowd.region(number)
        journal.launch(LaunchRecord(at + 5, job, 1, 1, region, EC2_TYPE, phase, instance))


def _agreed(crowd: Crowd, number: int) -> dict[str, Any]:
    kind = f"{crowd.region(number)}/{EC2_TYPE}"
    user = str(to_checksum_address(USER))
    return fields_of(Price(PRICE), Ask.of(user, kind, crowd.workload(number)))


def _keep_words(directory: Path, crowd: Crowd) -> None:
    """What the hosts said when the agent last looked, but for those that failed since."""
    kept = KeptWords(directory / "state" / "cloud" / "mailbox")
    for region in REGIONS:
        here = (n for n in crowd.jobs if crowd.region(n) == region)
        texts = {
            crowd.instance(n): crowd.status_json(n)
            for n in here
            if crowd.special(n) not in ("assigned", "failed")
        }
        kept.keep(region, {host: Words(etag(text), 0.0, text) for host, text in texts.items()}, ())


def _keep_images(directory: Path, crowd: Crowd) -> None:
    """Verified long ago and held by every job; the files are holes, nothing reads them."""
    folder = directory / "state" / "images"
    store = ImageStore(folder, quota_bytes=IMAGES * IMAGE_BYTES * 2)
    for number in crowd.jobs:
        if crowd.special(number) != "assigned":  # as `pin` writes it, but flushed by nobody
            (folder / "pins" / f"job-{number}").write_text(crowd.image(number).cid)
    for number in range(IMAGES):
        image = Image(number)
        cid = parse_cid(image.cid)
        with store.lock(cid):
            with store.part(cid).open("wb") as part:
                part.truncate(IMAGE_BYTES)
            store.add(
                cid,
                StoredImage(
                    cid=image.cid,
                    path=store.part(cid),
                    size_bytes=IMAGE_BYTES,
                    sha256=image.sha256,
                    pcrs=image.pcrs,
                    architecture="x86_64",
                    sources=(),
                    seconds=1.0,
                    signer=None,
                ),
            )
