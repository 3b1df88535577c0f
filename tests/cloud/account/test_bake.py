"""Baking on moto: the image is made, and the builder never outlives the bake, whatever fails."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cloud import layout
from cloud.account import bake as baking
from cloud.account.bake import INSTALL_SECONDS, Recipe, bake
from cloud.account.teardown import Teardown
from cloud.aws import Aws
from cloud.clients import Clients
from cloud.kinds import NoCapacity, NotSetUp, OutcomeUnknown
from faults import Refused, RetryLater
from tests.cloud.conftest import REGION, FakeClock, Faults, Killed, answer, client, settings

pytestmark = pytest.mark.integration

PROGRAM = b"the host program"
BUCKET = f"oyster-123456789012-{REGION}"
FOUND = {"nft": "yes", "iptables": "not installed", "tun": "yes"}
RECIPE = Recipe("x86_64", ("aws-nitro-enclaves-cli",), PROGRAM)


class Oven:
    """An Aws whose builders switch themselves off when the clock has moved `works_after` times."""

    def __init__(self, aws: Aws, faults: Faults, path: Path, clock: FakeClock) -> None:
        self.aws, self.faults, self.clock = aws, faults, clock
        self.told: list[str] = []
        self.works_after: int | None = 2
        self.found: bytes | None = json.dumps(FOUND).encode()
        self.ec2 = client("ec2")
        self._settings = settings(path / "state")
        self._sleep = clock.sleep
        clock.sleep = self._and_work  # type: ignore[method-assign]  # the machine's own progress

    async def bake(self) -> str:
        return await bake(self.aws, self._settings, REGION, RECIPE, self.told.append)

    def instances(self) -> list[Any]:
        found = self.ec2.describe_instances()["Reservations"]
        return [one for reservation in found for one in reservation["Instances"]]

    def states(self) -> set[str]:
        return {one["State"]["Name"] for one in self.instances()}

    async def _and_work(self, seconds: float) -> None:
        await self._sleep(seconds)
        if self.works_after is not None and len(self.clock.slept) == self.works_after:
            for one in filter(_is_live, self.instances()):
                self.ec2.stop_instances(InstanceIds=[one["InstanceId"]])
                if self.found is not None:
                    key = layout.status_key(await self._role(), one["InstanceId"])
                    client("s3").put_object(Bucket=BUCKET, Key=key, Body=self.found)

    async def _role(self) -> str:
        return (await self.aws.account()).role_id


@pytest.fixture
def oven(aws: Aws, faults: Faults, tmp_path: Path, clock: FakeClock) -> Oven:
    return Oven(aws, faults, tmp_path, clock)


async def test_bake__all_well__an_image_of_its_name_and_no_builder(oven: Oven) -> None:
    image = await oven.bake()
    (found,) = oven.ec2.describe_images(ImageIds=[image])["Images"]
    assert found["Name"].startswith("oyster-host-x86_64-20")
    assert {"Key": "oyster:setup", "Value": "oyster"} in found["Tags"]
    assert oven.states() == {"terminated"}
    (sent,) = oven.faults.calls("RunInstances")
    assert sent["MetadataOptions"]["HttpTokens"] == "required"
    assert "KeyName" not in sent
    bucket = f"oyster-123456789012-{REGION}"
    key = layout.program_key(hashlib.sha256(PROGRAM).hexdigest())
    body = client("s3").get_object(Bucket=bucket, Key=key)["Body"]
    assert body.read() == PROGRAM
    assert key in sent["UserData"] or key in base64.b64decode(sent["UserData"]).decode()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (FOUND, "nft: yes; tun: yes): enclaves with `network = packets` can be served"),
        ({**FOUND, "nft": "x", "iptables": "yes"}, "packets` can be served"),
        ({**FOUND, "nft": "not installed"}, "can NOT be served from this image"),
        ({**FOUND, "tun": "/dev/net/tun: No such device"}, "No such device): enclaves"),
        ({**FOUND, "tun": "no such", "raw sockets": "yes"}, "packets` can be served"),
        ([], "not known (no JSON object)"),
        (None, "what the image has for them is not known"),
        ({"nft": "\x1b[31m"}, "can NOT be served"),
    ],
)
async def test_bake__what_the_builder_found_for_packets__is_said_and_no_mail_is_left(
    oven: Oven, found: Any, words: str
) -> None:
    oven.found = None if found is None else json.dumps(found).encode()
    await oven.bake()
    (line,) = [told for told in oven.told if told.startswith("packets")]
    assert words in line
    assert line.isprintable()
    listed = client("s3").list_objects_v2(Bucket=BUCKET, Prefix="hosts/")
    assert listed["KeyCount"] == 0


async def test_bake__installation_never_ends__is_refused_with_the_console_on_one_line(
    oven: Oven,
) -> None:
    oven.works_after = None
    with pytest.raises(Refused, match=r"did not finish.*RQ lockup detection disabled") as refused:
        await oven.bake()
    assert str(refused.value).isprintable()
    assert oven.clock.slept
    assert sum(oven.clock.slept) < INSTALL_SECONDS + 60
    assert oven.states() == {"terminated"}


async def test_bake__console_not_to_be_read__the_reason_is_still_the_installation(
    oven: Oven,
) -> None:
    oven.works_after = None
    oven.faults.before("GetConsoleOutput", answer("InternalError", 500))
    with pytest.raises(Refused, match="did not finish"):
        await oven.bake()
    assert oven.states() == {"terminated"}


async def test_bake__builder_ended_from_outside__is_not_waited_for(oven: Oven) -> None:
    def end(_params: dict[str, Any]) -> None:
        for one in oven.instances():
            oven.ec2.terminate_instances(InstanceIds=[one["InstanceId"]])

    oven.faults.before("DescribeInstances", lambda _: None, end)
    with pytest.raises(Refused, match="ended while it installed"):
        await oven.bake()
    assert sum(oven.clock.slept) < 60


@pytest.mark.parametrize(
    ("call", "code", "fault"),
    [
        ("CreateImage", "InvalidParameterValue", NotSetUp),
        ("CreateImage", "Unavailable", RetryLater),
    ],
)
async def test_bake__a_later_call_fails__no_builder_is_left(
    oven: Oven, call: str, code: str, fault: type[Exception]
) -> None:
    oven.faults.before(call, answer(code, 503 if fault is RetryLater else 400))
    with pytest.raises(fault, match=code):
        await oven.bake()
    assert oven.states() == {"terminated"}


async def test_bake__answers_missing_while_it_waits__goes_on(oven: Oven) -> None:
    oven.faults.before("DescribeInstances", lambda _: None, answer("Unavailable", 503))
    oven.faults.before("DescribeImages", lambda _: None, answer("InternalError", 500))
    assert (await oven.bake()).startswith("ami-")
    assert oven.states() == {"terminated"}


async def test_bake__reply_to_the_launch_lost__same_call_again(oven: Oven) -> None:
    oven.faults.after("RunInstances", answer("InternalError", 500))
    await oven.bake()
    first, second = oven.faults.calls("RunInstances")
    assert first == second
    assert first["ClientToken"]


async def test_bake__first_zone_without_such_builders__takes_the_next(oven: Oven) -> None:
    oven.faults.before("RunInstances", answer("Unsupported"))
    await oven.bake()
    first, second = oven.faults.calls("RunInstances")
    nets = [one["NetworkInterfaces"][0]["SubnetId"] for one in (first, second)]
    assert nets[0] != nets[1]


async def test_bake__no_zone_has_room__says_so_and_leaves_nothing(oven: Oven) -> None:
    oven.faults.before("RunInstances", *[answer("InsufficientInstanceCapacity")] * 20)
    with pytest.raises(NoCapacity):
        await oven.bake()
    assert oven.states() == set()


async def test_bake__end_not_taken_at_first__is_asked_for_again(oven: Oven) -> None:
    oven.faults.before("TerminateInstances", *[answer("Unavailable", 503)] * 3)
    await oven.bake()
    assert oven.states() == {"terminated"}


async def test_bake__end_never_taken__names_the_builder_that_runs_on(oven: Oven) -> None:
    oven.faults.before("TerminateInstances", *[answer("Unavailable", 503)] * 99)
    with pytest.raises(RetryLater, match=r"i-[0-9a-f]+ still runs"):
        await oven.bake()


async def test_bake__interrupted__ends_the_builder(oven: Oven) -> None:
    oven.works_after = None
    task = asyncio.ensure_future(oven.bake())
    while not oven.clock.slept:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert oven.states() == {"terminated"}


async def test_bake__builder_of_a_killed_bake__goes_and_a_young_one_stays(oven: Oven) -> None:
    oven.faults.after("RunInstances", *[answer("InternalError", 500)] * 3)
    with pytest.raises(OutcomeUnknown):
        await oven.bake()  # what it launched runs, and it never learned the name
    lost = {one["InstanceId"] for one in oven.instances()}
    assert lost
    for age, goes in ((60.0, False), (baking.LEFTOVER_SECONDS + 60, True)):
        oven.clock.time = _launched(oven, lost) + age
        oven.clock.slept.clear()
        oven.told.clear()
        await oven.bake()
        assert {line.split()[1].rstrip(",") for line in oven.told if "earlier" in line} == (
            lost if goes else set()
        )
        left = {one["InstanceId"] for one in oven.instances() if _is_live(one)}
        assert left == (set() if goes else lost)


@pytest.mark.parametrize("call", ["RunInstances", "CreateImage", "TerminateInstances"])
async def test_bake__killed_after_any_write__the_next_one_and_teardown_leave_nothing(
    oven: Oven, make_aws: Callable[..., Aws], tmp_path: Path, call: str
) -> None:
    oven.faults.die_after(call)
    with pytest.raises(Killed):
        await oven.bake()
    ids = {one["InstanceId"] for one in oven.instances()}
    oven.clock.time = _launched(oven, ids) + baking.LEFTOVER_SECONDS + 60
    oven.clock.slept.clear()
    oven.aws = make_aws()
    image = await oven.bake()
    assert oven.states() == {"terminated"}
    assert oven.ec2.describe_images(ImageIds=[image])["Images"]
    clients = Clients()
    for step in Teardown(clients, settings(tmp_path / "state")).plan():
        step.do()
    clients.close()
    own: Any = {"OwnerIds": ["self"], "Filters": [{"Name": "tag-key", "Values": ["oyster:setup"]}]}
    assert oven.ec2.describe_images(Owners=["self"])["Images"] == []
    assert oven.ec2.describe_snapshots(**own)["Snapshots"] == []


def _launched(oven: Oven, ids: set[str]) -> float:
    return max(
        float(one["LaunchTime"].timestamp()) for one in oven.instances() if one["InstanceId"] in ids
    )


def _is_live(one: Any) -> bool:
    return str(one["State"]["Name"]) != "terminated"


@pytest.mark.parametrize("program", [PROGRAM, b"swapped in the bucket"])
def test_script__run_with_the_machine_s_tools_in_its_way__off_only_when_all_is_right(
    tmp_path: Path, program: bytes
) -> None:
    sha256 = hashlib.sha256(PROGRAM).hexdigest()
    script = baking._SCRIPT.format(
        packages="a-tool",
        region=REGION,
        bucket="b",
        key=layout.program_key(sha256),
        sha256=sha256,
        hosts=layout.HOSTS,
        status=layout.STATUS,
    ).replace("/opt/", f"{tmp_path}/opt/")
    (tmp_path / "source").write_bytes(program)
    tools = {name: f'echo {name} "$@" >> {tmp_path}/log' for name in ("dnf", "cloud-init", "sync")}
    tools["systemctl"] = f"echo off >> {tmp_path}/log"
    tools["aws"] = (
        f'echo "$@" >> {tmp_path}/log; '
        'case "$*" in *get-caller*) echo AROA:i-1;; *s3*/network.json*) ;; '
        f'*) cp {tmp_path}/source "${{@: -1}}";; esac'
    )
    tools["python3"] = f'echo python3 "$@" >> {tmp_path}/log'
    for name, line in tools.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{line}\n")
        (tmp_path / name).chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", script],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        check=False,
    )
    log = (tmp_path / "log").read_text()
    assert "dnf --assumeyes --quiet install a-tool" in log
    said = "/tmp/network.json s3://b/hosts/AROA:i-1/status.json"
    assert (said in log) == (f"{sha256}.pyz --network" in log) == (program == PROGRAM)
    assert (done.returncode == 0) == log.endswith("off\n") == (program == PROGRAM)
