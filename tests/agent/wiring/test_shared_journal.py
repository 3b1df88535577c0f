"""How long a server may take over what an agent asks it: a renewal, a commit, years of history."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from agent.config.model import Chain, Config, JournalPlace
from agent.market.model import Address
from agent.wiring.journal import open_engine, open_journal, server_of
from commands.journal import open_reader
from faults import MustStop, UsageFault
from tests import postgres

pytestmark = pytest.mark.integration

US = Address("0x" + "11" * 20)


@pytest.fixture(scope="module")
def server() -> Iterator[postgres.Server]:
    yield from postgres.made()


def patience(engine: sa.Engine) -> object:
    with engine.connect() as connection:
        return connection.scalar(sa.text("SHOW statement_timeout"))


def config_of(server: postgres.Server, folder: Path) -> Config:
    url = folder / "url"
    url.touch(mode=0o600)
    url.write_text(server.database().reveal())
    registry = Chain(registry="0x" + "22" * 20)
    place = JournalPlace(url_file=str(url))
    return Config(state_dir=str(folder), chain=registry, journal=place)


async def opened_by(config: Config, *, leads: bool) -> None:
    async with AsyncExitStack() as stack:
        opened = open_journal(config, US, "1", stack)
        if leads:
            assert opened.kept is not None
            opened.kept.turn()


async def test_database__of_another_chain_contract_or_provider__is_refused_by_name(
    server: postgres.Server, tmp_path: Path
) -> None:
    """As after a trial on a testnet: its nonces stood before the first transaction here."""
    config = config_of(server, tmp_path)
    await opened_by(config, leads=False)
    await opened_by(config, leads=True)
    await opened_by(config, leads=True)
    elsewhere = replace(config, chain=replace(config.chain, chain_id=config.chain.chain_id + 1))
    with pytest.raises(MustStop, match=f"{config.chain.chain_id}:0x2222.*createdb"):
        await opened_by(elsewhere, leads=False)
    engine = open_engine(config)
    with engine.begin() as connection:  # as leases of a region are named in versions to come
        connection.execute(sa.text("UPDATE leases SET name = name || ':jobs:us-east-1'"))
    engine.dispose()
    await opened_by(config, leads=False)


async def test_history__of_years__is_read_for_as_long_as_it_takes(
    server: postgres.Server, tmp_path: Path
) -> None:
    """By five seconds a takeover with some million lines would have begun anew for ever."""
    config = config_of(server, tmp_path)
    async with AsyncExitStack() as stack:
        opened = open_journal(config, US, "1", stack)
        assert patience(opened.reader.engine) == "10min"
        assert patience(opened.journal.engine) == "5s"
    with open_reader(config) as reader:
        assert patience(reader.engine) == "1min"


def test_url_file__with_a_password_that_ends_the_host__says_how_it_is_written(
    tmp_path: Path,
) -> None:
    url = tmp_path / "url"
    url.touch(mode=0o600)
    url.write_text("postgresql+psycopg://oyster:a/b@db.example/oyster")
    config = Config(journal=JournalPlace(url_file=str(url)))
    with pytest.raises(UsageFault, match=r"url_file: .*%2F"):
        server_of(config)
