"""What is answered while the agent waits to start: for what it waits, instead of nothing at all.

Without it a machine that comes up while AWS or its nodes are away looks like one without an agent,
and whoever asks is told to start what runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from agent.config.model import Status as StatusSettings
from agent.status.app import application, host_name
from agent.status.server import Serving
from faults import RetryLater, UsageFault

log = structlog.get_logger()

_METRICS = """\
# TYPE oyster_ready gauge
oyster_ready 0.0
# TYPE oyster_trouble gauge
oyster_trouble{part="start",name=""} 2.0
"""


class WaitingRoom:
    """`say` opens it, and again it only says something else; `leave` gives its addresses back."""

    def __init__(self, settings: StatusSettings) -> None:
        self._settings, self._text = settings, ""
        self._serving: Serving | None = None

    async def say(self, text: str) -> None:
        """Answer `text` from now on. An address that can't be had is the agent's own to report."""
        self._text = text
        if self._serving is not None:
            return
        serving = Serving(self._settings, self._application)
        try:
            self._serving = await serving.__aenter__()
        except (RetryLater, UsageFault) as refused:
            log.warning("status.waits", error=str(refused))

    async def leave(self) -> None:
        if self._serving is not None:
            await self._serving.__aexit__(None, None, None)
            self._serving = None

    def _application(self, name: str) -> Starlette:
        if name == "public":  # whoever may ask there is told no more
            return application(_routes(lambda request: _words("waiting to start")), None)
        hosts = None if self._settings.expose else (host_name(self._settings.listen),)
        return application(_routes(self._answer), hosts)

    def _answer(self, request: Request) -> Response:
        match request.url.path:
            case "/metrics":
                return Response(_METRICS, media_type=CONTENT_TYPE_LATEST)
            case "/now" | "/jobs":
                return JSONResponse({"waiting": self._text}, 503)
            case _:
                return _words(self._text)


def _routes(answer: Callable[[Request], Response]) -> Sequence[Route]:
    """It waits, and that is all it can do just now: alive, and not ready."""

    async def healthy(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def waiting(request: Request) -> Response:
        return answer(request)

    return [Route("/healthz", healthy), Route("/{path:path}", waiting)]


def _words(text: str) -> Response:
    return PlainTextResponse(f"{text}\n", 503)
