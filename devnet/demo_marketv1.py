"""The demo on Marlin's market: a job that is opened, changed, announced and closed.

Each step is done when it was seen on the chain, in AWS, or by what Marlin's own tools would ask;
never because the agent says so. What is simulated is said at the start.
"""

from __future__ import annotations

import hashlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from agent.market.model import InstanceType
from agent.market.workload import Workload
from agent.markets.marketv1.metadata import write
from cloud.layout import IMAGES
from devnet.agent_process import Provider
from devnet.demo import BOOT_SHARE, ECHO_PORT, Story, expect
from devnet.eyes import Eyes, SeenInstance
from devnet.guest.init_params import written
from devnet.image import build_image
from devnet.ipfs.node import add
from devnet.owners import Owners
from devnet.processes import free_port
from devnet.state import Person
from devnet.up import REGION, USD, Options, running
from devnet.watchers import cards_of, document_of, ip_of, rate_by_card
from enclave.attest.certificates import load_root
from enclave.attest.document import AttestationRefused, Expected, verify
from enclave.attest.init_params import digest_of, pcr16_of
from enclave.eif.measure import measure_file

KIND = InstanceType(REGION, "c6a.xlarge")
PRICE = "1.80/h"
LOCK_SECONDS = 10  # of a rate that is announced; 300 on the live market
PATIENCE = 60.0
PARAMS = written({"docker-compose.yml": b"services: {}", "greeting": b"hello"})
CONFIG: dict[str, Any] = {
    "chain": {"finality": "3"},
    "jobs": {"min_escrow": "3s", "resync": "5s"},
    "deadlines": {"launch": "3s", "boot": "3s", "image": "2s", "enclave": "3s"},
    "keepalive": {"probe": "2s", "retry": "1s"},
}


@dataclass
class Demo:
    """The story's state."""

    story: Story
    eyes: Eyes
    provider: Provider
    public: str
    first: Image
    second: Image
    job: int = 0
    instance: str = ""
    address: str = ""
    before: dict[str, int] = field(default_factory=dict)

    @property
    def owners(self) -> Owners:
        return Owners(self.eyes.market)

    @property
    def user(self) -> Person:
        return self.eyes.devnet.person("user")

    def play(self) -> None:
        """Every step in turn; raises a Fault at the first that is not seen."""
        self.prepare()
        self.open()
        self.come_up()
        self.update()
        self.announce()
        self.close()
        self.nothing_left()
        self.farewell()

    def prepare(self) -> None:
        with self.story.step("AWS set up, agent started; /spec shows what an enclave gets") as seen:
            self.provider.command("cloud", "setup")
            self.provider.run_agent()
            card = self.eyes.until("a rate card", self._card, PATIENCE)
            seen(f"{card['instance']}: {card['cpu']} CPUs, {card['memory']} MiB")
        with self.story.step("provider registered with the URL of its rates"):
            self.provider.command("provider", "add", "--url", self.public, "--yes")
            found = self.provider.ask("provider", "show")
            expect(found["url"] == self.public and found["answers"], "registered, and it answers")

    def _card(self) -> dict[str, Any] | None:
        found = [card for card in cards_of(self.public) if card["memory"]]
        return found[0] if found else None

    def open(self) -> None:
        with self.story.step("job opened as Marlin's command line does") as seen:
            self.before = {name: self._held(name) for name in ("provider", "user")}
            rate = rate_by_card(self.public, self._card() or {})
            us = self.eyes.devnet.person("provider")
            work = replace(self.first.work, init_params=PARAMS)
            self.job = self.owners.open(self.user, us, KIND, work, rate, USD)
            seen(f"job {self.job}, with init params of {len(PARAMS)} bytes")

    def _held(self, name: str) -> int:
        token = self.eyes.market.payment_token.functions
        held: int = token.balanceOf(self.eyes.devnet.person(name).address).call()
        return held

    def come_up(self) -> None:
        with self.story.step("up: /ip, TCP 1300 and a document, as the monitor asks") as seen:
            self.address = self.eyes.until("an address", self._address, PATIENCE)
            self.instance = self._instances()[0].id
            seen(f"{self.instance} at {self.address}")
        with self.story.step("attested; the document's PCR16 is what the params lead to"):
            self.eyes.until("the params' digest", lambda: self._proves(PARAMS), PATIENCE)
        with self.story.step("and so says the agent: `jobs show`") as seen:
            seen(self.eyes.until("its word", self._words_on_params, PATIENCE))

    def _address(self) -> str | None:
        address = ip_of(self.public, self.job, KIND.region)
        return address if address and document_of(address) else None

    def _instances(self) -> list[SeenInstance]:
        return self.eyes.live_instances(self.job)

    def _proves(self, params: bytes) -> bool:
        digest = digest_of(params)
        if digest is None:
            return False
        root = load_root(Path(self.eyes.devnet.attestation_root).read_bytes())
        expected = Expected(pcrs={16: pcr16_of(digest)})
        try:
            verify(document_of(self.address), at=time.time(), expected=expected, root=root)
        except AttestationRefused:
            return False
        return True

    def _words_on_params(self) -> str | None:
        """What `jobs show` says of the params; None: not that they are proven."""
        said = self.provider.command("jobs", "show", str(self.job)).splitlines()
        words = (line.removeprefix("init params").strip() for line in said)
        return next((one for one in words if one.startswith("init params proven")), None)

    def update(self) -> None:
        with self.story.step("updated in place: another image on the same instance") as seen:
            self.owners.update(self.user, self.job, write(KIND, self.second.work))
            self.eyes.until("the other image", self._runs_second, PATIENCE)
            expect([one.id for one in self._instances()] == [self.instance], "one instance")
            expect(ip_of(self.public, self.job, KIND.region) == self.address, "its address")
            seen(f"still {self.instance}")
        with self.story.step("agent killed (kill -9) and started again: the job is as it was"):
            self.provider.crash_agent()
            self.provider.run_agent()
            self.eyes.until("its address again", lambda: self._address() == self.address, PATIENCE)
            expect(len(self.eyes.instances(self.job)) == 1, "launched once, crash or not")

    def _runs_second(self) -> bool:
        """As the enclave itself says."""
        try:
            answer = httpx.get(f"http://{self.address}:{ECHO_PORT}/", timeout=5)
        except httpx.HTTPError:
            return False
        return self.second.sha256 in answer.text

    def announce(self) -> None:
        with self.story.step(f"notice of the end given; served for {LOCK_SECONDS} s more") as seen:
            self.owners.announce(self.user, self.job, 0)
            self.eyes.until("no live instance", lambda: not self._instances(), PATIENCE)
            expect(ip_of(self.public, self.job, KIND.region) is None, "/ip gives nothing")
            seen("instance ended")

    def close(self) -> None:
        with self.story.step("closed; money is exact to the unit") as seen:
            self.eyes.until("our settlement", lambda: self._held("provider") > 0, PATIENCE)
            self.owners.close(self.user, self.job)
            paid = self._held("provider") - self.before["provider"]
            spent = self.before["user"] - self._held("user")
            expect(paid == spent > 0, f"paid {paid}, and the user spent {spent}")
            shown = self.provider.ask("jobs", "show", str(self.job))
            expect(int(shown["earned"]["units"]) == paid, f"`jobs show` has {shown['earned']}")
            seen(f"{paid / USD:.6f} tUSD")

    def nothing_left(self) -> None:
        with self.story.step("nothing left in AWS but images, which go in ten minutes"):
            self.eyes.until("an empty account", lambda: not self._left(), PATIENCE)

    def _left(self) -> list[str]:
        return [name for name in self.eyes.left_in_aws() if IMAGES not in name]

    def farewell(self) -> None:
        with ThreadPoolExecutor() as beside:
            timeline = beside.submit(self.provider.command, "jobs", "show", str(self.job))
            with self.story.step("agent stopped (SIGTERM)"):
                expect(self.provider.stop_agent() == 0, "it ended with exit code 0")
            self.story.console.print(f"\n{timeline.result()}")


