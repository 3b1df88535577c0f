"""What a machine has for packets, tried out: in a namespace of its own, and where nothing is."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from devnet.guest.namespaces import IP, ROOT, Space, why_not
from enclave.host.bundle import build

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(why_not() is not None, reason=str(why_not())),
]


@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_found__by_the_program_that_is_baked__is_what_there_is_and_leaves_nothing(
    tmp_path: Path, path: str
) -> None:
    program = tmp_path / "program.pyz"
    program.write_bytes(build())
    space = Space(f"oy-f-{secrets.token_hex(3)}")
    command = [IP, "netns", "exec", space.name, sys.executable, str(program), "--network"]
    try:
        environment = {**os.environ, "PATH": path or os.environ["PATH"]}
        done = subprocess.run(command, env=environment, capture_output=True, check=True, cwd=ROOT)
        assert not space.shows("oyster")
        assert not space.shows("OYSTER")
    finally:
        space.close()
    found = json.loads(done.stdout)
    assert (found["nft"] == "yes") == (not path)
    assert (found["tun"], found["raw sockets"]) == ("yes", "no default route")
    assert found["iptables"] in (("not installed",) if path else ("yes", "not installed"))
