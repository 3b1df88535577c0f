"""A debug job's console from the world: served, kept over a reboot, gone with the mode."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.enclave.host.rig import Rig, until

pytestmark = [pytest.mark.integration, pytest.mark.allow_hosts(["127.0.0.0/8"])]


def test_console__of_a_debug_enclave__is_served_kept_over_a_reboot_and_removed(fast: Rig) -> None:
    host = fast.launch()
    kept = host.root / "var/lib/oyster-host/console"
    host.want(replace(fast.desired, enclave_cid=77, debug=True, console=True))
    host.wait_phase("running")
    until(lambda: json.loads(host.get(516, "/logs/tail-log-id"))["log_id"] == 3, host.log)
    history = json.loads(host.get(516, "/logs/history?log_id=3&offset=2"))
    assert history == ["[1] Connecting to the console for enclave 77...",
                       "[2] Successfully connected to the console."]  # fmt: skip
    with host.connection(516) as sock:
        sock.sendall(b"GET /logs/stream?start_from=3 HTTP/1.1\r\n\r\n")
        got = b""
        while not got.endswith(b"\n\n"):
            got += sock.recv(4096)
    assert got.endswith(b"data:[3] [    0.000000] simulated\n\n")
    assert {path.stat().st_mode & 0o777 for path in kept.iterdir()} == {0o600}
    host.command("reboot")
    until(lambda: json.loads(host.get(516, "/logs/tail-log-id"))["log_id"] == 6, host.log)
    again = json.loads(host.get(516, "/logs/history?log_id=5&offset=4"))
    assert again == [history[0], history[1], "[3] [    0.000000] simulated",
                     history[0].replace("[1]", "[4]")]  # fmt: skip
    host.want(replace(fast.desired, enclave_cid=77, debug=True))
    assert host.refuses(516)
    until(lambda: not kept.exists(), host.log)
    assert host.wait(lambda one: "console" not in (one.last_error or "")).last_error is None
    fast.end(host)
