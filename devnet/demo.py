"""The demo: one market, two providers, two jobs, from request to refund, in under a minute.

Each step is done when it was seen on the chain and in AWS (`devnet.eyes`), never because the agent
says so. The agent is `oyster-provider run` as a process of its own with an ordinary
configuration file. What is simulated is said at the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from agent.market.model import JobStatus, StopReason
from agent.market.price import Price
from devnet.agent_process import Provider
from devnet.eyes import Eyes, SeenInstance
from devnet.image import build_image
from devnet.ipfs_node import add
from devnet.people import Actions
from devnet.state import Person
from devnet.up import COINS, POND, REGION, USD, Options, running
from faults import Refused

TYPE = f"{REGION}/c6a.xlarge"
OUR_PRICE, RIVAL_PRICE = "1.80/h", "0.90/h"
STAKE_JOBS = 3
DEPOSIT = 5 * USD
ECHO_PORT = 8080

# Long enough for a kill -9 and a second start of the agent on two busy cores; the rival's job waits
# this long for its auditors, so a longer window is a longer demo.
BOOTSTRAPPING = 22
COOL_DOWN = 6
LIMIT_SECONDS = 60

CONFIG = {
    "jobs": {"min_escrow": "10s", "resync": "5s"},
    "deadlines": {"launch": "3s", "boot": "3s", "image": "2s", "enclave": "3s", "report": "3s"},
    "keepalive": {"probe": "2s", "retry": "1s"},
}


def options(directory: Path) -> Options:
    """The demo's devnet: a minute instead of a quarter of an hour."""
    return Options(
        directory=directory,
        job_bootstrapping=BOOTSTRAPPING,
        job_startup=BOOTSTRAPPING,
        job_exit_cool_down=COOL_DOWN,
        config_overrides=CONFIG,
    )


@dataclass
class Story:
    """Prints steps as they are seen, with the second since the start."""

    console: Console
    began: float = field(default_factory=time.monotonic)

    @contextmanager
    def step(self, text: str) -> Iterator[Callable[[str], None]]:
        """One step; call what it yields with what was seen."""
        seen: list[str] = []
        with self.console.status(text) if self.console.is_terminal else _nothing():
            yield seen.append
        detail = f"  [dim]{'; '.join(seen)}[/]" if seen else ""
        self.console.print(f"[cyan]{self.seconds:5.1f} s[/]  [green]✓[/] {text}{detail}")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@dataclass
