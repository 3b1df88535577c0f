"""A host's ports from the world: they follow orders, say what is wrong and what went through."""

from __future__ import annotations

import socket
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest

from enclave.host import program
from enclave.host.config import Cadence, Config, Places
from enclave.host.documents import COUNTS, Egress, Port, Status
from enclave.host.network.orders import Report
from tests.enclave.host.rig import PORTS, Host, Rig, until

pytestmark = [pytest.mark.integration, pytest.mark.allow_hosts(["127.0.0.0/8"])]


def test_desired__other_ports__forwarders_follow(running: Host, fast: Rig) -> None:
    before = running.wait_phase("running")
    running.want(replace(fast.desired, ports=(Port(9000, 8080),)))
    assert b'"simulated": true' in running.get(9000, "/hello")
    assert running.refuses(8080)
    assert running.wait_phase("running").enclave_id == before.enclave_id


def test_address__elastic_one_associated__leads_to_the_enclave(running: Host, fast: Rig) -> None:
    address = fast.ec2.allocate_address(Domain="vpc")
    fast.ec2.associate_address(InstanceId=running.id, AllocationId=address["AllocationId"])
    url = f"http://{address['PublicIp']}:8080/"

    def ask() -> bytes | None:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            return None

    assert running.id.encode() in until(ask, running.log)
    fast.ec2.release_address(AllocationId=address["AllocationId"])


def test_network__port_taken_and_name_near__their_words_reach_the_status(fast: Rig) -> None:
    host = fast.launch()
    address = until(lambda: fast.aws.ec2.records[host.id].public_ip, host.log)
    with socket.create_server((address, 8443)):
        way = Egress(9001, "localhost", 22)
        host.want(replace(fast.desired, ports=(*PORTS, Port(8443, 8443)), egress=(way,)))
        status = host.wait(lambda one: "out-9001" in (one.last_error or ""))
        words = status.last_error or ""
        assert f"in-8443: cannot listen on TCP {address}:8443: Address already in use" in words
        assert "out-9001: localhost leads to 127.0.0.1 (loopback)" in words
        host.get(1300, "/attestation/raw")
    host.wait(lambda one: "8443" not in (one.last_error or ""))
    fast.end(host)


def test_network__bytes_went__are_counted_in_the_status(running: Host) -> None:
    assert running.get(1300, "/attestation/raw")
    counts = running.wait(lambda one: one.traffic.get("in-1300", {}).get("bytes_out", 0) > 0)
    assert counts.traffic["in-1300"]["accepted"] >= 1
    assert set(counts.traffic) == {"in-1300", "in-8080"}


def test_counted__drops_change_all_the_time__are_told_as_rarely_as_bytes(tmp_path: Path) -> None:
    host = program.Host(Config("us-east-1", "b", "p", "k", "d"), Places(tmp_path), "i-1")
    counts = {"packets": dict.fromkeys(COUNTS, 1)}
    host._report = Report(counts=counts, drops={"near": 1})
    first = host._counted(1e9)
    assert first == {"traffic": counts, "drops": {"near": 1}}
    host._wrote = Status("running", "r", 1e9, "p", "i-1", **first)
    host._report = Report(counts=counts, drops={"near": 99, "mail": 1})
    assert host._counted(1e9 + Cadence().traffic - 1) == first
    assert host._counted(1e9 + Cadence().traffic)["drops"] == {"near": 99, "mail": 1}
