"""What user data does: fetch the host program by digest, check it, put it under systemd.

This source travels in user data behind that of `aws.py`. It runs once, as root, and holds no
secret. Everything else, the enclave tools included, is the host program's own work, so that what
goes wrong with it can be read in status.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

from enclave.host.aws import Metadata, Unreachable, object_url, request, signed, status_of

UNIT = "oyster-host.service"
# The longest pause between two tries at the program; the first ones are shorter.
PAUSE_SECONDS = 8.0

# StandardError: where no bucket is reached, the system log (GetConsoleOutput) is all that can be
# read from outside.
# KillMode: the enclave's process and the forwarders are children, and outlive a restart.
UNIT_TEXT = """[Unit]
Description=Oyster host program: runs the enclave that desired.json names
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/bin/python3 {program} {config}
Restart=always
RestartSec=1
StandardError=journal+console
KillMode=process

[Install]
WantedBy=multi-user.target
"""


def fetch_program(config: dict[str, Any], metadata: Metadata) -> bytes:
    """The program's bytes, their digest checked. Raises Unreachable."""
    url = object_url(config["bucket"], config["region"], config["program_key"])
    now = metadata.now()
    answer = request(
        "GET", url, signed("GET", url, config["region"], metadata.credentials(now), now)
    )
    metadata.heed(answer.headers)
    if answer.status != 200:
        raise Unreachable(f"{config['program_key']}: {status_of(answer)}")
    if hashlib.sha256(answer.body).hexdigest() != config["program_sha256"]:
        raise Unreachable(f"{config['program_key']}: not the bytes that its name promises")
    return answer.body


def install(config: dict[str, Any], program: bytes) -> None:
    """Program, configuration and unit on disk, and the unit started; done again it is the same."""
    root = Path(os.environ.get("OYSTER_HOST_ROOT", "/"))
    home = root / "opt/oyster-host"
    home.mkdir(parents=True, exist_ok=True)
    path, settings = home / f"{config['program_sha256']}.pyz", home / "config.json"
    if not path.exists() or path.read_bytes() != program:
        whole = path.with_suffix(".new")
        whole.write_bytes(program)
        whole.replace(path)
    settings.write_text(json.dumps(config, indent=1, sort_keys=True))
    unit = root / "etc/systemd/system" / UNIT
    unit.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text(UNIT_TEXT.format(program=path, config=settings))
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "enable", "--now", "--no-block", UNIT], check=True)


def boot(config: dict[str, Any]) -> None:
    """Try until it is done: credentials and bucket may be late on a young instance."""
    metadata, pause = Metadata(), 0.25
    home = Path(os.environ.get("OYSTER_HOST_ROOT", "/")) / "opt/oyster-host"
    baked = home / f"{config['program_sha256']}.pyz"
    while True:
        try:
            known = baked.read_bytes() if baked.exists() else b""
            if hashlib.sha256(known).hexdigest() != config["program_sha256"]:
                known = fetch_program(config, metadata)
            install(config, known)
            return
        except (Unreachable, OSError, ValueError, subprocess.CalledProcessError) as error:
            print(f"oyster-host: {error}; again in {pause} s", flush=True)  # noqa: T201 - cloud-init's log
        time.sleep(pause)
        pause = min(pause * 2, PAUSE_SECONDS)
