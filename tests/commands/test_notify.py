"""`notify test` and the sender against a real webhook; no token in any message."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from agent.status.notify_send import Notifier
from agent.status.notify_when import Message
from faults import RetryLater, UsageFault

from .conftest import World
from .program import oyster_here

pytestmark = [
    pytest.mark.integration,
    # A plugin of apprise that is not used here imports it where Python still has it.
    pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning"),
]


@pytest.fixture
def hook() -> Iterator[tuple[str, list[dict[str, Any]], list[int]]]:
    """A webhook: its URL for apprise, what it was told, and the codes that it answers next."""
    told: list[dict[str, Any]] = []
    codes: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            told.append(json.loads(self.rfile.read(length)))
            self.send_response(codes.pop() if codes else 200)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"json://127.0.0.1:{server.server_address[1]}/token-of-mine", told, codes
    server.shutdown()
    thread.join()
    server.server_close()


def test_notify_test__as_configured__arrives(world: World, hook: Any) -> None:
    url, told, codes = hook
    file = world.config.parent / "notify-urls"
    file.write_text(f"{url}\n")
    file.chmod(0o600)
    environ = {"OYSTER_CONFIG": str(world.config), "OYSTER_NOTIFY__URLS_FILE": str(file)}
    done = oyster_here("notify", "test", environ=environ)
    assert (done.returncode, done.stdout) == (0, "sent to 1 places; see that it arrived\n")
    assert told[0]["title"] == "oyster-provider: a test"
    codes.append(500)
    failed = oyster_here("notify", "test", environ=environ)
    assert failed.returncode == 4
    assert "token-of-mine" not in failed.stderr + failed.stdout


def test_notify_test__nobody_is_told__says_where_to_write_it(world: World) -> None:
    done = world.run("notify", "test")
    assert (done.returncode, "notify.urls_file is empty" in done.stderr) == (2, True)


def test_notifier__a_line_that_is_no_url__is_named_by_its_number_alone() -> None:
    with pytest.raises(UsageFault, match="line 2") as wrong:
        Notifier(["json://127.0.0.1:9/", "no url with token-of-mine"])
    assert "token-of-mine" not in str(wrong.value)


def test_notifier__comments_between_the_urls__are_none_and_count_as_lines() -> None:
    lines = ["# mail", "json://127.0.0.1:9/", "", "no url"]
    assert Notifier(lines[:3]).count == 1
    with pytest.raises(UsageFault, match="line 4"):
        Notifier(lines)


def test_notifier__nobody_listens__is_later() -> None:
    with pytest.raises(RetryLater, match=r"line 1 \(no connection"):
        asyncio.run(Notifier(["json://127.0.0.1:9/"]).send(Message("a", "b")))


def test_notifier__one_place_of_several_refuses__is_named_by_its_line_and_the_others_hear(
    hook: Any,
) -> None:
    url, told, codes = hook
    codes += [200, 401, 200]
    with pytest.raises(RetryLater) as later:
        asyncio.run(Notifier(["# chat", url, url, url]).send(Message("a", "b")))
    assert str(later.value) == "notify.urls_file: not taken by line 3 (HTTP 401)"
    assert len(told) == 3


def test_notifier__a_place_that_moved__is_not_told_to_have_taken_it(hook: Any) -> None:
    url, _told, codes = hook
    codes.append(301)
    with pytest.raises(RetryLater, match="HTTP 301"):
        asyncio.run(Notifier([url]).send(Message("a", "b")))


def test_notifier__a_plain_url__is_told_how_a_webhook_is_written() -> None:
    with pytest.raises(UsageFault, match="jsons://HOST/PATH") as wrong:
        Notifier(["https://example.org/token-of-mine"])
    assert "token-of-mine" not in str(wrong.value)
