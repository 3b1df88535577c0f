"""JSON-RPC with one node: requests, batches, and errors named by what to do.

A node that takes few requests at a time is found out by asking one alone: when that passes, it
was the batch, whatever the node said of it. What was answered is kept; only the rest is asked
again. How a body gets to the node and back is a `Transport`'s business (HTTP: agent.chain.http),
what an answer says is agent.chain.answers'. No failover here: see endpoints.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from agent.chain.answers import (
    Answer,
    Error,
    Result,
    first_error,
    of_batch,
    of_one,
    revert_reason,
)
from agent.chain.answers import Json as Json
from agent.chain.pace import BatchSize, Pace
from agent.chain.retry_after import asked_wait
from agent.clock import SystemClock
from agent.ports import Clock
from agent.secret import SecretUrl
from enclave.shown import shown
from faults import Refused, TryElsewhere

WAIT_SECONDS = 10.0  # at most, before one exchange: as long as an exchange may take itself
WAITS_SECONDS = 30.0  # at most, within one batch of which some was answered
MOST_CUTS = 3  # requests alone that go astray, within one batch of which some was answered
MOST_INTEGER = 2**256 - 1
# What a contract is asked for. Of anything else a revert is a node's odd word for its own trouble,
# and another node may do: nobody who asks for a block expects a contract to say no.
CAN_REVERT = frozenset({"eth_call", "eth_estimateGas"})


class Got(Enum):
    """How far a request got: whether fewer requests at a time could do better."""

    NOWHERE = "nobody there"
    SILENCE = "no answer in time"  # it may have been too many; to find out at once costs too much
    WORDS = "an answer, or a connection that was cut"


class EndpointDown(TryElsewhere):
    """This node didn't answer, or not in JSON-RPC; another may, at once."""

    def __init__(
        self, message: str, *, after_seconds: float | None = None, got: Got = Got.NOWHERE
    ) -> None:
        super().__init__(message)
        self.after_seconds, self.got = after_seconds, got


class Limited(EndpointDown):
    """It was asked more than it takes now; `after_seconds` is what it wants us to wait."""


class NodeRefused(TryElsewhere):
    """The node answered with an error that is not a revert: lagging, limited, or unable.

    `of_itself`: by its words it is about this request and not about how many there were.
    `no_method`: it has no such method, or none for us.
    """

    def __init__(
        self, message: str, code: int = 0, *, of_itself: bool = False, no_method: bool = False
    ) -> None:
        super().__init__(message)
        self.code, self.of_itself, self.no_method = code, of_itself, no_method


class CallReverted(Refused):
    """The contract said no. `reason` is its revert string, or what stands for one."""

    def __init__(self, reason: str, data: str = "0x") -> None:
        super().__init__(f"the contract reverts: {reason}")
        self.reason, self.data = reason, data


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    params: tuple[Json, ...] = ()


class Reader(Protocol):
    """Anything that answers JSON-RPC: one node, or all endpoints with failover."""

    async def call(self, method: str, *params: Json) -> Json:
        """The result. Raises CallReverted, NodeRefused, EndpointDown or RetryLater."""
        ...

    async def batch(self, requests: Sequence[Request]) -> list[Json]:
        """Results in order, all from one node. Raises as `call`, but NodeRefused for a revert:
        what is read so never reverts, and another node may know better."""
        ...

    async def outcomes(self, requests: Sequence[Request]) -> list[Json | CallReverted]:
        """As `batch`, but a revert stands in its request's place."""
        ...


class Transport(Protocol):
    """The way to one node. `url` shows no more than scheme, host and port."""

    url: SecretUrl

    async def exchange(self, body: Json) -> Json:
        """What the node answers to one request or a batch. Raises EndpointDown, NodeRefused."""
        ...

    async def close(self) -> None: ...


@dataclass
class _Asked:
    """A batch on its way: what was answered, and how often it had to be asked for less."""

    requests: Sequence[Request]
    found: dict[int, Json | CallReverted] = field(default_factory=dict)
    alone_passed: bool = False
    cuts: int = 0  # of one request alone
    waited_seconds: float = 0.0

    def left(self, most: int) -> list[int]:
        return [n for n in range(len(self.requests)) if n not in self.found][:most]


