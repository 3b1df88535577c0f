"""One devnet AWS for a module's tests, and what an agent would do to a host, by hand."""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config as SdkConfig
from botocore.exceptions import ClientError

from devnet.aws.control import Faulty
from devnet.aws.ec2 import Timings
from devnet.aws.instances import Fleet
from devnet.aws.server import Aws
from devnet.image import build_image
from enclave.host import bundle, userdata
from enclave.host.config import Cadence, Config
from enclave.host.documents import Desired, Port, Status

T = TypeVar("T")

BUCKET = "oyster-test"
DEADLINE_SECONDS = 20.0
_POLL_SECONDS = 0.02
FAST = Cadence(
    first_poll=0.05,
    poll=0.1,
    heartbeat=0.5,
    watch=0.1,
    backoff=0.02,
    well_after=600.0,
    traffic=0.2,
)
PORTS = (Port(1300, 1300), Port(8080, 8080))


def client(endpoint: str, service: str) -> Any:
    """boto3 as an operator has it, without retries: a test sees each answer."""
    return boto3.client(  # type: ignore[call-overload]  # the service is a variable
        service,
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id="AKIAOPERATOR",
        aws_secret_access_key="secret",
        config=SdkConfig(retries={"max_attempts": 0}),
    )


class Host:
    """One launched instance and its folder in the mailbox."""

    def __init__(self, rig: Rig, instance: str) -> None:
        self.rig, self.id = rig, instance
        self.root = rig.fleet.root(instance)
        self._folder = f"hosts/{rig.role_id}:{instance}/"

    def want(self, desired: Desired) -> None:
        self.rig.put(self._folder + "desired.json", json.dumps(desired.to_json()).encode())

    def put_desired(self, body: bytes) -> None:
        self.rig.put(self._folder + "desired.json", body)

    def status(self) -> Status | None:
        """The last one written, None before the first; its heartbeat is when it was written."""
        try:
            answer = self.rig.s3.get_object(Bucket=BUCKET, Key=self._folder + "status.json")
        except ClientError:
            return None
        body = answer["Body"].read()
        if not body or "clock" not in answer["Metadata"]:
            return None  # moto keeps a new body before its metadata; this read came between
        status = Status.from_json(json.loads(body))
        return replace(status, heartbeat=float(answer["Metadata"]["clock"]))

    def wait(self, reached: Callable[[Status], bool]) -> Status:
        """The first status seen for which `reached` holds."""

        def look() -> Status | None:
            status = self.status()
            return status if status is not None and reached(status) else None

        return until(look, lambda: f"{self.status()}\n{self.log()}")

    def wait_phase(self, phase: str, run_id: str = "run-1") -> Status:
        return self.wait(lambda one: one.phase == phase and one.run_id == run_id)

    def command(self, name: str, **given: Any) -> dict[str, Any]:
        return self.rig.faulty.machine(self.id, name, **given)

    def faults(self) -> dict[str, list[str]]:
        """What its tools are still to answer wrong, by their commands."""
        return dict(json.loads((self.root / "etc/devnet-faults.json").read_text()))

    def get(self, port: int, path: str) -> bytes:
        """From the instance's public address, until it answers."""
        address = self.rig.aws.ec2.records[self.id].public_ip

        def ask() -> bytes | None:
            try:
                with urllib.request.urlopen(f"http://{address}:{port}{path}", timeout=5) as answer:
                    return bytes(answer.read())
            except (urllib.error.URLError, OSError):
                return None

        return until(ask, self.log)

    def connection(self, port: int) -> socket.socket:
        """To a port of the instance that is known to be open."""
        address = self.rig.aws.ec2.records[self.id].public_ip
        return socket.create_connection((address, port), DEADLINE_SECONDS)

    def refuses(self, port: int) -> bool:
        """Whether nothing listens there any more, in a while."""

        def ask() -> bool:
            try:
                self.connection(port).close()
            except ConnectionRefusedError:
                return True
            return False

        return until(ask, self.log)

    def log(self) -> str:
        texts = [path.read_text(errors="replace") for path in self.root.glob("var/log/*.log")]
        return "\n".join(texts)[-3000:]

    def enclaves(self) -> list[dict[str, Any]]:
        """What runs, by the simulated hypervisor's own records."""
        paths = (self.root / "run/nitro_enclaves").glob("*.json")
        return [json.loads(path.read_text()) for path in paths]


