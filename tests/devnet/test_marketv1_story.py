"""A job's life on a devnet with MarketV1: opened, changed, announced, closed, nothing left.

Real contract, real HTTP and S3, the agent as a process; believed is only what chain and AWS show,
and what Marlin's own tools would ask, in their order and their words.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError
from cryptography import x509

from agent.config import load
from agent.market.model import InstanceType
from agent.market.price import Price
from agent.market.workload import Workload
from agent.markets.marketv1.metadata import write
from cloud.layout import PARAMS
from contracts.deploy import deploy_marketv1
from devnet.agent_process import Provider
from devnet.eyes import Eyes, SeenInstance
from devnet.guest.init_params import written
from devnet.image import build_image
from devnet.ipfs.node import add
from devnet.owners import Owners
from devnet.people import account_of
from devnet.processes import free_port
from devnet.state import Devnet, Person
from devnet.up import USD, Options, running
from devnet.watchers import cards_of, document_of, ip_of, rate_by_card
from enclave.attest.certificates import load_root
from enclave.attest.document import AttestationRefused, Expected, verify
from enclave.attest.init_params import digest_of, pcr16_of
from faults import Refused

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(420),
    pytest.mark.allow_hosts(["127.0.0.0/8"]),  # the instances' public addresses
    pytest.mark.xdist_group("story"),
]

KIND = InstanceType("us-east-1", "c6a.xlarge")
CARD = Price.parse("3.60/h", decimals=6)
LOCK_SECONDS = 8
HOT_KEY = "rival"  # whose key the agent has
PATIENCE = 120  # seconds; a busy machine, not the agent, is what takes them
CONFIG = {
    "chain": {"finality": "3"},
    "jobs": {"min_escrow": "3s", "resync": "5s"},
    "deadlines": {"launch": "3s", "boot": "3s", "image": "2s", "enclave": "3s"},
    "keepalive": {"probe": "2s", "retry": "1s", "restart": "20s", "replace_backoff": "1s"},
}


@dataclass(frozen=True)
class Scene:
    eyes: Eyes
    provider: Provider
    public: str
    images: tuple[Workload, Workload]

    @property
    def owners(self) -> Owners:
        return Owners(self.eyes.market)

    @property
    def user(self) -> Person:
        return self.eyes.devnet.person("user")

    def open(
        self, work: Workload | None = None, *, balance: int = USD, rate: int = CARD.raw
    ) -> int:
        us = self.eyes.devnet.person("provider")
        return self.owners.open(self.user, us, KIND, work or self.images[0], rate, balance)

    def ip(self, job: int) -> str | None:
        """As Marlin's monitor asks."""
        return ip_of(self.public, job, KIND.region)

    def up(self, job: int) -> str:
        """The address, once the enclave behind it shows a document."""

        def look() -> str | None:
            address = self.ip(job)
            return address if address and document_of(address) else None

        return self.eyes.until(f"an enclave of job {job}", look, PATIENCE)

    def instances(self, job: int) -> list[SeenInstance]:
        return self.eyes.live_instances(job)

    def past(self, job: int) -> dict[str, Any]:
        """Its row among the past jobs of the page, once it is over there."""
        listen = load(self.provider.config, {}).status.listen

        def row() -> dict[str, Any] | None:
            shown = httpx.get(
                f"http://{listen}/past.json", params={"q": str(job)}, timeout=PATIENCE
            ).json()
            over = (row for row in shown["jobs"] if row["id"] == job and row["ended_at"])
            return next(over, None)

        found: dict[str, Any] = self.eyes.until(f"job {job} among the past ones", row, PATIENCE)
        return found

    def gone(self, job: int) -> None:
        self.eyes.until("no live instance", lambda: not self.instances(job), PATIENCE)

    def earned(self, job: int) -> int:
        """What the settlements of this job moved to the provider, told by the token."""
        market, token = self.eyes.market.marketv1, self.eyes.market.payment_token
        settled = {
            log["transactionHash"]
            for log in market.events.JobSettled().get_logs(from_block=0)
            if int.from_bytes(log["args"]["job"]) == job
        }
        us = self.eyes.devnet.person("provider").address
        return sum(
            log["args"]["value"]
            for log in token.events.Transfer().get_logs(from_block=0)
            if log["transactionHash"] in settled and log["args"]["receiver"] == us
        )


