"""The host program on one simulated instance: from "running" to enclave started, and what it costs.

Boot, allocator and enclave boot take no time in this simulation and nothing is slept, so what is
left is the program's own: user data, two fetches, decisions, processes. The real machine adds its
own seconds (kernel, dnf unless baked, huge pages, the enclave's kernel). A poll of desired.json
every 50 ms is in it.
"""

from __future__ import annotations

import hashlib
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import boto3

from bench.figure import Figure
from devnet.aws.ec2 import Timings
from devnet.aws.instances import Fleet
from devnet.aws.server import Aws
from devnet.image import build_image
from enclave.host import bundle, userdata
from enclave.host.config import Cadence, Config
from enclave.host.documents import Desired, Port

ROUNDS = 5
_IMAGE_MIB = 64
_BUCKET = "bench"
_DEADLINE_SECONDS = 60.0
_QUICK = Cadence(first_poll=0.05, poll=0.05, watch=0.5)


def run() -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="oyster-bench-") as folder:
        fleet = Fleet(Path(folder) / "fleet", Timings().scaled(0), baked=True)
        with Aws(Timings().scaled(0), fleet) as aws:
            fleet.endpoint = aws.endpoint
            bench = _Bench(aws, Path(folder))
            small = [bench.one(2) for _ in range(ROUNDS)]
            large = [bench.one(_IMAGE_MIB) for _ in range(ROUNDS)]
            resident = bench.resident_mib()
    user_data = len(userdata.render(bench.config).encode())
    return [
        _median("running to enclave started, 2 MiB image", small, 3.0),
        _median(f"running to enclave started, {_IMAGE_MIB} MiB image", large, 6.0),
        Figure("user data", user_data / 1024, "KiB", 16.0, None, True),
        Figure("host program", len(bench.program) / 1024, "KiB"),
        Figure("host program, resident", resident, "MiB", 40.0, None, True),
    ]


def _median(name: str, values: list[float], target: float) -> Figure:
    note = f"median of {len(values)}, simulated machine"
    return Figure(name, statistics.median(values), "s", target, None, True, note)


class _Bench:
    """A bucket, a role and a program; launches instances one after the other."""

    def __init__(self, aws: Aws, folder: Path) -> None:
        self._aws, self._folder = aws, folder
        self._s3, self._ec2 = self._client("s3"), self._client("ec2")
        self._s3.create_bucket(Bucket=_BUCKET)
        self._role = self._make_role()
        self.program = bundle.build()
        digest = bundle.digest(self.program)
        self.config = Config(
            "us-east-1", _BUCKET, f"hosts/{self._role}:", f"programs/{digest}.pyz", digest, _QUICK
        )
        self._put(self.config.program_key, self.program)

    def one(self, image_mib: int) -> float:
        """Seconds from EC2's "running" to the status that says running."""
        image = self._image(image_mib)
        digest = hashlib.sha256(image).hexdigest()
        self._put(f"images/{digest}", image)
        desired = Desired("run-1", digest, len(image), 2, 1024, ports=(Port(1300, 1300),))
        instance = self._launch()
        self._put(self._key(instance, "desired.json"), json.dumps(desired.to_json()).encode())
        reached = self._wait(instance)
        began = self._aws.ec2.records[instance].running_at
        assert began is not None
        self._forget(instance)
        return reached - began

    def resident_mib(self) -> float:
        """Of the host program of one more instance, once it runs."""
        self._put("images/none", b"")
        instance = self._launch()
        self._wait(instance, phase="booted")
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                command = (entry / "cmdline").read_bytes()
                pages = int((entry / "statm").read_text().split()[1])
            except OSError:
                continue
            if instance.encode() in command and b".pyz" in command:
                return pages * 4096 / (1 << 20)
        raise RuntimeError(f"no host program runs on {instance}")

    def _launch(self) -> str:
        answer = self._ec2.run_instances(
            ImageId="ami-12c6146b",
            InstanceType="c6a.xlarge",
            MinCount=1,
            MaxCount=1,
            UserData=userdata.render(self.config),
            IamInstanceProfile={"Name": "bench"},
            EnclaveOptions={"Enabled": True},
        )
        return str(answer["Instances"][0]["InstanceId"])

    def _wait(self, instance: str, phase: str = "running") -> float:
        """When the host itself reached the phase (its own clock, which is ours)."""
        end = time.monotonic() + _DEADLINE_SECONDS
        while time.monotonic() < end:
            found = self._s3.list_objects_v2(Bucket=_BUCKET, Prefix=self._key(instance, "status"))
            if found["KeyCount"]:
                key = self._key(instance, "status.json")
                body = self._s3.get_object(Bucket=_BUCKET, Key=key)["Body"].read()
                status = json.loads(body)
                if status["phase"] == phase:
                    return float(status["phases"][phase])
            time.sleep(0.02)
        raise RuntimeError(f"{instance} did not reach {phase}")

    def _forget(self, instance: str) -> None:
        self._ec2.terminate_instances(InstanceIds=[instance])

    def _image(self, mib: int) -> bytes:
        folder = self._folder / f"image-{mib}"
        folder.mkdir(exist_ok=True)
        (folder / "noise").write_bytes(hashlib.shake_256(b"noise").digest(mib << 20))
        return build_image(folder)

    def _key(self, instance: str, name: str) -> str:
        return f"hosts/{self._role}:{instance}/{name}"

    def _put(self, key: str, body: bytes) -> None:
        self._s3.put_object(Bucket=_BUCKET, Key=key, Body=body)

    def _make_role(self) -> str:
        iam = self._client("iam")
        role = iam.create_role(RoleName="bench", AssumeRolePolicyDocument="{}")["Role"]
        iam.create_instance_profile(InstanceProfileName="bench")
        iam.add_role_to_instance_profile(InstanceProfileName="bench", RoleName="bench")
        return str(role["RoleId"])

    def _client(self, service: str) -> Any:
        return boto3.client(  # type: ignore[call-overload]  # the service is a variable
            service,
            region_name="us-east-1",
            endpoint_url=self._aws.endpoint,
            aws_access_key_id="AKIABENCH",
            aws_secret_access_key="secret",
        )
