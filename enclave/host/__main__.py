"""`python3 program.pyz config.json`: run the host program until SIGTERM.

`python3 program.pyz --network`: say what this machine has to carry packets with (`network.found`).
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from enclave.host.config import Config, Places
from enclave.host.network.found import found
from enclave.host.program import Host, find_identity


def main() -> None:
    """Read the configuration that user data wrote, and run."""
    if sys.argv[1] == "--network":
        sys.stdout.write(json.dumps(found()) + "\n")
        return
    config = Config.from_json(json.loads(Path(sys.argv[1]).read_text()))
    host = Host(config, Places.here(), find_identity())
    signal.signal(signal.SIGTERM, lambda *_: host.stop())
    host.run()
    # Not waiting for a nitro-cli that still boots an enclave: the next program finds it.
    os._exit(0)


if __name__ == "__main__":
    main()
