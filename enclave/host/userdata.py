"""Render user data: a Python script, a few KiB, no secret, the same bytes for the same settings.

cloud-init runs user data that starts with `#!` as a script; Amazon Linux 2023 always has
/usr/bin/python3 (3.9: dnf and cloud-init need it), so no shell is involved and nothing is quoted.
"""

from __future__ import annotations

import inspect
import json
from typing import Any

from enclave.host import aws, boot
from enclave.host.config import Config

# EC2's limit for user data before base64 (RunInstances, UserData).
MOST_BYTES = 16 * 1024


def render(config: Config) -> str:
    """The script for every instance of one region and one program version."""
    settings = json.dumps(config.to_json(), indent=1, sort_keys=True)
    text = "\n".join(
        (
            "#!/usr/bin/python3",
            "from __future__ import annotations",
            _body(aws),
            _body(boot),
            f"boot(json.loads({settings!r}))",
            "",
        )
    )
    if len(text.encode()) > MOST_BYTES:
        raise ValueError(f"user data of {len(text.encode())} bytes; EC2 takes {MOST_BYTES}")
    return text


def _body(module: Any) -> str:
    """A module's source without what may stand only once or not at all in one script."""
    source = inspect.getsource(module)
    lines = (
        line
        for line in source.split("\n")
        if not line.startswith(("from __future__", "from enclave.host"))
    )
    return "\n".join(lines)
