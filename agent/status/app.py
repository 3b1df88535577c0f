"""The two ASGI applications: the operator's, with everything, and the market's, with its paths.

Both answer GET alone. The operator's refuses Host names it was not given, so that a web page in the
operator's browser cannot read it by rebinding its own name to loopback. What probes ask (HAProxy
and Kubernetes ask by any name or none) is answered with its code all the same, and a word; why it
is not ready names nodes and jobs, and stays for those who name it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agent.ports import Clock
from agent.status import market_paths as market
from agent.status import runbook
from agent.status.cockpit import History
from agent.status.kept_answer import KeptAnswer
from agent.status.long_answer import in_parts
from agent.status.metrics import Metrics
from agent.status.pages import Pages
from agent.status.source import StatusSource, job_json, view_json

_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class Status:
    """The handlers over one source; `stall_seconds` is how long the loop may be silent."""

    def __init__(
        self,
        source: StatusSource,
        history: History,
        metrics: Metrics,
        clock: Clock,
        stall_seconds: float,
    ) -> None:
        self._source = source
        self._pages = Pages(source, history, clock, stall_seconds)
        self._metrics = metrics
        self._clock = clock
        self._stall_seconds = stall_seconds
        self._cards = KeptAnswer(clock, self._spec_of_now)

    def operator(self, hosts: Sequence[str] | None) -> Starlette:
        """Everything. `hosts`: the names it is called by, None for any."""
        routes = [
            *self._shared(),
            Route("/readyz", self._ready),
            Route("/metrics", self._scrape),
            Route("/jobs", self._jobs),
            Route("/runbook", self._runbook),
            *self._pages.routes(),
        ]
        return application(routes, hosts)

    def public(self) -> Starlette:
        """The market's paths and nothing of the operator's."""
        return application(self._shared(), None)

    def _shared(self) -> list[Route]:
        return [
            Route("/healthz", self._health),
            Route("/ip", self._ip),
            Route("/spec", self._spec),
            Route("/bandwidth", self._bandwidth),
        ]

    async def _health(self, request: Request) -> Response:
        age = self._clock.now() - self._source.progress_at()
        if age > self._stall_seconds:
            return PlainTextResponse(f"no progress for {age:.0f} s\n", 503)
        return PlainTextResponse("ok\n")

    async def _ready(self, request: Request) -> Response:
        """503 with what keeps it from serving; else ok, and what to look at below it."""
        health = self._source.summary().health
        fails = [part.line for part in health.fails]
        lines = fails or ["ok", *(f"look: {part.line}" for part in health.warns)]
        return PlainTextResponse("\n".join(lines) + "\n", 503 if fails else 200)

    async def _scrape(self, request: Request) -> Response:
        return Response(generate_latest(self._metrics.registry), media_type=CONTENT_TYPE_LATEST)

    async def _jobs(self, request: Request) -> Response:
        """With every job. It is written a few at a time, and the loop runs in between."""
        told = view_json(self._source.summary(), self._clock.now(), self._stall_seconds)
        body = in_parts(told, "jobs", map(job_json, self._source.jobs()))
        return StreamingResponse(body, media_type="application/json")

    async def _runbook(self, request: Request) -> Response:
        return HTMLResponse(runbook.page())

    async def _ip(self, request: Request) -> Response:
        number = market.number_of(request.query_params.get("id"))
        job = None if number is None else self._source.job(number)
        found = market.ip_of(job, request.query_params.get("region"))
        if found is None:
            refused = market.why_not(job)
            return PlainTextResponse("\n".join(filter(None, ("BAD_REQUEST", refused))), 400)
        return JSONResponse({"ip": found})

    async def _spec(self, request: Request) -> Response:
        return Response(await self._cards.body(), media_type="application/json")

    def _spec_of_now(self) -> Callable[[], dict[str, Any]]:
        (files, _), view = self._source.card_files(), self._source.summary()
        return lambda: market.spec(view, files)

    async def _bandwidth(self, request: Request) -> Response:
        _, rates = self._source.card_files()
        return JSONResponse(market.bandwidth(self._source.summary(), rates))


def application(routes: Sequence[Route], hosts: Sequence[str] | None) -> Starlette:
    """These, with our headers, for those who call it by one of `hosts`; None: by any name."""
    middleware = [Middleware(_Guard, hosts=None if hosts is None else frozenset(hosts))]
    return Starlette(routes=routes, middleware=middleware)


# A page elsewhere may lead a browser here by a name of its own (DNS rebinding).
_UNKNOWN = "unknown host: ask by the address in status.listen, in the header Host as well\n"
_PROBED = frozenset({"/healthz", "/readyz"})  # their code alone tells a page nothing worth having


class _Guard:
    """Adds the headers to every answer and refuses foreign Host names."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str] | None) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *_RAW_HEADERS]
            await send(message)

        if scope["type"] == "http" and not self._is_known(scope):
            if scope["path"] not in _PROBED:
                await PlainTextResponse(_UNKNOWN, 421)(scope, receive, with_headers)
                return
            await self._app(scope, receive, _code_alone(scope, receive, with_headers))
            return
        await self._app(scope, receive, with_headers)

    def _is_known(self, scope: Scope) -> bool:
        if self._hosts is None:
            return True
        name = host_name(dict(scope["headers"]).get(b"host", b"").decode("latin-1"))
        return name in self._hosts or _is_loopback(name)


def _code_alone(scope: Scope, receive: Receive, send: Send) -> Send:
    """Of an answer its code, and a word in place of what it says."""

    async def coded(message: Message) -> None:
        if message["type"] == "http.response.start":
            code = message["status"]
            word = "ok\n" if code == 200 else "no; ask by the address in status.listen for why\n"
            await PlainTextResponse(word, code)(scope, receive, send)

    return coded


_RAW_HEADERS = [(key.encode(), value.encode()) for key, value in _HEADERS.items()]


def host_name(header: str) -> str:
    """The name in a Host header, without its port and brackets, in lower case."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"
