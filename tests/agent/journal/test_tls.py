"""The journal's server behind TLS, as a URL of docs/several-hosts.md asks for it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from agent.journal.engines import asking, open_server
from agent.secret import SecretUrl
from faults import MustStop, RetryLater
from tests import postgres
from tests.authority import Authority

pytestmark = pytest.mark.integration

HOST = "localhost"


@pytest.fixture(scope="module")
def ca() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def server(ca: Authority) -> Iterator[postgres.Server]:
    """One that shows a certificate for HOST."""
    for made in postgres.made():
        shows(made, ca.server(HOST))
        yield made


def shows(server: postgres.Server, key_and_certificate: bytes) -> None:
    data = server.folder / "data"
    pem = data / "server.pem"
    pem.write_bytes(key_and_certificate)
    owner = (data / "PG_VERSION").stat()
    os.chown(pem, owner.st_uid, owner.st_gid)
    pem.chmod(0o600)
    with (data / "postgresql.conf").open("a") as settings:
        settings.write("ssl = on\nssl_cert_file = 'server.pem'\nssl_key_file = 'server.pem'\n")
    server.stop("fast")
    server.start()


def url(server: postgres.Server, host: str, how: str) -> SecretUrl:
    name = server.database().reveal().rpartition("/")[2]
    where = f"oyster:hunter2@{host}:{server.port}/{name}?{how}"
    return SecretUrl(f"postgresql+psycopg://{where}", postgres.SCHEMES)


@pytest.fixture
def trusted(ca: Authority, tmp_path: Path) -> Path:
    path = tmp_path / "database-ca.pem"
    path.write_bytes(ca.itself())
    return path


def test_server__that_shows_what_the_file_signed__is_used(
    server: postgres.Server, trusted: Path
) -> None:
    engine = open_server(url(server, HOST, f"sslmode=verify-full&sslrootcert={trusted}"))
    with asking(engine) as connection:
        used = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert connection.scalar(sa.text(used))
    engine.dispose()


def test_server__that_is_signed_by_another__is_not_told_as_silent(
    server: postgres.Server, tmp_path: Path
) -> None:
    path = tmp_path / "other.pem"
    path.write_bytes(Authority().itself())
    with pytest.raises(RetryLater, match=r"can't be trusted.*certificate verify failed") as found:
        open_server(url(server, HOST, f"sslmode=verify-full&sslrootcert={path}"))
    assert "hunter2" not in str(found.value)


def test_server__of_another_name__is_not_told_as_silent(
    server: postgres.Server, trusted: Path
) -> None:
    how = f"sslmode=verify-full&sslrootcert={trusted}"
    with pytest.raises(RetryLater, match=r"can't be trusted.*does not match host name"):
        open_server(url(server, "127.0.0.1", how))


@pytest.mark.parametrize("how", ["sslmode=verify-full", "sslmode=verify-ca&sslrootcert=/no/such"])
def test_url__that_asks_for_trust_and_names_no_authority__stops_with_what_to_name(
    server: postgres.Server, how: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The driver would look in the home of whoever runs it, which a service has none of."""
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(MustStop, match=r"sslrootcert=FILE"):
        open_server(url(server, HOST, how))


def test_url__with_a_mode_that_there_is_not__stops_with_that_word(server: postgres.Server) -> None:
    with pytest.raises(MustStop, match='invalid sslmode value: "verify-ful"'):
        open_server(url(server, HOST, "sslmode=verify-ful"))


def test_server__without_tls_where_it_is_asked_for__is_not_told_as_silent(
    trusted: Path,
) -> None:
    for plain in postgres.made():
        with pytest.raises(RetryLater, match=r"can't be trusted.*SSL"):
            open_server(url(plain, HOST, f"sslmode=verify-full&sslrootcert={trusted}"))