class Demo:
    """The story's state: who plays, and which jobs there are."""

    story: Story
    eyes: Eyes
    provider: Provider
    directory: Path
    url: str = ""
    ours: int = 0
    rivals: int = 0

    @property
    def people(self) -> Actions:
        return Actions(self.eyes.market)

    def person(self, name: str) -> Person:
        return self.eyes.devnet.person(name)

    def play(self) -> None:
        """Every step in turn; raises a Fault at the first that is not seen."""
        self.make_image()
        self.rival_gets_a_job()
        self.prepare()
        self.request()
        self.crash_mid_bootstrap()
        self.come_up()
        self.talk()
        self.rival_is_slashed()
        self.exit_everything()
        self.settle_accounts()

    def make_image(self) -> None:
        with self.story.step("enclave image built and added to IPFS") as seen:
            app = self.directory / "app"
            app.mkdir(exist_ok=True)
            (app / "hello.txt").write_text("An enclave image of the oyster-provider demo.\n")
            file = self.directory / "app.eif"
            file.write_bytes(build_image(app))
            self.url = f"ipfs://{add(self.directory / 'ipfs', file)}"
            seen(self.url)

    def rival_gets_a_job(self) -> None:
        with self.story.step("a rival is given a job, and does nothing") as seen:
            self.people.offer(self.person("rival"), TYPE, _price(RIVAL_PRICE).raw, 100 * POND)
            self.rivals = self._request()
            _expect(self._assigned_to("rival", self.rivals), "assigned to the rival")
            seen(f"job {self.rivals}")

    def prepare(self) -> None:
        stake = str(STAKE_JOBS * 100)
        with (
            self.story.step("AWS set up; provider staked and registered") as seen,
            ThreadPoolExecutor() as both,
        ):
            cloud = both.submit(self.provider.command, "cloud", "setup")
            self.provider.command("register", TYPE, OUR_PRICE, "--stake", stake, "--yes")
            cloud.result()
            seen(", ".join(b["Name"] for b in self.eyes.s3.list_buckets()["Buckets"]))
            functions = self.eyes.market.registry.functions
            ours = self.person("provider").address
            _expect(functions.offer(ours, TYPE).call() == _price(OUR_PRICE).raw, "listed")
            _expect(functions.stakeOf(ours).call() == STAKE_JOBS * 100 * POND, "staked")
            seen(f"{stake} POND, {TYPE} at {OUR_PRICE}")

    def request(self) -> None:
        self.provider.run_agent()
        with self.story.step("job requested, matched with our provider") as seen:
            self.ours = self._request()
            _expect(self._assigned_to("provider", self.ours), "assigned to us")
            seen(f"job {self.ours}")

    def _request(self) -> int:
        most = _price("2/h").raw
        return self.people.request_job(self.person("user"), TYPE, most, self.url, DEPOSIT)

    def _assigned_to(self, name: str, job_id: int) -> bool:
        return bool(self.eyes.job(job_id)["provider"] == self.person(name).address)

    def crash_mid_bootstrap(self) -> None:
        with self.story.step("instance launched") as seen:
            seen(self._instance(self.ours).id)
        with self.story.step("agent killed (kill -9) in mid-bootstrap and started again"):
            self.provider.crash_agent()
            self.provider.run_agent()

    def _instance(self, job_id: int, seconds: float = BOOTSTRAPPING) -> SeenInstance:
        found = self.eyes.until(
            f"an instance of job {job_id}", lambda: self.eyes.live_instances(job_id), seconds
        )
        return found[0]

    def come_up(self) -> None:
        with self.story.step("image verified, enclave running, attested, reported started") as seen:
            job = self._started(self.ours)
            _expect(len(self.eyes.instances(self.ours)) == 1, "launched once, crash or not")
            seen(f"{job['startedAt'] - job['assignedAt']} s after the match, at {job['endpoint']}")

    def _started(self, job_id: int, seconds: float = BOOTSTRAPPING) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            job = self.eyes.job(job_id)
            return job if job["status"] == JobStatus.RUNNING else None

        return self.eyes.until(f"job {job_id} started", look, seconds)

    def talk(self) -> None:
        with self.story.step("the user talks to the enclave") as seen:
            host = str(self.eyes.job(self.ours)["endpoint"]).rpartition(":")[0]
            said = _echo(host, "hello, enclave")
            _expect("hello, enclave" in said, f"the enclave answered {said!r}")
            seen(f"it said {said.strip()!r}")

    def rival_is_slashed(self) -> None:
        with self.story.step(
            "auditors report the rival's job; it is slashed and comes to us"
        ) as seen:
            self._wait_for_fault_window(self.rivals)
            for number in (1, 2):
                self.people.report_fault(self.person(f"auditor-{number}"), self.rivals)
            _expect(self._assigned_to("provider", self.rivals), "reassigned to us")
            seen(f"job {self.rivals}, generation {self.eyes.job(self.rivals)['generation']}")
        with self.story.step("the reassigned job runs on our instance") as seen:
            job = self._started(self.rivals)
            seen(f"{job['startedAt'] - job['assignedAt']} s after the slash")

    def _wait_for_fault_window(self, job_id: int) -> None:
        opens = self.eyes.job(job_id)["assignedAt"] + BOOTSTRAPPING
        w3 = self.eyes.market.w3
        self.eyes.until(
            "the auditors' window",
            lambda: w3.eth.get_block("latest")["timestamp"] >= opens,
            BOOTSTRAPPING + 5,
        )

    def exit_everything(self) -> None:
        with self.story.step("RequestToExitJob for all jobs, offers withdrawn") as seen:
            self.provider.command("exit", "--all", "--yes")
            for job_id in (self.ours, self.rivals):
                self._until_job(job_id, "exitRequestedAt", lambda value: value > 0)
            seen(f"cool-down {COOL_DOWN} s")
        with self.story.step("cool-down served, jobs stopped, users refunded"):
            for job_id in (self.ours, self.rivals):
                self._until_job(job_id, "status", lambda value: value == JobStatus.STOPPED)
                _expect(
                    self.eyes.job(job_id)["stopReason"] == StopReason.PROVIDER_EXIT,
                    f"job {job_id} ended by our exit",
                )
        with self.story.step("nothing left in AWS"):
            self.eyes.until("an empty AWS account", lambda: not self.eyes.left_in_aws(), 20)

    def _until_job(self, job_id: int, name: str, good: Callable[[int], bool]) -> None:
        self.eyes.until(
            f"{name} of job {job_id}", lambda: good(self.eyes.job(job_id)[name]), COOL_DOWN + 15
        )

    def settle_accounts(self) -> None:
        ours = self.person("provider").address
        with self.story.step("stake unlocked and taken back") as seen:
            locked = self.eyes.market.registry.functions.lockedStakeOf(ours)
            self.eyes.until("no stake locked", lambda: locked.call() == 0, 10)
            self.provider.command("unstake", "--all", "--yes")
            _expect(self.eyes.market.registry.functions.stakeOf(ours).call() == 0, "unstaked")
            seen(f"{STAKE_JOBS * 100} POND")
        with self.story.step("money is exact (rule 9)") as seen:
            books = self.eyes.books()
            _expect(books.exact, f"rule 9: {books}")
            seen(f"escrows {books.escrows} = held {books.payment_held}")
            seen(f"stakes {books.stakes} = held {books.pond_held}")
        earned = self.eyes.market.payment_token.functions.balanceOf(ours).call()
        _expect(earned > 0, "earned something")
        spent = COINS - self.eyes.market.w3.eth.get_balance(
            self.eyes.market.w3.to_checksum_address(ours)
        )
        self.story.console.print(
            f"\nearned {earned / USD:.6f} USD, gas {spent / 10**18:.6f} ETH (test money)\n"
        )
        self.story.console.print(self.provider.command("jobs", "show", str(self.ours)))


def play(directory: Path, console: Console) -> float:
    """Run the demo in `directory`; seconds it took. Raises a Fault when a step is not seen."""
    console.print("Simulated here: EC2's hardware and the Nitro card. Real: everything else.\n")
    story = Story(console)
    with running(options(directory)) as net:
        with story.step("chain, IPFS gateway and AWS are up, contracts deployed") as seen:
            seen(f"registry {net.devnet.registry}")
        provider = Provider(net.devnet, net.children, Path(net.devnet.config_files["provider"]))
        demo = Demo(story, Eyes(net.devnet), provider, directory.resolve())
        demo.play()
        with story.step("agent stopped (SIGTERM)"):
            _expect(provider.stop_agent() == 0, "it ended with exit code 0")
    return story.seconds


def _price(text: str) -> Price:
    return Price.parse(text, decimals=6)


def _expect(true: bool, what: str) -> None:
    if not true:
        raise Refused(f"the demo did not see this: {what}")


def _echo(host: str, words: str) -> str:
    return httpx.post(f"http://{host}:{ECHO_PORT}/", content=words, timeout=5).text