@contextmanager
def _opened(folder: Path) -> Iterator[Scene]:
    listen, public = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    status = {"listen": listen, "public_listen": public}
    options = Options(
        directory=folder, market="marketv1", rate_lock_seconds=LOCK_SECONDS, boot_share=0.02,
        config_overrides={**CONFIG, "status": status},
    )  # fmt: skip
    with running(options) as net:
        config = Path(net.devnet.config_files["provider"])
        offer = f'\n[[offers]]\ntype = "{KIND}"\nprice = "3.60/h"\n'
        config.write_text(_with_hot_key(config.read_text(), net.devnet) + offer)
        provider = Provider(net.devnet, net.children, config)
        provider.command("cloud", "setup")
        images = (_image(folder, "one"), _image(folder, "two"))
        provider.run_agent()
        yield Scene(Eyes(net.devnet), provider, f"http://{public}", images)


def _with_hot_key(config: str, devnet: Devnet) -> str:
    """The provider's jobs, served by an account that is not the provider's and pays gas alone."""
    us, hot = devnet.person("provider"), devnet.person(HOT_KEY)
    named = config.replace("[chain]\n", f'[chain]\nprovider = "{us.address}"\n', 1)
    assert us.key_file in named
    return named.replace(us.key_file, hot.key_file)


def _image(folder: Path, name: str) -> Workload:
    app = folder / name
    app.mkdir()
    (app / "program").write_bytes(name.encode() * 1000)
    image = folder / f"{name}.eif"
    image.write_bytes(build_image(app))
    return Workload(f"ipfs://{add(folder / 'ipfs', image)}", 1024, 2)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with _opened(tmp_path_factory.mktemp("marketv1")) as scene:
        yield scene


def _card(scene: Scene) -> dict[str, Any] | None:
    """The one rate card, once the agent knows what an enclave gets on the type."""
    found = [card for card in cards_of(scene.public) if card["memory"]]
    return found[0] if found else None


def test_spec__as_the_command_line_reads_it__opens_a_job_that_is_served(scene: Scene) -> None:
    card = scene.eyes.until("a rate card", lambda: _card(scene), PATIENCE)
    rate = rate_by_card(scene.public, card)
    work = replace(scene.images[0], memory_mib=card["memory"], cpu_count=card["cpu"])
    assert card["instance"] == KIND.ec2_type
    job = scene.open(work, rate=rate)
    query = {"id": f"0x{job:064x}", "region": "eu-west-1"}
    other = httpx.get(f"{scene.public}/ip", params=query)
    assert (other.status_code, other.text) == (400, "BAD_REQUEST")
    scene.up(job)
    scene.owners.announce(scene.user, job, 0)
    scene.gone(job)
    past = scene.past(job)
    assert (past["instance_type"], past["harms"]) == (str(KIND), [])
    assert past["earned"] == str(scene.earned(job))
    assert 0 < past["start_seconds"] < past["ended_at"] - past["assigned_at"]


def test_job__dry__is_settled_to_the_unit_and_served_again_after_a_deposit(scene: Scene) -> None:
    """By a key that is not the provider's: it pays the gas, and the provider is paid."""
    w3 = scene.eyes.market.w3
    us, hot = (account_of(scene.eyes.devnet.person(who)).address for who in ("provider", HOT_KEY))
    coins = w3.eth.get_balance(hot)
    job = scene.open(balance=30_000)  # 30 seconds
    scene.up(job)
    scene.gone(job)
    assert scene.eyes.until("settled", lambda: not scene.owners.job(job)["balance"], PATIENCE)
    assert scene.earned(job) == 30_000
    assert w3.eth.get_balance(hot) < coins
    assert w3.eth.get_transaction_count(us) == 0
    scene.owners.deposit(scene.user, job, USD)
    scene.up(job)
    scene.owners.announce(scene.user, job, 0)
    scene.gone(job)


def test_entry__without_the_providers_key__can_not_be_changed(scene: Scene) -> None:
    with pytest.raises(Refused, match="only the provider's own key can change its entry"):
        scene.provider.command("provider", "remove", "--yes")


@pytest.mark.parametrize("metadata", ["", "no json", '{"region":"us-east-1"}', "[" * 500])
def test_job__that_nobody_can_serve__costs_nothing(scene: Scene, metadata: str) -> None:
    us = scene.eyes.devnet.person("provider")
    job = scene.owners.open_with(scene.user, us, metadata, CARD.raw, USD)
    scene.open(balance=1)  # nor one that pays for less than a second
    assert scene.ip(job) is None
    log = Path(scene.provider.config).parent / "logs" / "agent.log"
    told = f"job.refused job={job} "
    scene.eyes.until("a refusal", lambda: told in log.read_text(), PATIENCE)
    assert not scene.eyes.instances(job)
    asked = httpx.get(f"{scene.public}/ip", params={"id": str(job), "region": KIND.region})
    assert f"job {job} is refused: metadata: " in asked.text


