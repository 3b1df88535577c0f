"""Serves the applications on their addresses, inside the agent's own event loop.

Sockets are bound before anything else starts, so that a taken address is said at once and in
words. Stopping takes two seconds at most, whoever is still connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from typing import Self

import uvicorn
from starlette.applications import Starlette

from agent.config.model import Status as StatusSettings
from agent.ports import Clock
from agent.status.app import Status, host_name
from agent.status.cockpit import History
from agent.status.descriptors import Share, raised_limit, share_of
from agent.status.doors import Doors, guarded, quietly
from agent.status.metrics import Metrics
from agent.status.source import StatusSource
from faults import RetryLater, UsageFault

_CLOSE_SECONDS = 2


# Not the configuration's fault: another program, or an outgoing connection, has the port just
# now, or the interface is not up yet.
_TAKEN = frozenset({errno.EADDRINUSE, errno.EADDRNOTAVAIL})


class Serving:
    """`async with Serving(...)`: it answers from entry to exit. `addresses` are the real ones;
    `application` gives what answers as "operator" and as "public".

    Raises at entry RetryLater when an address is taken just now, UsageFault when it can't be had.
    """

    def __init__(self, settings: StatusSettings, application: Callable[[str], Starlette]) -> None:
        self._settings = settings
        self._application = application
        self._servers: list[tuple[_Quiet, asyncio.Task[None]]] = []
        self._stack = contextlib.ExitStack()
        self.addresses: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        addresses = dict(self._addresses())
        share = share_of(raised_limit(), len(addresses))
        sockets = {name: _listen(address, share) for name, address in addresses.items()}
        self._stack.enter_context(quietly())
        for name, bound in sockets.items():
            host, port = bound.getsockname()[:2]
            self.addresses[name] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            server = _Quiet(_config(self._application(name), share))
            task = asyncio.create_task(server.serve([bound]), name=f"status-{name}")
            self._servers.append((server, task))
        while not all(server.started or task.done() for server, task in self._servers):
            await asyncio.sleep(0)
        return self

    async def __aexit__(self, *exc: object) -> None:
        for server, _task in self._servers:
            server.should_exit = True
        await asyncio.gather(*(task for _server, task in self._servers))
        self._stack.close()

    def _addresses(self) -> Iterator[tuple[str, str]]:
        if self._settings.listen:
            yield "operator", self._settings.listen
        if self._settings.public_listen:
            yield "public", self._settings.public_listen


class StatusServer(Serving):
    """The agent's."""

    def __init__(
        self,
        settings: StatusSettings,
        source: StatusSource,
        history: History,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        super().__init__(settings, self._of_agent)
        self._status = Status(source, history, metrics, clock, settings.stall_seconds)

    def _of_agent(self, name: str) -> Starlette:
        if name == "public":
            return self._status.public()
        own = host_name(self._settings.listen)
        return self._status.operator(None if self._settings.expose else (own,))


class _Quiet(uvicorn.Server):
    """Leaves the process's signals to the agent."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: Starlette, share: Share) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=guarded(Doors(share.most, share.most_from_loopback)),
        backlog=share.backlog,
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=_CLOSE_SECONDS,
    )


def _listen(address: str, share: Share) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, int(port)))
        bound.listen(share.backlog)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        said = f"cannot listen on {address}: {error.strerror}"
        if error.errno in _TAKEN:
            said = f"{said} (an agent that runs already? never two with one key)"
            raise RetryLater(f"{said}; end what has it, or change it in [status]") from error
        raise UsageFault(f"{said}; change it in [status]") from error
    return bound
