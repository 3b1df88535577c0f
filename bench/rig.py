"""A devnet with an agent that is measured from outside: blocks are mined when the bench says so.

The chain is py-evm, the agent polls it every 0.25 s and runs as a process of its own; EC2 is the
honest one with its published boot times. What is simulated is the machine, never a wait.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from eth_account.signers.local import LocalAccount
from web3.types import Nonce, RPCEndpoint, TxParams, Wei

from agent.market.model import InstanceType
from agent.market.price import Price
from agent.market.workload import Workload
from agent.markets.marketv1.metadata import write
from devnet.agent_process import Provider
from devnet.aws.control import Faulty
from devnet.eyes import Eyes
from devnet.image import build_image
from devnet.ipfs.node import add
from devnet.people import Actions, account_of
from devnet.up import POND, REGION, USD, Options, running
from faults import RetryLater

Seen = TypeVar("Seen")

TYPE, CARD = f"{REGION}/c6a.xlarge", "1.80/h"
SEEN_SECONDS = 120.0
LOOK_SECONDS = 0.02
_REQUEST_GAS = 700_000  # docs/gas.md: 620,000 at most
_HOUR = 3600


@dataclass(frozen=True)
class Rig:
    """The market, the agent, and eyes on both."""

    eyes: Eyes
    provider: Provider
    directory: Path
    url: str
    """An image's `ipfs://` URL."""

    @cached_property
    def faulty(self) -> Faulty:
        return Faulty(self.eyes.devnet.aws_control)

    @cached_property
    def _user(self) -> LocalAccount:
        return account_of(self.eyes.devnet.person("user"))

    def request(self, count: int) -> None:
        """That many jobs into the pool; nothing is mined."""
        eth = self.eyes.market.w3.eth
        first = eth.get_transaction_count(self._user.address)
        for nonce in range(first, first + count):
            call = self._request()
            fields: TxParams = {
                "from": self._user.address,
                "nonce": Nonce(nonce),
                "gas": _REQUEST_GAS,
                "maxFeePerGas": Wei(100 * 10**9),
                "maxPriorityFeePerGas": Wei(10**9),
                "chainId": self.eyes.devnet.chain_id,
            }
            transaction: dict[str, Any] = dict(call.build_transaction(fields))
            eth.send_raw_transaction(self._user.sign_transaction(transaction).raw_transaction)

    def _request(self) -> Any:
        """A user's call for one job."""
        market, devnet, most = self.eyes.market, self.eyes.devnet, Price.parse("2/h", decimals=6)
        if devnet.market == "registry":
            return market.registry.functions.requestJob(TYPE, most.raw, self.url, 5 * USD)
        metadata = write(InstanceType.parse(TYPE), Workload(self.url, 1024, 2))
        provider = devnet.person("provider").address
        return market.marketv1.functions.jobOpen(metadata, provider, most.raw, 5 * USD)

    def mine(self) -> float:
        """One block of all that waits; unix seconds at which the node had it."""
        rpc(self.eyes, "evm_mine")
        return time.time()

    def jobs(self) -> int:
        """How many jobs there are; the newest has this number."""
        count: int = self.eyes.market.registry.functions.jobCount().call()
        return count

    def launched(self) -> dict[str, float]:
        """Every instance, and the unix second at which EC2 had made it."""
        return {one["id"]: one["launched_at"] for one in self.faulty.instances()}

    def until(
        self, what: str, look: Callable[[], Seen | None], every: float = LOOK_SECONDS
    ) -> Seen:
        """What `look` sees once it is true, asked `every` so many seconds. Raises RetryLater."""
        end = time.monotonic() + SEEN_SECONDS
        while time.monotonic() < end:
            if seen := look():
                return seen
            time.sleep(every)
        raise RetryLater(f"not seen within {SEEN_SECONDS:.0f} s: {what}")


@contextlib.contextmanager
def rig(image_mib: int = 1, market: str = "registry") -> Iterator[Rig]:
    """Everything up, the offer listed, the agent started and past its first launch."""
    with tempfile.TemporaryDirectory(prefix="oyster-bench-") as name:
        directory = Path(name)
        options = Options(
            directory=directory / "net",
            market=market,
            block_seconds=_HOUR,  # the bench mines
            stake_per_job=POND,
            job_bootstrapping=_HOUR,
            job_startup=_HOUR,
            boot_share=1,
            baked=True,
        )
        with running(options) as net:
            config = Path(net.devnet.config_files["provider"])
            provider = Provider(net.devnet, net.children, config)
            eyes = Eyes(net.devnet)
            url = _image(directory, options.directory / "ipfs", image_mib)
            _open(eyes, provider)
            made = Rig(eyes, provider, options.directory, url)
            made.faulty.faults(stuck_pending=True)
            provider.run_agent()
            _warm_up(made)
            yield made


def _image(directory: Path, ipfs: Path, mib: int) -> str:
    app = directory / "app"
    app.mkdir()
    (app / "noise").write_bytes(bytes(mib << 20))
    file = directory / "app.eif"
    file.write_bytes(build_image(app))
    return f"ipfs://{add(ipfs, file)}"


def _open(eyes: Eyes, provider: Provider) -> None:
    """AWS set up, the offer listed: once, with a block for every transaction."""
    if eyes.devnet.market == "marketv1":
        with provider.config.open("a") as config:
            config.write(f'\n[[offers]]\ntype = "{TYPE}"\nprice = "{CARD}"\n')
        provider.command("cloud", "setup")
        return
    provider.command("cloud", "setup")
    rpc(eyes, "evm_setAutomine", True)
    actions, person = Actions(eyes.market), eyes.devnet.person("provider")
    actions.allow(person)
    actions.offer(person, TYPE, Price.parse(CARD, decimals=6).raw, 1_000 * POND)
    rpc(eyes, "evm_setAutomine", False)


def _warm_up(rig: Rig) -> None:
    """A first job that is not counted: the agent has started, checked, and launched once."""
    rig.request(1)
    rig.mine()
    rig.until("the first launch", rig.launched)


def rpc(eyes: Eyes, method: str, *params: Any) -> Any:
    return eyes.market.w3.manager.request_blocking(RPCEndpoint(method), list(params))
