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
from devnet.ipfs.node import add
from devnet.people import Actions
from devnet.state import Person
from devnet.up import COINS, POND, REGION, USD, Options, Past, running
from faults import Refused

TYPE = f"{REGION}/c6a.xlarge"
OUR_PRICE, RIVAL_PRICE, MOST = "1.80/h", "0.90/h", "2/h"
STAKE_JOBS = 3
DEPOSIT = 5 * USD
ECHO_PORT = 8080

# Long enough for a kill -9 and a second start of the agent on two busy cores. The rival was given
# its job IDLE_SECONDS before the story begins, so nobody watches it do nothing for all that time.
BOOTSTRAPPING = 60
IDLE_SECONDS = 45
COOL_DOWN = 4
BOOT_SHARE = 0.05  # of the time that EC2 takes
LIMIT_SECONDS = 60

CONFIG = {
    "jobs": {"min_escrow": "10s", "resync": "5s"},
    "deadlines": {"launch": "3s", "boot": "3s", "image": "2s", "enclave": "3s", "report": "3s"},
    "keepalive": {"probe": "2s", "retry": "1s"},
}


@dataclass
class Before:
    """What came before the story: a user requests a job, a rival is given it and does nothing."""

    directory: Path
    url: str = ""
    job: int = 0

    def __call__(self, people: Actions) -> None:
        self.url = _image(self.directory)
        person = people.market.devnet.person
        people.offer(person("rival"), TYPE, _price(RIVAL_PRICE).raw, 100 * POND)
        self.job = _request(people, self.url)

    def options(self) -> Options:
        """The demo's devnet: a minute instead of a quarter of an hour."""
        return Options(
            directory=self.directory,
            job_bootstrapping=BOOTSTRAPPING,
            job_startup=BOOTSTRAPPING,
            job_exit_cool_down=COOL_DOWN,
            boot_share=BOOT_SHARE,
            config_overrides=CONFIG,
            past=Past(IDLE_SECONDS, self),
        )


def _image(directory: Path) -> str:
    app = directory / "app"
    app.mkdir(exist_ok=True)
    (app / "hello.txt").write_text("An enclave image of the oyster-provider demo.\n")
    file = directory / "app.eif"
    file.write_bytes(build_image(app))
    return f"ipfs://{add(directory / 'ipfs', file)}"


