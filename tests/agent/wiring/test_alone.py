"""One host on SQLite: what several hosts need costs it nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

SCRIPT = """
import sys
from contextlib import AsyncExitStack
import agent.daemon
from agent.config.model import Config
from agent.journal.hosts import Alone
from agent.market.model import Address
from agent.wiring.journal import open_journal

config = Config(state_dir=sys.argv[1])
opened = open_journal(config, Address("0x" + "11" * 20), "1", AsyncExitStack())
assert opened.kept is None and opened.spots is None
assert opened.journal._lease.__class__ is Alone
loaded = sorted(name for name in sys.modules if name.partition(".")[0] in ("psycopg", "psycopg2"))
import threading
print(loaded, [one.name for one in threading.enumerate() if one.name == "lease"])
"""


def test_agent__of_one_host__loads_no_driver_and_starts_no_lease(tmp_path: Path) -> None:
    words = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "[] []", ran.stderr
