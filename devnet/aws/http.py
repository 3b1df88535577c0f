"""One HTTP request to the devnet's AWS, read; and answers, whole."""

from __future__ import annotations

import json
from typing import Any

from werkzeug.serving import WSGIRequestHandler

from devnet.aws import wire


class Request:
    """One HTTP request, its body read."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = environ
        self.method = str(environ["REQUEST_METHOD"])
        self.path = str(environ["PATH_INFO"])
        length = int(environ.get("CONTENT_LENGTH") or 0)
        self.body = environ["wsgi.input"].read(length) if length else b""
        authorization = str(environ.get("HTTP_AUTHORIZATION", ""))
        query = str(environ.get("QUERY_STRING", ""))
        self.key_id, self.region, self.service = wire.scope(authorization, query)
        form = self.service in ("ec2", "iam")  # the query APIs
        self.params = wire.parameters(self.body) if form else {}

    def headers(self) -> dict[str, str]:
        """Upper case with dashes."""
        items = self.environ.items()
        return {k[5:].replace("_", "-"): str(v) for k, v in items if k.startswith("HTTP_")}


def xml(body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
    """A whole answer in XML."""
    return 200, [("Content-Type", "text/xml"), ("Content-Length", str(len(body)))], body


def json_answer(answer: tuple[int, Any]) -> tuple[int, list[tuple[str, str]], bytes]:
    """A whole answer in JSON; (status, value)."""
    body = json.dumps(answer[1]).encode()
    kind = ("Content-Type", "application/x-amz-json-1.1")
    return answer[0], [kind, ("Content-Length", str(len(body)))], body


class Quiet(WSGIRequestHandler):
    """No access log; keeps the connection's socket within reach."""

    protocol_version = "HTTP/1.1"

    def log(self, type: str, message: str, *args: Any) -> None:
        pass
