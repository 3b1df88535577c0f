"""Descriptors are the agent's first: visitors of the status address share what is left."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack, closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.status.descriptors import AGENT, FULL, LEAST, share_of

pytestmark = pytest.mark.integration

LIMIT, NEEDED, ROUNDS, FLOOD = 160, 110, 40, 400
# With so few the agent's own are counted down to what this one opens.
PROCESS = f"""
import asyncio, json, resource, sys, time
resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))
from agent.config.model import Status as Settings
from agent.status import Metrics, StatusServer, descriptors
from tests.agent.status.conftest import Past, Source, a_view
from tests.clocks import MovingClock
descriptors.AGENT = {LIMIT - 30}

async def main():
    now, failed, target = time.time(), 0, int(sys.argv[1])
    settings, source = Settings(listen="127.0.0.1:0"), Source(a_view(now))
    async with StatusServer(settings, source, Past(), Metrics(), MovingClock(now)) as serving:
        print(serving.addresses["operator"], flush=True)
        sys.stdin.readline()
        for _ in range({ROUNDS}):
            asked = (asyncio.open_connection("127.0.0.1", target) for _ in range({NEEDED}))
            ends = await asyncio.gather(*asked, return_exceptions=True)
            failed += sum(isinstance(end, OSError) for end in ends)
            for end in ends:
                if not isinstance(end, OSError):
                    end[1].transport.abort()
            await asyncio.sleep(0.005)
        print(json.dumps(failed), flush=True)

asyncio.run(main())
"""


@given(st.integers(0, 10**6), st.integers(1, 2))
def test_share__of_any_limit__leaves_the_agent_its_own(limit: int, addresses: int) -> None:
    share = share_of(limit, addresses)
    least = 3 * LEAST
    assert least <= share.total <= FULL.total
    assert addresses * share.total <= max(limit - AGENT, addresses * least) + addresses * least


def test_share__of_what_systemd_gives__is_whole() -> None:
    assert share_of(16_384, 2) == share_of(1024, 2) == FULL


def test_flood__of_a_process_with_few_descriptors__leaves_the_agent_its_own() -> None:
    with ExitStack() as stack:
        target = stack.enter_context(closing(socket.create_server(("127.0.0.1", 0), backlog=512)))
        words = [sys.executable, "-c", PROCESS, str(target.getsockname()[1])]
        pipes = subprocess.PIPE
        child = stack.enter_context(
            subprocess.Popen(words, stdin=pipes, stdout=pipes, stderr=subprocess.DEVNULL, text=True)
        )
        stack.callback(child.kill)
        assert child.stdout is not None
        assert child.stdin is not None
        host, _, port = child.stdout.readline().strip().rpartition(":")
        over = threading.Event()
        flood = threading.Thread(target=_flood, args=(host, int(port), over))
        flood.start()
        stack.callback(flood.join)
        stack.callback(over.set)
        child.stdin.write("go\n")
        child.stdin.flush()
        drain = threading.Thread(target=_accept, args=(target, over), daemon=True)
        drain.start()
        said = child.stdout.readline()
        assert json.loads(said) == 0, said
        over.set()


def _flood(host: str, port: int, over: threading.Event) -> None:
    """As many as it may have, again and again, that say nothing."""
    held: list[socket.socket] = []
    while not over.wait(0.001):
        try:
            held.append(socket.create_connection((host, port), timeout=1))
        except OSError:
            continue
        if len(held) > FLOOD:
            held.pop(0).close()
    for one in held:
        one.close()


def _accept(target: socket.socket, over: threading.Event) -> None:
    """Takes what the agent connects to."""
    target.settimeout(0.1)
    held: list[socket.socket] = []
    while not over.is_set():
        try:
            held.append(target.accept()[0])
        except OSError:
            continue
        if len(held) > FLOOD:
            held.pop(0).close()
    for one in held:
        one.close()
