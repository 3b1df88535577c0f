"""`python3 program.pyz config.json`: run the host program until SIGTERM."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

from enclave.host.config import Config, Places
from enclave.host.program import Host, find_identity


def main() -> None:
    """Read the configuration that user data wrote, and run."""
    config = Config.from_json(json.loads(Path(sys.argv[1]).read_text()))
    host = Host(config, Places.here(), find_identity())
    signal.signal(signal.SIGTERM, lambda *_: host.stop())
    host.run()


if __name__ == "__main__":
    main()
