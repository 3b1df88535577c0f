"""Credentials that something renews in their file: taken once AWS refuses the old ones."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from cloud import keys_anew
from cloud.clients import Clients
from cloud.kinds import NotAllowed
from tests.cloud.conftest import REGION

pytestmark = pytest.mark.integration

REFUSED = (
    b"<ErrorResponse><Error><Code>ExpiredToken</Code><Message>x</Message></Error></ErrorResponse>"
)
WHO = b"""<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<GetCallerIdentityResult><Arn>arn</Arn><UserId>u</UserId><Account>%s</Account>
</GetCallerIdentityResult></GetCallerIdentityResponse>"""


class Sts(BaseHTTPRequestHandler):
    """Takes these keys alone; each is of an account."""

    taken: ClassVar[dict[str, bytes]] = {}

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        key = self.headers["Authorization"].split("Credential=")[1].split("/")[0]
        body = WHO % self.taken[key] if key in self.taken else REFUSED
        self.send_response(200 if key in self.taken else 400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "keys"))
    monkeypatch.setattr(keys_anew, "LOOK_SECONDS", 0.0)
    return tmp_path / "keys"


@pytest.fixture
def clients() -> Iterator[Clients]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Sts) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        clients = Clients(f"http://127.0.0.1:{server.server_port}", threads=2)
        yield clients
        clients.close()
        server.shutdown()


def put(file: Path, key: str) -> None:
    file.write_text(f"[default]\naws_access_key_id = {key}\naws_secret_access_key = s\n")


async def who(clients: Clients) -> str:
    found = await clients.run("x", lambda: clients.sts(REGION).get_caller_identity())
    return str(found["Account"])


async def test_file__has_other_keys_of_the_account__are_used_once_the_old_are_refused(
    file: Path, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file, "OLD")
    monkeypatch.setattr(Sts, "taken", {"OLD": b"1"})
    assert await who(clients) == "1"
    monkeypatch.setattr(Sts, "taken", {"NEW": b"1"})
    with pytest.raises(NotAllowed):
        await who(clients)  # nobody has renewed them yet
    put(file, "NEW")
    with pytest.raises(NotAllowed):
        await who(clients)
    assert await who(clients) == "1"


async def test_file__has_keys_of_another_account__are_not_used(
    file: Path, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file, "OLD")
    monkeypatch.setattr(Sts, "taken", {"OLD": b"1"})
    await who(clients)
    monkeypatch.setattr(Sts, "taken", {"STRANGE": b"2"})
    put(file, "STRANGE")
    for _ in range(3):
        with pytest.raises(NotAllowed):
            await who(clients)


async def test_file__unchanged_broken_or_gone__is_looked_at_and_changes_nothing(
    file: Path, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(file, "OLD")
    monkeypatch.setattr(Sts, "taken", {"OLD": b"1"})
    await who(clients)
    monkeypatch.setattr(Sts, "taken", {})
    for text in ("[default]\naws_access_key_id = OLD\naws_secret_access_key = s\n", "[def", ""):
        file.write_text(text)
        with pytest.raises(NotAllowed):
            await who(clients)
    file.unlink()
    monkeypatch.setattr(Sts, "taken", {"OLD": b"1"})
    assert await who(clients) == "1"
