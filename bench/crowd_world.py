"""The world around one agent with thousands of jobs, as a process of its own.

Three loopback ports: AWS, the node, and every enclave's attestation. What does not grow with the
jobs is answered by the devnet's AWS. `python -m bench.crowd_world DIRECTORY SIZE PROVIDER MARKET`.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from bench.crowd import Crowd, ScaledClock
from bench.crowd_aws import Answer, Cloud
from bench.crowd_chain import Chain
from bench.crowd_marketv1 import MarketV1Chain
from cloud.model import InstanceId
from devnet.aws import wire
from devnet.aws.ec2 import Timings
from devnet.aws.server import Aws
from devnet.guest.nsm import SimulatedEnclave, SimulatedNsm

CLOCK, ROOT = "clock", "root.pem"
_DROPPED = {"host", "connection", "content-length", "expect", "transfer-encoding"}


class Asked:
    """One HTTP request."""

    def __init__(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        self.method, target, _ = first.split(" ")
        self.path, _, self.query = target.partition("?")
        pairs = (line.partition(":") for line in lines)
        self.headers = {name.lower(): value.strip() for name, _, value in pairs}
        self.body = b""
        self.address = ""


Handler = Callable[[Asked], Awaitable[Answer]]


class World:
    """Answers for every port."""

    def __init__(self, directory: Path, crowd: Crowd, aws: Aws) -> None:
        self.clock, self.crowd = ScaledClock(directory / CLOCK), crowd
        chain = MarketV1Chain if crowd.market == "marketv1" else Chain
        self.cloud, self.chain = Cloud(crowd, self.clock), chain(crowd, self.clock)
        self.probes = 0
        self._port = int(aws.endpoint.rpartition(":")[2])
        self._nsm = SimulatedNsm(lasting=True)
        (directory / ROOT).write_bytes(self._nsm.root_pem)

    async def aws(self, asked: Asked) -> Answer:
        _, region, service = wire.scope(asked.headers.get("authorization", ""), asked.query)
        answer = None
        params = wire.parameters(asked.body) if service == "ec2" else {}
        if service == "ec2":
            answer = self.cloud.ec2(region, params)
        elif service == "s3":
            answer = self.cloud.s3(region, asked.method, asked.path, asked.query)
        if answer is None:
            answer = await asyncio.to_thread(self._moto, asked)
            if params.get("Action") == "RunInstances" and "DryRun" not in params:
                for item in wire.children(answer.body, "instancesSet/item"):
                    self.cloud.launch(region, params, InstanceId(wire.text(item, "instanceId")))
        return answer

    def _moto(self, asked: Asked) -> Answer:
        there = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        headers = {k: v for k, v in asked.headers.items() if k not in _DROPPED}
        headers["host"] = asked.headers["host"]
        target = f"{asked.path}?{asked.query}" if asked.query else asked.path
        there.request(asked.method, target, asked.body, headers)
        answer = there.getresponse()
        kept = {k: v for k, v in answer.getheaders() if k.lower() not in _DROPPED}
        body = answer.read()
        if asked.method == "HEAD":
            kept["Content-Length"] = answer.getheader("Content-Length") or "0"
        there.close()
        return Answer(answer.status, kept, body)

    async def node(self, asked: Asked) -> Answer:
        return Answer(200, {"Content-Type": "application/json"}, self.chain.answer(asked.body))

    async def enclave(self, asked: Asked) -> Answer:
        self.probes += 1
        job = self.crowd.job_at(asked.address)
        if self.crowd.special(job):
            return Answer(503, {}, b"")
        enclave = SimulatedEnclave(self.crowd.instance(job), self.crowd.image(job).pcrs)
        return Answer(200, {}, self._nsm.attest(enclave, now=self.clock.now()))

    async def control(self, asked: Asked) -> Answer:
        if asked.path == "/end-specials":
            self.chain.end(set(self.crowd.jobs) - set(range(1, self.crowd.size + 1)))
        if asked.path.startswith("/end/"):
            self.chain.end(set(range(1, int(asked.path.removeprefix("/end/")) + 1)))
        said: dict[str, Any] = {
            "calls": self.cloud.calls,
            "looks": self.cloud.looks,
            "pages": self.cloud.pages,
            "launched": self.cloud.launched,
            "ended": self.cloud.ended,
            "ordered": self.cloud.ordered,
            "rpc": self.chain.asked,
            "probes": self.probes,
        }
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(said).encode())


async def _serve(
    handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """HTTP/1.1 with keep-alive; nobody from beyond loopback is answered."""
    try:
        while writer.get_extra_info("peername")[0].startswith("127."):
            head = await reader.readuntil(b"\r\n\r\n")
            asked = Asked(head)
            asked.address = writer.get_extra_info("sockname")[0]
            if asked.headers.get("expect"):
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            asked.body = await reader.readexactly(int(asked.headers.get("content-length", "0")))
            _write(writer, asked, await handler(asked))
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def _write(writer: asyncio.StreamWriter, asked: Asked, answer: Answer) -> None:
    headers = {"Content-Length": str(len(answer.body)), **answer.headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    phrase = HTTPStatus(answer.status).phrase
    writer.write(f"HTTP/1.1 {answer.status} {phrase}\r\n{lines}\r\n".encode())
    if asked.method != "HEAD":
        writer.write(answer.body)


async def _main(directory: Path, size: int, provider: str, market: str) -> None:
    with Aws(Timings().scaled(0)) as aws:
        aws.ec2.faults.vcpu_quota = 10 * size  # who has so many hosts was granted them
        born = ScaledClock(directory / CLOCK).now()
        world = World(directory, Crowd(size, provider, born, market), aws)
        ports = {}
        # The enclaves' port is open on every address of loopback, one for each of them.
        for name, host in (
            ("aws", "127.0.0.1"),
            ("node", "127.0.0.1"),
            ("control", "127.0.0.1"),
            ("enclave", "0.0.0.0"),
        ):
            handler: Handler = getattr(world, name)
            server = await asyncio.start_server(
                partial(_serve, handler), host, 0, limit=1 << 24, backlog=4096
            )
            ports[name] = server.sockets[0].getsockname()[1]
        print(json.dumps({**ports, "born": world.crowd.born}), flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]))