def test_commands__of_the_registry__say_that_this_market_has_none(scene: Scene) -> None:
    for words in (("stake", "1"), ("exit", "--all", "--yes"), ("offers", "list")):
        with pytest.raises(Refused, match=r"this market (has|lists) no"):
            scene.provider.command(*words)


def test_job__with_init_params__its_enclave_gets_them_and_proves_it(scene: Scene) -> None:
    params = written({"docker-compose.yml": b"services: {}", "secret": b"x" * 3000})
    digest = digest_of(params)
    assert digest is not None
    job = scene.open(replace(scene.images[0], init_params=params))
    address = scene.up(job)
    document = httpx.get(f"http://{address}:1300/attestation/raw").content
    root = load_root(Path(scene.eyes.devnet.attestation_root).read_bytes())
    verify(document, at=time.time(), expected=Expected(pcrs={16: pcr16_of(digest)}), root=root)
    told = httpx.get(f"http://{address}:8080/").json()["init"]
    assert told["job"] == f"0x{job:064x}"
    (instance,) = scene.instances(job)
    other = written({"docker-compose.yml": b"services: {other: {}}"})
    scene.owners.update(scene.user, job, write(KIND, replace(scene.images[0], init_params=other)))
    after = digest_of(other)
    assert after is not None
    scene.eyes.until("the other params", lambda: _proves(address, root, after), PATIENCE)
    assert [one.id for one in scene.instances(job)] == [instance.id]
    assert _staged(scene) == {hashlib.sha256(other).hexdigest()}, "the first ones are deleted"
    scene.owners.announce(scene.user, job, 0)
    scene.gone(job)
    scene.eyes.until("no init params", lambda: not _staged(scene), PATIENCE)


def _staged(scene: Scene) -> set[str]:
    """Digests of the init params in the bucket."""
    keys = (text.partition(f"/{PARAMS}") for text in scene.eyes.left_in_aws())
    return {digest for _, found, digest in keys if found}


def _proves(address: str, root: x509.Certificate, digest: bytes) -> bool:
    expected = Expected(pcrs={16: pcr16_of(digest)})
    try:
        document = httpx.get(f"http://{address}:1300/attestation/raw").content
        verify(document, at=time.time(), expected=expected, root=root)
    except (httpx.HTTPError, AttestationRefused):
        return False
    return True


def _no_card(scene: Scene) -> bool:
    spec = httpx.get(f"{scene.public}/spec").json()
    return not [card for region in spec["min_rates"] for card in region["rate_cards"]]


def _log(scene: Scene) -> str:
    return (Path(scene.provider.config).parent / "logs" / "agent.log").read_text()


def test_pause__new_jobs_are_refused__and_served_after_resume(scene: Scene) -> None:
    """A job in debug mode: attested, by its instance alone, and ordered with its console."""
    scene.provider.command("pause", "--yes")
    assert _no_card(scene)
    job = scene.open(replace(scene.images[0], debug=True))
    told = f"job.refused job={job} "
    scene.eyes.until("a refusal", lambda: told in _log(scene), PATIENCE)
    assert not scene.eyes.instances(job)
    scene.provider.command("resume", "--yes")
    scene.up(job)
    proven = f"enclave.attested job={job} "
    scene.eyes.until("a document of a debug enclave", lambda: proven in _log(scene), PATIENCE)
    shown = scene.provider.command("jobs", "show", str(job))
    assert "not the image: PCR0 to PCR2 are zeros" in shown
    scene.owners.announce(scene.user, job, 0)
    scene.gone(job)