class Rpc:
    """One node, and what was learnt of how many requests it takes at once and a second."""

    def __init__(self, transport: Transport, clock: Clock | None = None) -> None:
        self.url = transport.url
        self.size = BatchSize()
        self.pace = Pace()
        self.refused_with = ""  # its words when it last took fewer than it was sent
        self._clock = clock or SystemClock()
        self._doubted = 0  # a batch of so many was not answered; one request alone tells why
        self._transport = transport

    def __repr__(self) -> str:
        return f"Rpc({self.url})"

    async def close(self) -> None:
        await self._transport.close()

    async def call(self, method: str, *params: Json) -> Json:
        outcome = await self._alone(Request(method, params))
        if isinstance(outcome, CallReverted):
            raise outcome
        return outcome

    async def batch(self, requests: Sequence[Request]) -> list[Json]:
        results = await self.outcomes(requests)
        for request, each in zip(requests, results, strict=True):
            if isinstance(each, CallReverted):
                text = f"{self.url} says of {request.method} that {each}"
                raise NodeRefused(text, of_itself=True) from each
        return results

    async def outcomes(self, requests: Sequence[Request]) -> list[Json | CallReverted]:
        asked = _Asked(requests)
        while part := asked.left(self.pace.most(self.size.limit)):
            await self._further(asked, part)
        return [asked.found[number] for number in range(len(requests))]

    async def _further(self, asked: _Asked, part: list[int]) -> None:
        """One exchange more. Raises what the node says of a request that it refuses alone, too."""
        refusal = await self._part(asked, part)
        if refusal is None:
            self._doubted = 0
            return self.size.took(len(part))
        answered = sum(number in asked.found for number in part)
        if isinstance(refusal, Limited) and answered:
            return await self._wait_for(refusal, asked)
        if isinstance(refusal, NodeRefused) and refusal.of_itself:
            raise refusal
        if len(part) == 1:
            return await self._refused_alone(refusal, asked)
        if not asked.alone_passed:
            await self._part_alone(asked, part)
            asked.alone_passed = True
            if isinstance(refusal, EndpointDown):
                return None  # it may have been an accident: the same once more
        self._doubted, self.refused_with = 0, str(refusal)
        return self.size.shrink(answered or len(part) // 2)

    async def _part_alone(self, asked: _Asked, part: list[int]) -> None:
        first = next(number for number in part if number not in asked.found)
        asked.found[first] = await self._alone(asked.requests[first])

    async def _refused_alone(self, refusal: TryElsewhere, asked: _Asked) -> None:
        if isinstance(refusal, Limited) and asked.found:
            return await self._wait_for(refusal, asked)
        asked.cuts += 1
        if not isinstance(refusal, EndpointDown) or not asked.found or asked.cuts > MOST_CUTS:
            raise refusal
        return None

    async def _wait_for(self, limited: Limited, asked: _Asked) -> None:
        """Some was answered: it would be lost if another node were asked instead."""
        wait = self.pace.wait(self._clock.now())
        asked.waited_seconds += wait
        if wait > WAIT_SECONDS or asked.waited_seconds > WAITS_SECONDS:
            raise limited

    async def _part(self, asked: _Asked, part: list[int]) -> TryElsewhere | None:
        """Keeps what is answered; why the rest is not, if there is a rest.

        Raises EndpointDown when the node said nothing at all.
        """
        if len(part) == 1:
            return await self._single(asked, part[0])
        requests = [asked.requests[number] for number in part]
        try:
            answers = await self._exchanged(requests)
        except EndpointDown as down:
            wishes = isinstance(down, Limited) and down.after_seconds
            if down.got is Got.WORDS and not wishes:
                return down
            self._doubted = 0 if down.got is Got.NOWHERE else len(part)
            raise
        except NodeRefused as refused:
            return refused
        for number, request, answer in zip(part, requests, answers, strict=True):
            if isinstance(answer, Result) or _reverts(answer, request):
                asked.found[number] = self._outcome(answer, request)
        return self._why_not_all(answers, requests)

    async def _single(self, asked: _Asked, number: int) -> TryElsewhere | None:
        try:
            asked.found[number] = await self._alone(asked.requests[number])
        except EndpointDown as down:
            if down.got is not Got.WORDS:
                raise
            return down
        except NodeRefused as refused:
            return refused
        return None

    def _why_not_all(
        self, answers: Sequence[Answer], requests: Sequence[Request]
    ) -> TryElsewhere | None:
        told = zip(answers, requests, strict=True)
        errors = [(each, asked) for each, asked in told if isinstance(each, Error)]
        refusals = [each for each, asked in errors if not _reverts(each, asked)]
        error = next((each for each in refusals if each.is_rate), first_error(refusals))
        if error is None:
            silent = sum(each is None for each in answers)
            text = f"{self.url} leaves out {silent} of {len(answers)} answers"
            return EndpointDown(text, got=Got.WORDS) if silent else None
        answered = len(answers) - len(refusals)
        if error.is_rate and answered:
            self.pace.refused(self._clock.now(), self._wish(error))
        fault = self._fault(error, requests[answers.index(error)].method)
        if isinstance(fault, NodeRefused) and None in answers:
            fault.of_itself = False  # one error in a list of one may be said of all
        return fault

    # One exchange

    async def _alone(self, request: Request) -> Json | CallReverted:
        await self._pause(1)
        try:
            said = of_one(await self._transport.exchange(_body(0, request)))
        except Limited as limited:
            self.pace.refused(self._clock.now(), limited.after_seconds)
            raise
        if isinstance(said, Error) and said.is_rate and not _reverts(said, request):
            self.pace.refused(self._clock.now(), self._wish(said))
        outcome = self._outcome(said, request)
        self.pace.took(1, self._clock.now())
        if self._doubted > 1:
            self.size.shrink(self._doubted // 2)
            self._doubted = 0
        return outcome

    async def _exchanged(self, requests: Sequence[Request]) -> list[Answer]:
        """The answers in order, None where there is none."""
        await self._pause(len(requests))
        bodies = [_body(number, each) for number, each in enumerate(requests)]
        try:
            answers = of_batch(await self._transport.exchange(bodies), len(requests))
        except Limited as limited:
            if limited.after_seconds:
                self.pace.refused(self._clock.now(), limited.after_seconds)
            raise
        self.pace.took(sum(isinstance(each, Result) for each in answers), self._clock.now())
        return answers

    async def _pause(self, requests: int) -> None:
        """Raises Limited: it would be longer than an exchange may take."""
        now = self._clock.now()
        wait = self.pace.wait(now)
        if wait > WAIT_SECONDS:
            text = f"{self.url} was asked too often and is left alone for {wait:.0f} s more"
            raise Limited(text, after_seconds=wait)
        self.pace.sends(requests, now)
        if wait:
            await self._clock.sleep(wait)

    def _wish(self, error: Error) -> float | None:
        return asked_wait({}, error.message, error.data, self._clock.now())

    def _outcome(self, answer: Answer, request: Request) -> Json | CallReverted:
        if isinstance(answer, Result):
            return answer.value
        if answer is None:
            raise EndpointDown(f"{self.url} gives no JSON-RPC answer", got=Got.WORDS)
        if _reverts(answer, request):
            data = answer.data
            return CallReverted(revert_reason(data), data if isinstance(data, str) else "0x")
        raise self._fault(answer, request.method)

    def _fault(self, error: Error, method: str) -> Limited | NodeRefused:
        code = f" (code {error.code})" if error.code else ""
        told = self.url.redact(f"refuses {method}: {error.message}{code}")
        text = f"{self.url} {told}"
        if error.is_rate:
            return Limited(text, after_seconds=self._wish(error), got=Got.WORDS)
        of_itself, no_method = error.is_of_itself, error.is_no_method
        return NodeRefused(text, error.code, of_itself=of_itself, no_method=no_method)


def _reverts(answer: Answer, request: Request) -> bool:
    """Whether it is the contract's no, which is an answer."""
    return isinstance(answer, Error) and answer.is_revert and request.method in CAN_REVERT


def _body(number: int, request: Request) -> Json:
    return {"jsonrpc": "2.0", "id": number, "method": request.method, "params": request.params}


def integer(value: Json, most: int = MOST_INTEGER) -> int:
    """A quantity as JSON-RPC has it, `0x1f`; leading zeros and plain JSON integers, which some
    clients write, are taken. Raises NodeRefused: it is none, or above `most`."""
    found: Any = -1
    if isinstance(value, str) and re.fullmatch(r"0[xX][0-9a-fA-F]{1,130}", value, re.ASCII):
        found = int(value, 16)
    elif isinstance(value, int) and not isinstance(value, bool):
        found = value
    if not 0 <= found <= most:
        raise NodeRefused("a node answers no number that can be where there should be one")
    return int(found)


async def number(reader: Reader, method: str, *params: Json, most: int = MOST_INTEGER) -> int:
    """The quantity that this method answers. Raises as `Reader.call`, and NodeRefused, with what
    was answered: it is none, or above `most`."""
    answer = await reader.call(method, *params)
    try:
        return integer(answer, most)
    except NodeRefused:
        told = f"a node answers {method} with {shown(repr(answer), 80)}"
        raise NodeRefused(f"{told}, which is no number that it can be") from None