@dataclass(frozen=True)
class Image:
    """An enclave image on the devnet's IPFS, and the digest of its file."""

    work: Workload
    sha256: str


def _built(directory: Path, name: str) -> Path:
    """An image whose guest does as standard ones do: it extends PCR16 and locks it."""
    app = directory / name
    app.mkdir(parents=True, exist_ok=True)
    (app / "program").write_bytes(name.encode() * 1000)
    file = directory / f"{name}.eif"
    file.write_bytes(build_image(app))
    return file


def _known(file: Path) -> str:
    """As `enclave.known_images` names it: its builder knows its registers."""
    pcrs = measure_file(file).pcrs
    return f"demo-{file.stem}=" + ":".join(pcrs[number] for number in range(3))


def _added(directory: Path, file: Path) -> Image:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return Image(Workload(f"ipfs://{add(directory / 'ipfs', file)}", 1024, 2), digest)


def play_marketv1(directory: Path, console: Console) -> float:
    """Run the demo in `directory`; seconds it took. Raises a Fault when a step is not seen."""
    console.print("Simulated here: EC2's hardware and the Nitro card. Real: everything else.\n")
    listen, public = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    story, folder = Story(console), directory.resolve()
    with story.step("two enclave images built; the provider knows what they do with PCR16"):
        files = [_built(folder, name) for name in ("one", "two")]
    settings = {
        **CONFIG, "status": {"listen": listen, "public_listen": public},
        "enclave": {"known_images": [_known(file) for file in files]},
    }  # fmt: skip
    options = Options(
        directory=folder, market="marketv1", rate_lock_seconds=LOCK_SECONDS,
        boot_share=BOOT_SHARE, config_overrides=settings,
    )  # fmt: skip
    with running(options) as net:
        with story.step("chain, IPFS gateway and AWS are up, MarketV1 deployed") as seen:
            seen(f"market {net.devnet.registry}")
        config = Path(net.devnet.config_files["provider"])
        offer = f'\n[[offers]]\ntype = "{KIND}"\nprice = "{PRICE}"\n'
        config.write_text(config.read_text() + offer)
        provider = Provider(net.devnet, net.children, config)
        with story.step("both images added to IPFS"):
            one, two = (_added(folder, file) for file in files)
        Demo(story, Eyes(net.devnet), provider, f"http://{public}", one, two).play()
    return story.seconds
