"""One host on SQLite: what several hosts need costs it nothing."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from agent.config.model import Chain, Config
from agent.market.model import Address
from agent.wiring.journal import open_journal
from faults import MustStop, RetryLater

pytestmark = pytest.mark.integration

SCRIPT = """
import sys
from contextlib import AsyncExitStack
import agent.daemon
from agent.config.model import Chain, Config
from agent.journal.hosts import Alone
from agent.market.model import Address
from agent.wiring.journal import open_journal

config = Config(state_dir=sys.argv[1], chain=Chain(registry="0x" + "22" * 20))
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


ONE, OTHER = (Address("0x" + each * 20) for each in ("11", "33"))


async def opened_by(config: Config, provider: Address = ONE) -> None:
    async with AsyncExitStack() as stack:
        open_journal(config, provider, "1", stack)


async def test_file__of_another_chain_contract_or_provider__is_refused_by_name(
    tmp_path: Path,
) -> None:
    """After a trial on a testnet with the same key, the first transaction waited for ever behind
    nonces of there."""
    registry = Chain(registry="0x" + "22" * 20)
    config = Config(state_dir=str(tmp_path), chain=registry)
    await opened_by(config)
    await opened_by(config)
    said = f"{tmp_path}.*is another provider's: {registry.chain_id}:0x2222.*name another state_dir"
    with pytest.raises(MustStop, match=said):
        await opened_by(config, OTHER)
    for other in (
        replace(registry, chain_id=registry.chain_id + 1),
        Chain(registry="0x" + "44" * 20),
    ):
        elsewhere = replace(config, chain=other)
        with pytest.raises(MustStop, match=said):
            await opened_by(elsewhere)
    await opened_by(config)


async def test_file__the_state_directory_can_not_be_had__is_waited_for(tmp_path: Path) -> None:
    """It was a bug, with a trace at each start."""
    (tmp_path / "taken").write_text("a file where a folder should be")
    config = Config(
        state_dir=str(tmp_path / "taken" / "state"), chain=Chain(registry="0x" + "22" * 20)
    )
    with pytest.raises(RetryLater, match=f"can't be opened.*own the state directory {tmp_path}"):
        await opened_by(config)