class Rig:
    """AWS with a bucket, a role, a staged image and the staged program."""

    def __init__(self, aws: Aws, fleet: Fleet, directory: Path) -> None:
        self.aws, self.fleet = aws, fleet
        self.faulty = Faulty(f"{aws.endpoint}/_devnet")
        self.s3, self.ec2 = client(aws.endpoint, "s3"), client(aws.endpoint, "ec2")
        self.role_id = _make_role(client(aws.endpoint, "iam"))
        self.s3.create_bucket(Bucket=BUCKET)
        self.program = bundle.build()
        self.digest = bundle.digest(self.program)
        self.put(f"programs/{self.digest}.pyz", self.program)
        self.image = self.make_image(directory, "hello")
        self.desired = Desired(
            "run-1",
            sha256(self.image),
            len(self.image),
            cpu_count=2,
            memory_mib=512,
            ports=PORTS,
        )

    def put(self, key: str, body: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)

    def make_image(self, directory: Path, text: str) -> bytes:
        folder = directory / text
        folder.mkdir(exist_ok=True)
        (folder / "service").write_text(text)
        return build_image(folder)

    def stage(self, image: bytes | None = None) -> None:
        body = image or self.image
        self.put(f"images/{sha256(body)}", body)

    def launch(self, cadence: Cadence = FAST, **changed: Any) -> Host:
        config = Config(
            "us-east-1",
            BUCKET,
            f"hosts/{self.role_id}:",
            f"programs/{self.digest}.pyz",
            self.digest,
            cadence,
        )
        order = {
            "ImageId": "ami-12c6146b",
            "InstanceType": "c6a.xlarge",
            "UserData": userdata.render(config),
            "IamInstanceProfile": {"Name": "oyster-host"},
            "EnclaveOptions": {"Enabled": True},
            **changed,
        }
        answer = self.ec2.run_instances(MinCount=1, MaxCount=1, **order)
        return Host(self, answer["Instances"][0]["InstanceId"])

    def end(self, host: Host) -> None:
        self.ec2.terminate_instances(InstanceIds=[host.id])


@contextmanager
def rig(
    directory: Path, *, python: str = sys.executable, baked: bool = True, **timings: float
) -> Iterator[Rig]:
    """Everything up inside; times are 0 but for those named."""
    times = replace(Timings().scaled(0), **timings)
    fleet = Fleet(directory / "fleet", times, python=python, baked=baked)
    with Aws(times, fleet) as aws:
        fleet.endpoint = aws.endpoint
        yield Rig(aws, fleet, directory)


def until(
    look: Callable[[], T | None], why: Callable[[], str], seconds: float = DEADLINE_SECONDS
) -> T:
    """Poll a real process's work, with a deadline."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = look()
        if found is not None and found is not False:
            return found
        time.sleep(_POLL_SECONDS)
    raise AssertionError(f"not within {seconds} s: {why()}")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _make_role(iam: Any) -> str:
    """moto's memory is the process's: a second rig finds what the first made."""
    with suppress(iam.exceptions.EntityAlreadyExistsException):
        iam.create_role(RoleName="oyster-host", AssumeRolePolicyDocument="{}")
        _make_profile(iam)
    return str(iam.get_role(RoleName="oyster-host")["Role"]["RoleId"])


def _make_profile(iam: Any) -> None:
    iam.create_instance_profile(InstanceProfileName="oyster-host")
    iam.add_role_to_instance_profile(InstanceProfileName="oyster-host", RoleName="oyster-host")
