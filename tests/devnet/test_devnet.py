"""`devnet up` and the people of the market, through the real program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

import program
from devnet import detached, notices, state
from devnet.processes import born, wait_until_gone
from tests.commands.program import in_its_dialect

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("devnet")]

ROOT = Path(__file__).parents[2]
TYPE = "us-east-1/c6a.xlarge"


@dataclass(frozen=True)
class Program:
    """`oyster-provider devnet ... --dir DIRECTORY`."""

    directory: Path

    def __call__(self, *words: str, code: int = 0) -> str:
        command = program.command("devnet", *words, "--dir", str(self.directory))
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if code == 0 else done.stderr

    def ask(self, *words: str) -> Any:
        said = self(*words, "--json")
        in_its_dialect(["devnet", *words, "--json"], said)
        return json.loads(said)


@pytest.fixture(scope="module")
def devnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    program = Program(tmp_path_factory.mktemp("devnet"))
    program.ask("up", "--detach", "--boot-share", "0")
    yield program
    program("down")


def test_up__a_second_one_elsewhere__both_live(devnet: Program, tmp_path: Path) -> None:
    """The second is asked for enclaves that boot, where nothing is built for them."""
    other = Program(tmp_path / "other")
    words = ("up", "--dir", str(other.directory), "--detach", "--json", "--boot", "qemu")
    said = _without_cache(tmp_path, *words)
    assert "enclaves are simulated processes: QEMU is not built here" in said.stderr
    assert json.loads(said.stdout)["boot"] == "process"
    mine, theirs = devnet.ask("status"), other.ask("status")
    assert mine["registry"] != theirs["registry"]
    assert {mine["rpc"], mine["aws"], mine["ipfs"]}.isdisjoint(
        {theirs["rpc"], theirs["aws"], theirs["ipfs"]}
    )
    children = state.read(other.directory).children.values()
    other("down")
    assert all(wait_until_gone(pid, 5) for pid in children)
    assert not (other.directory / state.FILE).exists()
    devnet("status")


def test_up__in_the_same_folder_again__is_refused(devnet: Program) -> None:
    assert "has a devnet already" in devnet("up", code=2)


@pytest.mark.parametrize("detach", [(), ("--detach",)])
def test_up__folder_that_is_a_file__is_said_in_a_line(
    tmp_path: Path, detach: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    said = Program(tmp_path / "file")("up", *detach, code=2)
    assert "file cannot be a devnet's folder" in said


def test_image_build__place_that_is_not_there__is_said_in_a_line(tmp_path: Path) -> None:
    output = tmp_path / "none" / "x.eif"
    command = program.command("devnet", "image", "build", str(tmp_path), "-o", str(output))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "x.eif cannot be written" in done.stderr


def test_image_build__boots_where_nothing_is_built__says_what_builds_it(tmp_path: Path) -> None:
    words = ("image", "build", str(tmp_path), "-o", str(tmp_path / "x.eif"), "--boot")
    for boot, said in (("qemu", "make real-nitro"), ("magic", "there are process and qemu")):
        done = _without_cache(tmp_path, *words, boot)
        assert done.returncode == 2
        assert said in done.stderr


def _without_cache(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = program.command("devnet", *words)
    return subprocess.run(
        command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False
    )


def test_job__nobody_offers_the_type__is_refused_with_the_reason(devnet: Program) -> None:
    said = devnet("job", "request", "eu-north-1/c6a.large", "ipfs://x", code=3)
    assert "no provider (nobody offers this type at that price or less" in said


def test_job__unknown_one__is_refused_with_the_reason(devnet: Program) -> None:
    assert "no such job" in devnet("job", "show", "99", code=3)


def test_job__requested_funded_and_stopped__is_on_the_chain(devnet: Program) -> None:
    _list_rival(devnet)
    job = devnet.ask("job", "request", TYPE, "ipfs://x", "--deposit", "2.5")
    assert (job["escrow"]["units"], job["status"]) == ("2500000", "bootstrapping")
    number = str(job["job"])
    assert devnet.ask("job", "fund", number, "0.5")["escrow"]["units"] == "3000000"
    assert devnet.ask("job", "stop", number)["stop_reason"] == "user_request"


def test_job__amount_that_is_none__is_a_usage_error(devnet: Program) -> None:
    assert "no amount" in devnet("job", "fund", "1", "lots", code=2)


def test_ipfs_add__any_file__is_served_under_its_cid(devnet: Program, tmp_path: Path) -> None:
    import httpx

    file = tmp_path / "file"
    file.write_bytes(b"some bytes")
    cid = devnet("ipfs", "add", str(file)).strip()
    assert devnet.ask("ipfs", "add", str(file)) == {"cid": cid, "url": f"ipfs://{cid}"}
    assert httpx.get(f"{devnet.ask('status')['ipfs']}/ipfs/{cid}").content == b"some bytes"


def test_status__a_part_has_something_to_tell__is_shown(devnet: Program) -> None:
    assert devnet.ask("status")["notices"] == []
    notices.say(devnet.directory / "aws" / notices.FILE, "one thing")
    assert devnet("status").endswith("\none thing\n")
    assert devnet.ask("status")["notices"] == ["one thing"]


def test_broken__a_child_died_then_the_supervisor__is_said_and_cleared_up(tmp_path: Path) -> None:
    program = Program(tmp_path)
    program("up", "--detach")
    devnet = state.read(tmp_path)
    os.kill(devnet.children["ipfs"], signal.SIGKILL)
    assert "dead: ipfs" in program("status", code=4)
    os.kill(devnet.pid, signal.SIGKILL)
    program("down")
    assert not any(born(pid) for pid in devnet.children.values())


def test_down__another_process_has_the_killed_ones_number__is_left_alone(
    devnet: Program, tmp_path: Path
) -> None:
    with subprocess.Popen(["sleep", "60"], start_new_session=True) as stranger:
        pid, before = stranger.pid, state.read(devnet.directory)
        killed = replace(before, pid=pid, children={"aws": pid}, born={pid: born(pid) - 1})
        state.write(tmp_path, killed)
        detached.stop(tmp_path)
        assert born(pid)
        stranger.kill()
    assert not (tmp_path / state.FILE).exists()


def test_up__in_a_terminal__passes_notices_on_and_leaves_nothing_at_ctrl_c(tmp_path: Path) -> None:
    command = program.command("devnet", "up", "--dir", str(tmp_path))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "simulated" in process.stdout.readline()
        children = state.read(tmp_path).children.values()
        for line in ("one thing", "another"):
            notices.say(tmp_path / "aws" / notices.FILE, line)
            assert process.stderr.readline() == f"{line}\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    assert all(wait_until_gone(pid, 5) for pid in children)
    assert not (tmp_path / state.FILE).exists()


def _list_rival(program: Program) -> None:
    from devnet.people import Actions, Market, connect

    devnet = state.read(program.directory)
    actions = Actions(Market(connect(devnet.rpc_url), devnet))
    actions.offer(devnet.person("rival"), TYPE, 10**9, 100 * 10**18)
