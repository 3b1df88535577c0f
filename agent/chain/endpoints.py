"""Several nodes as one: ordered, with failover, one chain id, and a second opinion.

The first endpoint of the configuration answers while it is well. One that fails rests, twice as
long each time; one whose own newest block is old while another is far ahead waits at the end of the
line, and so does one whose word was doubted. A height alone ranks nobody: any node can say 10^9. An
endpoint is asked its chain id before it is used and again after every failure, since what stands
behind a name can change; at start a differing one stops the agent, later it is set aside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from agent.chain.endpoint_ranks import MAX_LAG_SECONDS, Health, Node, Ranks
from agent.chain.head import block_ref, block_request
from agent.chain.http import Http
from agent.chain.rpc import (
    CallReverted,
    EndpointDown,
    Json,
    NodeRefused,
    Request,
    Rpc,
    Transport,
    number,
)
from agent.clock import passed
from agent.market.model import BlockRef
from agent.ports import Clock
from agent.secret import SecretUrl
from faults import MustStop, RetryLater, TryElsewhere, UsageFault

T = TypeVar("T")
log = structlog.get_logger()

WRONG_CHAIN_REST_SECONDS = 300.0
PROBE_SECONDS = 15.0  # between looks at every endpoint's height, beside what is asked anyway
SECOND_SECONDS = 1.0  # for which a second endpoint's word is waited for, where a start is pressed
# What a node refuses by itself: a lie here keeps a report from being sent, and costs the stake.
ASKED_TWICE = frozenset({"eth_estimateGas"})


class NoEndpoint(RetryLater):
    """No endpoint answers now."""


class Endpoints:
    """A Reader over all endpoints. Build with `await Endpoints.open(...)`."""

    def __init__(
        self, nodes: Sequence[Node], chain_id: int, clock: Clock, max_lag_seconds: float
    ) -> None:
        self.chain_id = chain_id
        self._nodes = list(nodes)
        self._clock = clock
        self._ranks = Ranks(self._nodes, clock, max_lag_seconds)
        self._probed_at = clock.now()
        self._probe: asyncio.Task[None] | None = None

    @classmethod
    async def open(
        cls,
        urls: Sequence[str],
        clock: Clock,
        *,
        chain_id: int | None = None,
        max_lag_seconds: float = MAX_LAG_SECONDS,
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
        return await cls.over(https, clock, chain_id=chain_id, max_lag_seconds=max_lag_seconds)

    @classmethod
    async def over(
        cls,
        transports: Sequence[Transport],
        clock: Clock,
        *,
        chain_id: int | None = None,
        max_lag_seconds: float = MAX_LAG_SECONDS,
    ) -> Endpoints:
        """As `open`, over whatever leads to the nodes."""
        nodes = [Node(Rpc(transport, clock)) for transport in transports]
        endpoints = cls(nodes, chain_id or 0, clock, max_lag_seconds)
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
            return await number(node.rpc, "eth_chainId")
        except TryElsewhere as fault:
            self._ranks.failed(node, fault)
            return None

    async def close(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        await asyncio.gather(*(node.rpc.close() for node in self._nodes))

    @property
    def count(self) -> int:
        return len(self._nodes)

    def now(self) -> float:
        """Unix seconds, by this machine."""
        return self._clock.now()

    def health(self) -> list[Health]:
        return [
            Health(
                str(node.rpc.url),
                node.admitted and not self._ranks.rests(node),
                None if node.tip is None else self._ranks.behind(node),
                node.failures,
                node.error,
            )
            for node in self._nodes
        ]

    # Reading

    async def call(self, method: str, *params: Json) -> Json:
        """As a Reader's; of what one node's refusal would leave undone, a second is asked."""
        if method in ASKED_TWICE and self.count > 1:
            return await self._unless_two_refuse(lambda rpc: rpc.call(method, *params))
        return await self._first(lambda rpc: rpc.call(method, *params))

    async def _unless_two_refuse(self, read: Callable[[Rpc], Awaitable[T]]) -> T:
        """The first answer; CallReverted only when two endpoints say so."""
        refused: list[CallReverted] = []

        async def ask(rpc: Rpc) -> T:
            try:
                return await read(rpc)
            except CallReverted as no:
                refused.append(no)
                if len(refused) > 1:
                    raise
                raise NodeRefused(f"one endpoint says: {no}; a second is asked") from no

        return await self._first(ask)

    async def batch(self, requests: Sequence[Request]) -> list[Json]:
        return await self._first(lambda rpc: rpc.batch(requests))

    async def outcomes(self, requests: Sequence[Request]) -> list[Json | CallReverted]:
        """As a Reader's. What reverts by one word is asked of another endpoint, whose value counts:
        a job that is denied is not served, and what is not served costs the stake."""
        asked: list[Rpc] = []

        async def read(rpc: Rpc) -> list[Json | CallReverted]:
            asked.append(rpc)
            return await rpc.outcomes(requests)

        found = await self._first(read)
        no = [number for number, each in enumerate(found) if isinstance(each, CallReverted)]
        if no:
            told = await self._another_word([requests[number] for number in no], asked[-1])
            for number, each in zip(no, told, strict=False):
                found[number] = each
        return found

    async def _another_word(
        self, requests: Sequence[Request], than: Rpc
    ) -> list[Json | CallReverted]:
        """Of the first of the others that is well; nothing, when it is slow or can't tell."""
        others = [n for n in self._ranks.line() if n.rpc is not than and not self._ranks.rests(n)]
        try:
            async with asyncio.timeout(SECOND_SECONDS):
                return await self._ask(others[0], lambda rpc: rpc.outcomes(requests))
        except (TryElsewhere, TimeoutError, IndexError):
            return []

    async def first(self, read: Callable[[Rpc], Awaitable[T]]) -> T:
        """The first answer down the line that `read` does not refuse (NodeRefused). Raises the
        first refusal when all have refused, NoEndpoint when none answers."""
        return await self._first(read)

    async def _first(self, read: Callable[[Rpc], Awaitable[T]]) -> T:
        """The first answer down the line. Raises the first refusal when all have refused."""
        self._probe_when_due()
        refusal: NodeRefused | None = None
        for node in self._ranks.line():
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
            self._ranks.failed(node, fault)
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
            self._ranks.rest(node, WRONG_CHAIN_REST_SECONDS)
            log.error("chain.endpoint_on_wrong_chain", endpoint=str(node.rpc.url), chain_id=said)
            node.error = f"{node.rpc.url} is on chain {said}, not {self.chain_id}"
            raise EndpointDown(node.error)
        node.admitted = True

    # Comparing

    def _probe_when_due(self) -> None:
        """Beside the request at hand: a node that hangs must not make anyone wait."""
        due = passed(self._clock.now(), self._probed_at, PROBE_SECONDS)
        if due and self.count > 1 and (self._probe is None or self._probe.done()):
            self._probed_at = self._clock.now()
            self._probe = asyncio.create_task(self.probe())

    async def probe(self) -> None:
        """Ask every endpoint that doesn't rest for its newest block, so that laggards are known."""
        await asyncio.gather(*(self._measure(n) for n in self._nodes if not self._ranks.rests(n)))

    async def _measure(self, node: Node) -> None:
        try:
            node.tip = await self._ask(node, _newest)
        except TryElsewhere:
            node.tip = None

    async def preferred(
        self, read: Callable[[Rpc], Awaitable[T]], doubt: Callable[[T, float], str]
    ) -> T:
        """The first answer of which `doubt` (answer, now) says nothing; else the very first.

        What is doubted of all is no endpoint's fault: a clock that is wrong, a chain that stands.
        Raises NoEndpoint, or the first refusal when all have refused.
        """
        doubted: list[tuple[Node, T, str]] = []

        async def ask(rpc: Rpc) -> T:
            answer = await read(rpc)
            why = doubt(answer, self._clock.now())
            if why:
                doubted.append((self._node_of(rpc), answer, why))
                raise NodeRefused(f"{rpc.url}: {why}")
            return answer

        try:
            answer = await self._first(ask)
        except (NoEndpoint, NodeRefused):
            if not doubted:
                raise
            return doubted[0][1]
        for node, _, why in doubted:
            self._ranks.note_doubt(node, why)
        return answer

    def _node_of(self, rpc: Rpc) -> Node:
        return next(node for node in self._nodes if node.rpc is rpc)

    async def voices(self, read: Callable[[Rpc], Awaitable[T]], wanted: int = 2) -> list[T]:
        """What different endpoints answer to the same read, all that were asked: at least `wanted`
        of them where so many answer, in the order of the line.

        For what can't be undone: whoever compares must not care which one spoke first. Read at a
        block's hash, or two honest nodes will differ.
        """
        answers: list[T] = []
        line = self._ranks.line()
        while line and len(answers) < wanted:
            asked, line = line[: wanted - len(answers)], line[wanted - len(answers) :]
            said = await asyncio.gather(*(self._voice(node, read) for node in asked))
            answers += [answer for one in said for answer in one]
        return answers

    async def _voice(self, node: Node, read: Callable[[Rpc], Awaitable[T]]) -> tuple[T, ...]:
        try:
            return (await self._ask(node, read),)
        except (TryElsewhere, CallReverted) as silent:
            log.info("chain.no_voice", endpoint=str(node.rpc.url), error=str(silent))
            return ()

    async def several(self, read: Callable[[Rpc], Awaitable[T]]) -> list[T | CallReverted]:
        """What two endpoints that are well answer to the same read, in the order of the line; the
        second is waited for `SECOND_SECONDS` after the first, since nobody waits for one that
        hangs. Where neither answers, the rest of the line is asked.

        Raises NoEndpoint, or the first refusal when all have refused.
        """
        self._probe_when_due()
        well = [node for node in self._ranks.line() if not self._ranks.rests(node)][:2]
        tasks = [asyncio.create_task(self._said(node, read)) for node in well]
        try:
            if tasks:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.wait(tasks, timeout=SECOND_SECONDS)
            answers = [answer for task in tasks if task.done() for answer in task.result()]
        finally:
            for task in tasks:
                task.cancel()
        return answers or [await self._first(read)]

    async def _said(
        self, node: Node, read: Callable[[Rpc], Awaitable[T]]
    ) -> list[T | CallReverted]:
        try:
            return [await self._ask(node, read)]
        except CallReverted as no:
            return [no]
        except TryElsewhere as silent:
            log.info("chain.no_voice", endpoint=str(node.rpc.url), error=str(silent))
            return []

    async def everywhere(self, method: str, *params: Json) -> list[Json | TryElsewhere]:
        """The same request at every endpoint that doesn't rest: each result, or why there is none.
        Of no method that a contract is asked with: one's revert would hide the others' words."""
        nodes = [node for node in self._nodes if not self._ranks.rests(node)] or self._nodes
        return await asyncio.gather(*(self._try(node, method, *params) for node in nodes))

    async def _try(self, node: Node, method: str, *params: Json) -> Json | TryElsewhere:
        try:
            return await self._ask(node, lambda rpc: rpc.call(method, *params))
        except TryElsewhere as fault:
            return fault


async def _newest(rpc: Rpc) -> BlockRef:
    return block_ref((await rpc.batch([block_request("latest")]))[0])