def _old(scene: Scene, job: int) -> tuple[str, str]:
    """An instance and its address as the old control plane leaves them."""
    tags = {
        "managedBy": "marlin", "project": "oyster", "jobId": f"0x{job:064x}", "Name": "JobRunner",
        "operator": scene.eyes.devnet.person("provider").address.lower(),
        "contractAddress": scene.eyes.devnet.registry, "chainID": str(scene.eyes.devnet.chain_id),
    }  # fmt: skip
    pairs = [{"Key": name, "Value": value} for name, value in tags.items()]
    ec2: Any = scene.eyes.ec2
    image = ec2.describe_images()["Images"][0]["ImageId"]
    made = ec2.run_instances(
        ImageId=image, InstanceType=KIND.ec2_type, MinCount=1, MaxCount=1,
        TagSpecifications=[{"ResourceType": "instance", "Tags": pairs}],
    )  # fmt: skip
    instance = str(made["Instances"][0]["InstanceId"])
    held = ec2.allocate_address(
        Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": pairs}]
    )
    scene.eyes.until("the old one runs", lambda: _state(scene, instance) == "running", PATIENCE)
    ec2.associate_address(AllocationId=held["AllocationId"], InstanceId=instance)
    return instance, str(held["PublicIp"])


def _state(scene: Scene, instance: str) -> str:
    ec2: Any = scene.eyes.ec2
    try:
        found = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"][0]
    except ClientError as error:
        if error.response["Error"]["Code"] != "InvalidInstanceID.NotFound":
            raise
        return "not visible yet"  # EC2 is eventually consistent, and so is the devnet's
    return str(found["State"]["Name"])


def _addresses(scene: Scene) -> set[str]:
    ec2: Any = scene.eyes.ec2
    return {str(one["PublicIp"]) for one in ec2.describe_addresses()["Addresses"]}


KILLED = """
import os, sys
from cloud.clients import Calls
from oyster_provider.__main__ import main
last, ask = sys.argv.pop(1), Calls.ask
async def ask_and_die(self, region, call, *more):
    answer = await ask(self, region, call, *more)
    return os._exit(137) if call == last else answer
Calls.ask = ask_and_die
main()
"""


def _killed_after(scene: Scene, call: str) -> None:
    """The program, gone in the moment in which AWS has done this for it."""
    words = (sys.executable, "-c", KILLED, call, "takeover", "--yes")
    env = {**os.environ, **scene.provider.env}
    done = subprocess.run(words, env=env, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 137, done.stderr


def test_takeover__ends_the_old_only_when_ours_is_proven__and_can_be_interrupted(
    scene: Scene,
) -> None:
    scene.provider.command("pause", "--yes")  # ours refuses: the old one must stay
    job = scene.open()
    (old, ip), (strange, other_ip) = _old(scene, job), _old(scene, 10**6)
    told = f"job.refused job={job} "
    scene.eyes.until("a refusal", lambda: told in _log(scene), PATIENCE)
    kept = scene.provider.ask("takeover", "--dry-run")
    assert {one["instance"]: one["ends"] for one in kept["instances"]} == {
        old: False, strange: False,
    }  # fmt: skip
    scene.provider.command("takeover", "--yes")
    assert (_state(scene, old), _state(scene, strange)) == ("running", "running")

    scene.provider.command("resume", "--yes")
    ours = scene.up(job)
    scene.provider.crash_agent()  # between two steps: without the agent nothing is ended
    ended = scene.open()  # as one that the old control plane had given up
    config = scene.provider.config.read_text()
    for words in ((), ("--serve-ended",)):  # served unless somebody says that it is not
        with pytest.raises(Refused, match="no agent runs yet"):
            scene.provider.command("takeover", "--yes", *words)
    assert scene.provider.config.read_text() == config
    assert _state(scene, old) == "running"
    scene.provider.run_agent()
    scene.up(job)
    scene.up(ended)
    _killed_after(scene, "TerminateInstances")
    assert _state(scene, old) in ("shutting-down", "terminated")
    assert ip in _addresses(scene)
    _killed_after(scene, "ReleaseAddress")
    assert ip not in _addresses(scene)
    scene.provider.command("takeover", "--yes")
    assert (_state(scene, strange), other_ip in _addresses(scene)) == ("running", True)
    assert scene.ip(job) == ours
    for served in (job, ended):
        scene.owners.announce(scene.user, served, 0)
        scene.gone(served)
    scene.eyes.ec2.terminate_instances(InstanceIds=[strange])


def test_token__changed_by_the_administrator__pauses_the_agent(scene: Scene) -> None:
    """The last one: the market pays in another token from here on."""
    market, faucet = scene.eyes.market, scene.eyes.devnet.person("faucet")
    other = deploy_marketv1(market.w3, account_of(faucet)).payment_token
    market.send(faucet, market.marketv1.functions.updateToken(other))
    scene.eyes.until("no rate card", lambda: _no_card(scene), PATIENCE)
    assert "market.changed" in _log(scene)
