"""A devnet with our provider registered and its agent running, for the tests that tell stories."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.market.model import JobStatus
from agent.market.price import Price
from devnet.agent_process import Provider
from devnet.aws.control import Faulty
from devnet.eyes import Eyes, SeenInstance
from devnet.image import build_image
from devnet.ipfs.node import add
from devnet.nitro.parts import built
from devnet.people import Actions
from devnet.processes import free_port
from devnet.up import USD, Options, running

TYPE = "us-east-1/c6a.xlarge"
PRICE = Price.parse("3.60/h", decimals=6)
# Far above what the type costs, so that seconds of a story are worth whole units.
REGISTER = ("register", TYPE, "3.60/h", "--stake", "10000", "--below-cost")
PATIENCE = 90  # seconds; a busy machine, not the agent, is what takes them


@dataclass(frozen=True)
class Scene:
    """A devnet with our provider registered and its agent running."""

    eyes: Eyes
    provider: Provider
    url: str

    @property
    def people(self) -> Actions:
        return Actions(self.eyes.market)

    @property
    def faulty(self) -> Faulty:
        return Faulty(self.eyes.devnet.aws_control)

    def request(self, deposit: int = 5 * USD) -> int:
        user = self.eyes.devnet.person("user")
        return self.people.request_job(user, TYPE, PRICE.raw, self.url, deposit)

    def launched(self, job_id: int) -> SeenInstance:
        found = self.eyes.until(
            "an instance", lambda: self.eyes.live_instances(job_id), seconds=PATIENCE
        )
        return found[0]

    def started(self, job_id: int) -> dict[str, Any]:
        return self.until(job_id, JobStatus.RUNNING)

    def until(self, job_id: int, status: JobStatus) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            job = self.eyes.job(job_id)
            return job if job["status"] == status else None

        return self.eyes.until(f"job {job_id} {status.name}", look, PATIENCE)

    def moved(self, job_id: int, first: SeenInstance) -> SeenInstance:
        """The instance that takes `first`'s place."""
        return self.eyes.until(
            "a replacement",
            lambda: [one for one in self.eyes.live_instances(job_id) if one.id != first.id],
            PATIENCE,
        )[0]

    def gone(self, job_id: int) -> None:
        self.eyes.until(
            "no live instance", lambda: not self.eyes.live_instances(job_id), seconds=PATIENCE
        )

    def stop(self, job_id: int) -> None:
        self.people.stop_job(self.eyes.devnet.person("user"), job_id)
        self.gone(job_id)


@contextmanager
def opened(options: Options, *, runs: bool = True) -> Iterator[Scene]:
    """The scene on a devnet of these options, with one image; all of it gone afterwards."""
    folder = options.directory
    status = {"listen": f"127.0.0.1:{free_port()}"}
    overrides = {**options.config_overrides, "status": status}
    with running(replace(options, config_overrides=overrides)) as net:
        config = Path(net.devnet.config_files["provider"])
        provider = Provider(net.devnet, net.children, config)
        provider.command("cloud", "setup")
        provider.command(*REGISTER, "--yes")
        if runs:
            provider.run_agent()
        yield Scene(Eyes(net.devnet), provider, _image(folder, options.boot))


def _image(folder: Path, boot: str) -> str:
    app = folder / "app"
    app.mkdir()
    (app / "program").write_bytes(b"\x7fELF" * 1000)
    image = folder / "app.eif"
    image.write_bytes(build_image(app, boots=built() if boot == "qemu" else None))
    return f"ipfs://{add(folder / 'ipfs', image)}"
