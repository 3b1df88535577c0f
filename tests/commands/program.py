"""Runs the real program as a person or a script does."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from unittest import mock

import jsonschema  # type: ignore[import-untyped] # ships no types
import structlog

import cli
import program
from commands.schema_pages import EVERY

ROOT = Path(__file__).parents[2]
# Tables as wide as they like, and nobody asked for AWS credentials over the network.
_ALONE = {"COLUMNS": "200", "AWS_EC2_METADATA_DISABLED": "true"}


def in_its_dialect(words: Sequence[str], said: str) -> None:
    """Hold what a command printed with --json against its schema of docs/json."""
    if "--json" not in words or not said.strip():
        return
    names = [" ".join(words[:count]) for count in (3, 2, 1)]
    name = next(name for name in names if name in EVERY)
    jsonschema.validate(json.loads(said), EVERY[name])


def oyster(
    *words: str | Path, environ: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """`oyster-provider WORDS` with nobody at the terminal."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        program.command(*map(str, words)),
        cwd=ROOT, env={**kept, **_ALONE, **(environ or {})}, input=stdin,
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    in_its_dialect([*map(str, words)], done.stdout)
    return done


def oyster_here(
    *words: str | Path, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The same program from `main` on, in this process: a start costs more than most commands.

    Exit code, output and environment are the program's own; a traceback fails the test at once.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    line = ["oyster-provider", *map(str, words)]
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with (
        mock.patch.dict(os.environ, {**kept, **_ALONE, **(environ or {})}, clear=True),
        mock.patch.object(sys, "argv", line),
        mock.patch.object(sys, "stdin", io.StringIO()),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            structlog.reset_defaults()
    assert isinstance(code, int)
    in_its_dialect(line[1:], out.getvalue())
    return subprocess.CompletedProcess(line, code, out.getvalue(), err.getvalue())


@contextmanager
def answering(body: bytes) -> Iterator[str]:
    """HOST:PORT where everybody is told that."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
