"""Several nodes as one: ordered, with failover, one chain id, and a second opinion.

The first endpoint of the configuration answers while it is well. One that fails rests, twice as
long each time; one that falls behind the others waits at the end of the line. An endpoint is asked
its chain id before it is used and again after every failure, since what stands behind a name
can change; at start a differing one stops the agent, later it is set aside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import structlog

from agent.chain.http import Http
from agent.chain.rpc import (
    CallReverted,
    EndpointDown,
    Json,
    NodeRefused,
    Request,
    Rpc,
    Transport,
    integer,
)
from agent.clock import passed
from agent.ports import Clock
from agent.secret import SecretUrl
from faults import MustStop, RetryLater, TryElsewhere, UsageFault

T = TypeVar("T")
log = structlog.get_logger()

MAX_REST_SECONDS = 60.0  # a dead endpoint is tried again once a minute
WRONG_CHAIN_REST_SECONDS = 300.0
PROBE_SECONDS = 15.0  # between looks at every endpoint's height, beside what is asked anyway
MAX_LAG_BLOCKS = 12  # 3 s on a chain of 0.25 s, 2.4 minutes on one of 12 s


class NoEndpoint(RetryLater):
    """No endpoint answers now."""


class Disagreement(RetryLater):
    """Two endpoints gave different answers to the same read; do nothing that can't be undone."""


@dataclass
class Node:
    """An endpoint and how it has been doing."""

    rpc: Rpc
    admitted: bool = False  # its chain id was checked since its last failure
    failures: int = 0
    failed_at: float = 0.0
    rest_seconds: float = 0.0  # from then on
    height: int | None = None  # at the last probe
    error: str = ""  # of its last failure, until it answers again

    def __repr__(self) -> str:
        return f"Node({self.rpc.url}, failures={self.failures}, height={self.height})"


@dataclass(frozen=True, slots=True)
class Health:
    """One endpoint, for status and doctor; `name` is redacted."""

    name: str
    usable: bool
    lag_blocks: int | None
    failures: int
    error: str = ""  # why it is not usable, in its own words where it has any


