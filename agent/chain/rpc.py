"""JSON-RPC with one node: requests, batches, and errors named by what to do.

How a body gets to the node and back is a `Transport`'s business (HTTP: agent.chain.http). No
failover here: see endpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agent.secret import SecretUrl
from faults import Refused, TryElsewhere

Json = Any  # what json.loads gives; every reader checks the shape it needs

BATCH_LIMIT = 100  # requests in one exchange: what public nodes commonly take

LIMIT_EXCEEDED = -32005  # https://eips.ethereum.org/EIPS/eip-1474#error-codes
# What geth says of the rest of a batch that takes too long or answers too much (rpc/errors.go);
# by EIP-1474 the codes (-32002, -32003) mean what has nothing to do with a batch.
BATCH_CUT_SHORT = ("request timed out", "response too large")
REVERTED = (3, -32015)  # geth, anvil, erigon and besu; nethermind and openethereum
REVERTED_WORDS = "execution reverted"  # geth, code -32000, for a revert without data
GROW_AFTER = 20  # full exchanges: a moment's limit is forgotten, one that stays costs 5 %


class EndpointDown(TryElsewhere):
    """This node didn't answer, or not in JSON-RPC; another may, at once."""

    def __init__(self, message: str, *, after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.after_seconds = after_seconds


class NodeRefused(TryElsewhere):
    """The node answered with an error that is not a revert: lagging, limited, or unable."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


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
        """Results in order, all from one node; the first error is raised."""
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


class Rpc:
    """One node. `batch_limit` shrinks by itself at a node that takes less in one exchange, and
    grows back when it has taken that for a while."""

    def __init__(self, transport: Transport) -> None:
        self.url = transport.url
        self.batch_limit = BATCH_LIMIT
        self._full_exchanges = 0
        self._transport = transport

    def __repr__(self) -> str:
        return f"Rpc({self.url})"

    async def close(self) -> None:
        await self._transport.close()

    async def call(self, method: str, *params: Json) -> Json:
        body = _body(0, Request(method, params))
        return self._result(await self._transport.exchange(body), method)

    async def batch(self, requests: Sequence[Request]) -> list[Json]:
        results = await self.outcomes(requests)
        for each in results:
            if isinstance(each, CallReverted):
                raise each
        return results

    async def outcomes(self, requests: Sequence[Request]) -> list[Json | CallReverted]:
        results: list[Json | CallReverted] = []
        while len(results) < len(requests):
            part = requests[len(results) : len(results) + self.batch_limit]
            try:
                answers = await self._exchanged(part)
            except NodeRefused:
                if len(part) == 1:
                    raise
                self.batch_limit, self._full_exchanges = len(part) // 2, 0
                continue
            self._took(len(part))
            # What a node refuses of a batch (a block that it does not have) has nothing to do
            # with how many there are.
            results += map(self._outcome, answers, [each.method for each in part])
        return results

    def _took(self, requests: int) -> None:
        self._full_exchanges += requests == self.batch_limit
        if self._full_exchanges >= GROW_AFTER:
            self.batch_limit, self._full_exchanges = min(BATCH_LIMIT, 2 * self.batch_limit), 0

    async def _exchanged(self, requests: Sequence[Request]) -> list[Json]:
        """The answers as they came, in order. Raises NodeRefused: the node takes no such batch."""
        if len(requests) == 1:
            return [await self._transport.exchange(_body(0, requests[0]))]
        bodies = [_body(number, each) for number, each in enumerate(requests)]
        answer = await self._transport.exchange(bodies)
        if not isinstance(answer, list):
            self._result(answer, "batch")
            raise EndpointDown(f"{self.url} answered a batch with no list")
        by_id = {each.get("id"): each for each in answer if isinstance(each, dict)}
        found = [by_id.get(number) for number in range(len(requests))]
        if (refusal := _refusal(found)) is not None:
            self._result(refusal, "batch")
        return found

    def _outcome(self, answer: Json, method: str) -> Json | CallReverted:
        try:
            return self._result(answer, method)
        except CallReverted as no:
            return no

    def _result(self, answer: Json, method: str) -> Json:
        if not isinstance(answer, dict) or not ("result" in answer or "error" in answer):
            raise EndpointDown(f"{self.url} gives no JSON-RPC answer")
        error = answer.get("error")
        if error is None:
            return answer.get("result")
        error = error if isinstance(error, dict) else {"message": str(error)}
        code, data = error.get("code", 0), error.get("data")
        said = str(error.get("message", "no reason given"))[:200]
        if code in REVERTED or said.startswith(REVERTED_WORDS):
            raise CallReverted(revert_reason(data), data if isinstance(data, str) else "0x")
        text = self.url.redact(f"refuses {method}: {said} (code {code})")
        raise NodeRefused(f"{self.url} {text}", code)


def _refusal(answers: Sequence[Json]) -> Json | None:
    """The error by which a node refuses a batch as such, if it does.

    geth answers one that has too many requests under the first one's id alone, and breaks off one
    that takes too long; others say of each request that there are too many.
    """
    codes = [_code(answer) for answer in answers]
    alone = None in answers and any(code is not None for code in codes)
    cut_short = any(
        code is not None and _message(each) in BATCH_CUT_SHORT
        for each, code in zip(answers, codes, strict=True)
    )
    if alone or cut_short or all(code == LIMIT_EXCEEDED for code in codes):
        return next(each for each, code in zip(answers, codes, strict=True) if code is not None)
    return None


def _code(answer: Json) -> Json | None:
    """Of an error; None: there is none."""
    error = answer.get("error") if isinstance(answer, dict) else None
    return error.get("code", 0) if isinstance(error, dict) else None


def _message(answer: Json) -> Json:
    return answer["error"].get("message")


def _body(number: int, request: Request) -> Json:
    return {"jsonrpc": "2.0", "id": number, "method": request.method, "params": request.params}


def revert_reason(data: Json) -> str:
    """The text of `Error(string)`, the code of `Panic(uint256)`, else the raw data.

    Whatever else a node or contract puts there, this gives a short printable text.
    """
    raw = _bytes(data)
    if raw[:4] == b"\x08\xc3\x79\xa0" and len(raw) >= 68:
        length = int.from_bytes(raw[36:68], "big")
        return raw[68 : 68 + min(length, 200)].decode("utf-8", "backslashreplace")
    if raw[:4] == b"\x4e\x48\x7b\x71" and len(raw) >= 36:
        return f"panic 0x{int.from_bytes(raw[4:36], 'big'):x}"
    return f"0x{raw[:64].hex()}" if raw else "without a reason"


def _bytes(data: Json) -> bytes:
    text = data.get("data") if isinstance(data, dict) else data
    if not isinstance(text, str):
        return b""
    try:
        return bytes.fromhex(text.removeprefix("Reverted ").removeprefix("0x"))
    except ValueError:
        return b""


def integer(value: Json) -> int:
    """A quantity as JSON-RPC has it, `0x1f`. Raises NodeRefused: it is none."""
    try:
        return int(value, 16)
    except (TypeError, ValueError):
        raise NodeRefused("a node answers no number where there should be one") from None
