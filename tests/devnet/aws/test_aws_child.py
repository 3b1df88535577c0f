"""`python -m devnet.aws.server` as the devnet starts it, and nitro-cli inside an instance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import program
from devnet import notices
from devnet.guest import allocator, place
from devnet.guest.nsm import SimulatedNsm
from devnet.image import build_image
from devnet.processes import Children
from enclave.eif.measure import measure_file

pytestmark = pytest.mark.integration

INSTANCE = "i-0123456789abcdef0"


def test_child__started_and_ended__says_hello_and_goes(tmp_path: Path) -> None:
    with Children(tmp_path / "logs") as children:
        arguments = [
            *program.module("devnet.aws.server"),
            "--directory",
            str(tmp_path),
            "--speed",
            "0",
        ]
        child = children.start("aws", arguments)
        assert Path(child.hello["attestation_root"]).read_bytes().startswith(b"-----BEGIN")
        asked = urllib.request.Request(child.hello["control"] + "calls", data=b"{}")
        with urllib.request.urlopen(asked, timeout=5) as answer:
            assert json.load(answer) == {}
        assert children.end("aws") == 0


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An instance's disk without an instance: enough for nitro-cli."""
    SimulatedNsm.open(tmp_path / "nsm")
    machine = {
        "instance_id": INSTANCE + os.urandom(2).hex(),
        "region": "us-east-1",
        "vcpus": 4,
        "threads_per_core": 2,
        "memory_mib": 8192,
        "timings": {"enclave_boot": 0, "install": 0, "terminate": 0},
        "nsm": str(tmp_path / "nsm"),
        "shim_python": sys.executable,
    }
    place.write_whole(tmp_path / "etc/devnet-machine.json", json.dumps(machine))
    place.write_whole(tmp_path / "dev/nitro_enclaves", "")
    place.install_wrappers(tmp_path, sys.executable, place.TOOLS)
    allocator.prepare(tmp_path)
    place.write_whole(
        tmp_path / "etc/nitro_enclaves/allocator.yaml", "---\nmemory_mib: 1024\ncpu_count: 2\n"
    )
    allocator.allocate(tmp_path, machine, {}, busy=False)
    (tmp_path / "service").mkdir()
    (tmp_path / "image.eif").write_bytes(build_image(tmp_path / "service"))
    return tmp_path


def nitro(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {"OYSTER_HOST_ROOT": str(root), "PATH": str(root / "usr/bin")}
    program = [str(root / "usr/bin/nitro-cli"), *arguments]
    return subprocess.run(program, env=env, capture_output=True, text=True, check=False, timeout=30)


def run(root: Path, cpus: int = 2, memory: int = 512, image: str = "image.eif") -> list[str]:
    sizes = ["--cpu-count", str(cpus), "--memory", str(memory)]
    return ["run-enclave", "--eif-path", str(root / image), *sizes, "--enclave-name", "one"]


def test_nitro_cli__run_describe_terminate__in_the_real_ones_shapes(root: Path) -> None:
    started = nitro(root, *run(root))
    info = json.loads(started.stdout)
    assert started.stderr.startswith("Start allocating memory...\nStarted enclave with enclave-cid")
    assert list(info) == [
        "EnclaveName",
        "EnclaveID",
        "ProcessID",
        "EnclaveCID",
        "NumberOfCPUs",
        "CPUIDs",
        "MemoryMiB",
    ]
    (described,) = json.loads(nitro(root, "describe-enclaves").stdout)
    measured = measure_file(root / "image.eif").pcrs
    assert described["Measurements"]["PCR0"] == measured[0]
    assert (described["State"], described["Flags"]) == ("RUNNING", "NONE")
    second = nitro(root, *run(root))
    assert "[ E22 ]" in second.stderr
    ended = nitro(root, "terminate-enclave", "--enclave-id", info["EnclaveID"])
    assert json.loads(ended.stdout)["Terminated"] is True
    assert json.loads(nitro(root, "describe-enclaves").stdout) == []


def test_nitro_cli__image_without_a_kernel_where_enclaves_boot__is_said_once(root: Path) -> None:
    place.write_whole(
        root / "etc/devnet-machine.json",
        json.dumps(
            {
                **json.loads((root / "etc/devnet-machine.json").read_text()),
                "nitro": str(root / "no-qemu"),
                "notices": str(root / "notices"),
            }
        ),
    )
    for _ in range(2):
        assert nitro(root, *run(root)).returncode == 0
        assert nitro(root, "terminate-enclave", "--all").returncode == 0
    (said,) = notices.read(root / "notices")
    assert "is a simulated process: its image brings no kernel" in said
    assert "devnet image build --boot qemu" in said
    log = (root / "var/log/nitro_enclaves/nitro_enclaves.log").read_text()
    assert log.count(said) == 2


def test_nitro_cli__bad_days__are_those_of_the_real_one(root: Path) -> None:
    info = json.loads(nitro(root, *run(root)).stdout)
    place.set_faults({"describe": ["empty"], "terminate": ["stuck"]}, root)
    assert json.loads(nitro(root, "describe-enclaves").stdout) == []
    end = ("terminate-enclave", "--enclave-id", info["EnclaveID"])
    stuck = nitro(root, *end)
    assert (stuck.returncode, "[ E39 ]" in stuck.stderr) == (1, True)
    (described,) = json.loads(nitro(root, "describe-enclaves").stdout)
    assert described["State"] == "TERMINATING"
    assert "[ E22 ]" in nitro(root, *run(root)).stderr, "it still holds its CPUs"
    assert json.loads(nitro(root, *end).stdout)["Terminated"] is True


@pytest.mark.parametrize("cid", ["0", "3", "4294967295"])
def test_nitro_cli__reserved_cid__is_an_error_of_the_driver(root: Path, cid: str) -> None:
    refused = nitro(root, *run(root), "--enclave-cid", cid)
    assert "[ E29 ]" in refused.stderr


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"cpus": 4}, "E22"),
        ({"memory": 2048}, "E27"),
        ({"memory": 1}, "E26"),
        ({"image": "none.eif"}, "E19"),
        ({"image": "broken.eif"}, "E36"),
    ],
)
def test_nitro_cli__what_cannot_run__is_refused_by_code(
    root: Path, change: dict[str, int | str], code: str
) -> None:
    image = bytearray((root / "image.eif").read_bytes())
    image[0] ^= 1
    (root / "broken.eif").write_bytes(image)
    done = nitro(root, *run(root, **change))  # type: ignore[arg-type]  # by the table above
    assert done.returncode != 0
    assert f"[ {code} ]" in done.stderr
    assert "Failed connections: 1" in done.stderr
    assert json.loads(nitro(root, "describe-enclaves").stdout) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nmemory_mib: 512\n", "missing CPU reservation"),
        ("---\nmemory_mib: 512\ncpu_count: 3\n", "not multiple of 2"),
        ("---\nmemory_mib: 512\ncpu_count: 4\n", "suitable CPUs"),
        ("---\nmemory_mib: 512\ncpu_count: 8\n", "higher than available"),
        ("---\nmemory_mib: 9000\ncpu_count: 2\n", "entire amount of requested memory"),
        ("---\nmemory: 512\n", "unexpected: memory"),
    ],
)
def test_allocator__what_cannot_be__is_refused_in_its_words(
    root: Path, text: str, said: str
) -> None:
    place.write_whole(root / "etc/nitro_enclaves/allocator.yaml", text)
    machine = json.loads((root / "etc/devnet-machine.json").read_text())
    with pytest.raises(ValueError, match=said):
        allocator.allocate(root, machine, {}, busy=False)