class Endpoints:
    """A Reader over all endpoints. Build with `await Endpoints.open(...)`."""

    def __init__(
        self, nodes: Sequence[Node], chain_id: int, clock: Clock, max_lag_blocks: int
    ) -> None:
        self.chain_id = chain_id
        self._nodes = list(nodes)
        self._clock = clock
        self._max_lag = max_lag_blocks
        self._probed_at = clock.now()
        self._probe: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        urls: Sequence[str],
        clock: Clock,
        *,
        chain_id: int | None = None,
        max_lag_blocks: int = MAX_LAG_BLOCKS,
        timeout_seconds: float = 10.0,
    ) -> Endpoints:
        """Ask every endpoint for its chain id. Those that don't answer are asked again later.

        Raises MustStop when two differ, or one from `chain_id`; NoEndpoint when none answers.
        """
        if not urls:
            raise UsageFault("no RPC endpoint is configured; name at least one URL")
        https = [
            Http(SecretUrl(url), timeout_seconds=timeout_seconds, now=clock.now) for url in urls
        ]
        return await cls.over(https, clock, chain_id=chain_id, max_lag_blocks=max_lag_blocks)

    @classmethod
    async def over(
        cls,
        transports: Sequence[Transport],
        clock: Clock,
        *,
        chain_id: int | None = None,
        max_lag_blocks: int = MAX_LAG_BLOCKS,
    ) -> Endpoints:
        """As `open`, over whatever leads to the nodes."""
        nodes = [Node(Rpc(transport, clock)) for transport in transports]
        endpoints = cls(nodes, chain_id or 0, clock, max_lag_blocks)
        try:
            await endpoints._agree_on_chain(chain_id)
        except BaseException:
            await endpoints.close()
            raise
        return endpoints

    async def _agree_on_chain(self, expected: int | None) -> None:
        answers = await asyncio.gather(*(self._ask_chain_id(node) for node in self._nodes))
        said = {node.rpc.url: each for node, each in zip(self._nodes, answers, strict=True) if each}
        if not said:
            raise self._none_answers()
        ids = set(said.values()) | ({expected} if expected else set())
        if len(ids) > 1:
            told = ", ".join(f"{url} says {each}" for url, each in said.items())
            wanted = f"; expected {expected}" if expected else ""
            raise MustStop(f"RPC endpoints are not on one chain: {told}{wanted}")
        self.chain_id = ids.pop()
        for node, answer in zip(self._nodes, answers, strict=True):
            node.admitted = answer is not None

    async def _ask_chain_id(self, node: Node) -> int | None:
        try:
            return integer(await node.rpc.call("eth_chainId"))
        except TryElsewhere as fault:
            self._failed(node, fault)
            return None

    async def close(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        await asyncio.gather(*(node.rpc.close() for node in self._nodes))

    @property
    def count(self) -> int:
        return len(self._nodes)

    def health(self) -> list[Health]:
        best = self._best_height()
        return [
            Health(
                str(node.rpc.url),
                node.admitted and not self._rests(node),
                None if node.height is None else best - node.height,
                node.failures,
                node.error,
            )
            for node in self._nodes
        ]

    # Reading

    async def call(self, method: str, *params: Json) -> Json:
        return await self._first(lambda rpc: rpc.call(method, *params))

    async def batch(self, requests: Sequence[Request]) -> list[Json]:
        return await self._first(lambda rpc: rpc.batch(requests))

    async def outcomes(self, requests: Sequence[Request]) -> list[Json | CallReverted]:
        return await self._first(lambda rpc: rpc.outcomes(requests))

    async def _first(self, read: Callable[[Rpc], Awaitable[T]]) -> T:
        """The first answer down the line. Raises the first refusal when all have refused."""
        self._probe_when_due()
        refusal: NodeRefused | None = None
        for node in self._line():
            try:
                return await self._ask(node, read)
            except NodeRefused as refused:
                refusal = refusal or refused
            except TryElsewhere:
                continue
        if refusal is not None:
            raise refusal
        raise self._none_answers()

    def _none_answers(self) -> NoEndpoint:
        """With what each said, and for how long all of them want to be left alone."""
        now = self._clock.now()
        told = "; ".join(node.error for node in self._nodes if node.error)
        waits = [node.rpc.pace.wait(now) for node in self._nodes]
        text = f"none of {len(self._nodes)} RPC endpoints answers" + (f": {told}" if told else "")
        return NoEndpoint(text, after_seconds=min(waits) or None)

    async def _ask(self, node: Node, read: Callable[[Rpc], Awaitable[T]]) -> T:
        await self._admit(node)
        try:
            answer = await read(node.rpc)
        except EndpointDown as fault:
            self._failed(node, fault)
            raise
        node.failures, node.rest_seconds, node.error = 0, 0.0, ""
        return answer

    async def _admit(self, node: Node) -> None:
        if node.admitted:
            return
        said = await self._ask_chain_id(node)
        if said is None:
            raise EndpointDown(f"{node.rpc.url} does not tell its chain")
        if said != self.chain_id:
            self._rest(node, WRONG_CHAIN_REST_SECONDS)
            log.error("chain.endpoint_on_wrong_chain", endpoint=str(node.rpc.url), chain_id=said)
            node.error = f"{node.rpc.url} is on chain {said}, not {self.chain_id}"
            raise EndpointDown(node.error)
        node.admitted = True

    def _failed(self, node: Node, fault: TryElsewhere) -> None:
        node.failures += 1
        node.admitted = False
        node.error = str(fault)
        asked = fault.after_seconds if isinstance(fault, EndpointDown) else None
        rest = asked or min(MAX_REST_SECONDS, 2.0 ** min(node.failures, 10))
        self._rest(node, rest)
        log.warning("chain.endpoint_failed", endpoint=str(node.rpc.url), error=str(fault))

    def _rest(self, node: Node, seconds: float) -> None:
        node.failed_at, node.rest_seconds = self._clock.now(), seconds

    def _rests(self, node: Node) -> bool:
        return not passed(self._clock.now(), node.failed_at, node.rest_seconds)

    def _lags(self, node: Node) -> bool:
        return node.height is not None and self._best_height() - node.height > self._max_lag

    def _best_height(self) -> int:
        return max((node.height for node in self._nodes if node.height is not None), default=0)

    def _line(self) -> list[Node]:
        """Well ones as configured, then laggards, then, rather than nothing, those that rest."""
        return sorted(self._nodes, key=lambda node: (self._rests(node), self._lags(node)))

    # Comparing

    def _probe_when_due(self) -> None:
        """Beside the request at hand: a node that hangs must not make anyone wait."""
        due = passed(self._clock.now(), self._probed_at, PROBE_SECONDS)
        if due and self.count > 1 and (self._probe is None or self._probe.done()):
            self._probed_at = self._clock.now()
            self._probe = asyncio.create_task(self.probe())

    async def probe(self) -> None:
        """Ask every endpoint that doesn't rest for its height, so that laggards are known."""
        await asyncio.gather(*(self._measure(n) for n in self._nodes if not self._rests(n)))

    async def _measure(self, node: Node) -> None:
        try:
            node.height = integer(await self._ask(node, lambda rpc: rpc.call("eth_blockNumber")))
        except TryElsewhere:
            node.height = None

    async def confirmed_elsewhere(self, read: Callable[[Rpc], Awaitable[T]]) -> T:
        """`read` at two different endpoints that must agree; at the only one where there is one.

        For what can't be undone. Read at a block's hash, or two honest nodes will differ.
        Raises Disagreement, or NoEndpoint when several are configured and fewer than two answer.
        """
        answers: list[T] = []
        for node in self._line():
            try:
                answers.append(await self._ask(node, read))
            except TryElsewhere:
                continue
            if len(answers) == min(2, len(self._nodes)):
                break
        if len(answers) < min(2, len(self._nodes)):
            raise NoEndpoint(f"{len(answers)} of {len(self._nodes)} RPC endpoints answer; two must")
        if any(answer != answers[0] for answer in answers):
            raise Disagreement("two RPC endpoints differ on the same read at the same block")
        return answers[0]

    async def everywhere(self, method: str, *params: Json) -> list[Json | TryElsewhere]:
        """The same request at every endpoint that doesn't rest: each result, or why there is none.

        Raises CallReverted when one says so.
        """
        nodes = [node for node in self._nodes if not self._rests(node)] or self._nodes
        return await asyncio.gather(*(self._try(node, method, *params) for node in nodes))

    async def _try(self, node: Node, method: str, *params: Json) -> Json | TryElsewhere:
        try:
            return await self._ask(node, lambda rpc: rpc.call(method, *params))
        except TryElsewhere as fault:
            return fault