def _request(people: Actions, url: str) -> int:
    user = people.market.devnet.person("user")
    return people.request_job(user, TYPE, _price(MOST).raw, url, DEPOSIT)


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
    url: str
    rivals: int
    ours: int = 0

    @property
    def people(self) -> Actions:
        return Actions(self.eyes.market)

    def person(self, name: str) -> Person:
        return self.eyes.devnet.person(name)

    def play(self) -> None:
        """Every step in turn; raises a Fault at the first that is not seen."""
        self.rival_does_nothing()
        self.prepare()
        self.request()
        self.crash_mid_bootstrap()
        self.come_up()
        self.talk()
        self.rival_is_slashed()
        self.exit_everything()
        self.settle_accounts()
        self.farewell()

    def rival_does_nothing(self) -> None:
        with self.story.step("a rival was given a job for that image, and does nothing") as seen:
            job = self.eyes.job(self.rivals)
            expect(self._assigned_to("rival", self.rivals), "assigned to the rival")
            expect(job["enclaveUrl"] == self.url and not job["startedAt"], "not started")
            seen(f"job {self.rivals}, assigned {self._chain_time - job['assignedAt']} s ago")

    @property
    def _chain_time(self) -> int:
        return int(self.eyes.market.w3.eth.get_block("latest")["timestamp"])

    def prepare(self) -> None:
        stake = str(STAKE_JOBS * 100)
        with (
            self.story.step("AWS set up, agent started; provider staked and registered") as seen,
            ThreadPoolExecutor() as beside,
        ):
            words = ("register", TYPE, OUR_PRICE, "--stake", stake, "--yes")
            registering = beside.submit(self.provider.command, *words)
            self.provider.command("cloud", "setup")
            self.provider.run_agent()
            registering.result()
            seen(", ".join(b["Name"] for b in self.eyes.s3.list_buckets()["Buckets"]))
            functions = self.eyes.market.registry.functions
            ours = self.person("provider").address
            expect(functions.offer(ours, TYPE).call() == _price(OUR_PRICE).raw, "listed")
            expect(functions.stakeOf(ours).call() == STAKE_JOBS * 100 * POND, "staked")
            seen(f"{stake} tPOND, {TYPE} at {OUR_PRICE}")

    def request(self) -> None:
        with self.story.step("job requested, matched with our provider") as seen:
            self.ours = _request(self.people, self.url)
            expect(self._assigned_to("provider", self.ours), "assigned to us")
            seen(f"job {self.ours}")

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
            expect(len(self.eyes.instances(self.ours)) == 1, "launched once, crash or not")
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
            expect("hello, enclave" in said, f"the enclave answered {said!r}")
            seen(f"it said {said.strip()!r}")

    def rival_is_slashed(self) -> None:
        with self.story.step(
            "auditors report the rival's job; it is slashed and comes to us"
        ) as seen:
            self._wait_for_fault_window(self.rivals)
            with ThreadPoolExecutor() as both:
                auditors = [self.person(f"auditor-{number}") for number in (1, 2)]
                list(both.map(lambda one: self.people.report_fault(one, self.rivals), auditors))
            expect(self._assigned_to("provider", self.rivals), "reassigned to us")
            seen(f"job {self.rivals}, generation {self.eyes.job(self.rivals)['generation']}")
        with self.story.step("the reassigned job runs on our instance") as seen:
            job = self._started(self.rivals)
            seen(f"{job['startedAt'] - job['assignedAt']} s after the slash")

    def _wait_for_fault_window(self, job_id: int) -> None:
        opens = self.eyes.job(job_id)["assignedAt"] + BOOTSTRAPPING
        self.eyes.until(
            "the auditors' window", lambda: self._chain_time >= opens, BOOTSTRAPPING + 5
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
                expect(
                    self.eyes.job(job_id)["stopReason"] == StopReason.PROVIDER_EXIT,
                    f"job {job_id} ended by our exit",
                )

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
            expect(self.eyes.market.registry.functions.stakeOf(ours).call() == 0, "unstaked")
            seen(f"{STAKE_JOBS * 100} tPOND")
        with self.story.step("nothing left in AWS"):
            self.eyes.until("an empty AWS account", lambda: not self.eyes.left_in_aws(), 20)
        with self.story.step("money is exact (rule 9)") as seen:
            books = self.eyes.books()
            expect(books.exact, f"rule 9: {books}")
            seen(f"escrows {books.escrows} = held {books.payment_held}")
            seen(f"stakes {books.stakes} = held {books.pond_held}")

    def farewell(self) -> None:
        with ThreadPoolExecutor() as beside:
            timeline = beside.submit(self.provider.command, "jobs", "show", str(self.ours))
            with self.story.step("agent stopped (SIGTERM)"):
                expect(self.provider.stop_agent() == 0, "it ended with exit code 0")
            self.story.console.print(f"\n{self._earned_and_spent()}\n\n{timeline.result()}")

    def _earned_and_spent(self) -> str:
        """On the chain. Raises Refused: nothing was earned."""
        market, ours = self.eyes.market, self.person("provider").address
        earned = market.payment_token.functions.balanceOf(ours).call()
        expect(earned > 0, "earned something")
        spent = COINS - market.w3.eth.get_balance(market.w3.to_checksum_address(ours))
        return f"earned {earned / USD:.6f} tUSD, gas {spent / 10**18:.6f} coin (test money)"


def play(directory: Path, console: Console) -> float:
    """Run the demo in `directory`; seconds it took. Raises a Fault when a step is not seen."""
    console.print("Simulated here: EC2's hardware and the Nitro card. Real: everything else.\n")
    story, before = Story(console), Before(directory.resolve())
    with running(before.options()) as net:
        with story.step("chain, IPFS gateway and AWS are up, contracts deployed") as seen:
            seen(f"registry {net.devnet.registry}")
        with story.step("enclave image built and added to IPFS") as seen:
            seen(before.url)
        provider = Provider(net.devnet, net.children, Path(net.devnet.config_files["provider"]))
        Demo(story, Eyes(net.devnet), provider, before.url, before.job).play()
    return story.seconds


def _price(text: str) -> Price:
    return Price.parse(text, decimals=6)


def expect(true: bool, what: str) -> None:
    """Raises Refused: it was not seen."""
    if not true:
        raise Refused(f"the demo did not see this: {what}")


def _echo(host: str, words: str) -> str:
    return httpx.post(f"http://{host}:{ECHO_PORT}/", content=words, timeout=5).text
