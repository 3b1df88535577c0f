"""What a node's JSON says of the requests that it was sent, whatever JSON it is.

A grammar with room: ids that came back as text, errors that are text or lack a code, gateways that
answer in their own words. What can't be told apart is missing, never guessed. Pure; the words
and codes by which nodes name limits and reverts are tables here, each with where it was seen.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from enclave.shown import shown
from faults import printable
from foreign_json import check

Json = Any  # what json.loads gives; every reader checks the shape it needs

SAID_MOST = 200  # characters of a node's own sentence
DEEP_MOST = 4  # objects within objects in which a sentence is looked for
LARGE_BYTES = 64 * 2**10  # more is parsed item by item and off the loop

# A revert can make a job count as unknown: a code alone is none, since gateways number their own
# troubles from 1 on (gRPC's 3 is a bad argument), and nethermind's is said of too little gas, too.
REVERTED = frozenset({3, -32015})  # geth, anvil, erigon, reth; nethermind, besu and openethereum
# Beginnings of messages, or what follows after who says it (`rpc error: code = Unknown desc = `,
# `evm: `, `[Request ID: 1] `). No word that a node might use for its own trouble belongs here.
REVERTED_WORDS = re.compile(
    r"(?:^|[:=\]]\s)(?:"
    r"execution reverted"  # geth (code -32000 for a revert without data), besu, evmos, kaia
    r"|vm exception while processing transaction: revert"  # ganache, hardhat, frontier (-32603)
    r")",
    re.IGNORECASE,
)

RATE_CODES = frozenset(
    {
        429,  # Alchemy: HTTP's own number as a code, within HTTP 200
        -32007,  # QuickNode: "15/second request limit reached"
        -32029,  # Chainstack, drpc: too many requests
        -32097,  # Ankr
    }
)
# Not code -32005 alone: EIP-1474's "limit exceeded" is said of ranges and sizes, too.
_RATE_ROWS = (
    r"per[ -](?:second|minute|hour|day|month)",  # QuickNode, Alchemy, Moralis
    r"/\s?(?:s|sec|second|min|minute|day)\b",  # QuickNode: 15/second
    r"\brps\b",  # Chainstack: you've exceeded the RPS limit
    r"rate[ -]?limit|request rate|rate exceeded",  # Infura: project ID request rate exceeded
    r"too many (?:requests|calls|connections)",  # Pokt, OnFinality, Ankr
    r"compute units|\bout of cus?\b|throughput|throttl",  # Alchemy, NodeReal
    r"concurrent requests",  # Alchemy: exceeded its concurrent requests capacity
    r"(?:daily|monthly|hourly|request) (?:request )?(?:count|limit|quota|allowance)",  # Infura
    r"(?:included|free|monthly|daily) usage|usage limit|credits|quota",  # Moralis, 1RPC, GetBlock
)
RATE_WORDS = re.compile("|".join(_RATE_ROWS), re.IGNORECASE)
# Of the request itself and of no other in its batch: asking fewer at a time changes nothing.
OF_ITSELF_CODES = frozenset({-32601, -32001})  # no such method; EIP-1474: resource not found
OF_ITSELF_WORDS = re.compile(
    r"not found|unknown block|missing trie node|pruned|unavailable|not available|does not exist"
    r"|no state|method .{0,60}(?:not|unsupported)|ahead of|unfinalized",
    re.IGNORECASE,
)
# Whoever answers has no such method, or lets nobody call it. Gateways have words of their own, some
# beside -32600 or -32000.
NO_METHOD_CODES = frozenset({-32601, -32604})  # EIP-1474: method not found, not supported
NO_METHOD_WORDS = re.compile(
    r"method .{0,60}(?:not |unsupported|disabled|blocked|forbidden|unavailable)"
    r"|(?:unsupported|unknown|no such|invalid|disallowed|disabled) (?:rpc )?method",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Result:
    value: Json


@dataclass(frozen=True, slots=True)
class Error:
    """`message` is one printable line, at most SAID_MOST characters. `of_all`: it was said of a
    whole batch, and stands here for want of an answer to this request."""

    code: int
    message: str
    data: Json = None
    of_all: bool = False

    @property
    def is_revert(self) -> bool:
        """By its words, or by a code that stands for it beside a word or bytes of the contract.
        Never of a whole batch: of which call in it?"""
        if self.of_all:
            return False
        if REVERTED_WORDS.search(self.message):
            return True
        told = "revert" in self.message.lower() or _is_revert_data(self.data)
        return self.code in REVERTED and told

    @property
    def is_rate(self) -> bool:
        """More was asked in a time than this node takes; the same may pass later."""
        return self.code in RATE_CODES or bool(RATE_WORDS.search(self.message))

    @property
    def is_no_method(self) -> bool:
        by_word = self.code in NO_METHOD_CODES or bool(NO_METHOD_WORDS.search(self.message))
        return by_word and not self.is_rate and not self.of_all

    @property
    def is_of_itself(self) -> bool:
        by_word = self.code in OF_ITSELF_CODES or bool(OF_ITSELF_WORDS.search(self.message))
        spoken_of = self.of_all or "batch" in self.message.lower()
        return by_word and not self.is_rate and not spoken_of


Answer = Result | Error | None  # None: nothing was said of this request


def of_one(answer: Json) -> Answer:
    """The answer to a single request. Its id is not looked at: one request has one answer."""
    if isinstance(answer, list) and len(answer) == 1:
        answer = answer[0]  # a gateway that makes a batch of everything
    if not isinstance(answer, dict):
        return None
    error = answer.get("error")
    if error is not None:
        return _error(error, answer)
    return Result(answer["result"]) if "result" in answer else None


def of_batch(answer: Json, count: int) -> list[Answer]:
    """The answers to `count` requests whose ids are 0, 1, 2 ... What is said of the batch as a
    whole stands for each request of which nothing else is said."""
    if not isinstance(answer, list):
        return [_of_all(answer)] * count
    found: dict[int, Answer] = {}
    whole: Answer = None
    for each in answer[: 2 * count]:
        number = id_of(each)
        if number is None or number >= count:
            whole = whole or _of_all(each)
        else:
            found[number] = _one_of(found, number, of_one(each))
    return [found.get(number) or whole for number in range(count)]


def _of_all(answer: Json) -> Answer:
    """What an error says that names none of the requests; a gateway that looks for the method of
    a list finds none, and says so in the words that it has for one request."""
    said_of_it = of_one(answer)
    return replace(said_of_it, of_all=True) if isinstance(said_of_it, Error) else None


def _one_of(found: dict[int, Answer], number: int, new: Answer) -> Answer:
    """Two that differ for one request are none: nobody knows which is meant."""
    return new if number not in found or found[number] == new else None


def id_of(answer: Json) -> int | None:
    """The request's number, also as text or with a point; True is not 1."""
    given = answer.get("id") if isinstance(answer, dict) else None
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) < 10:
        return int(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    return int(given) if 0 <= given < 10**9 and given == int(given) else None


def _error(error: Json, around: dict[str, Json]) -> Error:
    if not isinstance(error, dict):
        return Error(_code(around.get("code")), said(error) or "no reason given")
    code = error.get("code", around.get("code"))
    return Error(_code(code), said(error) or "no reason given", error.get("data"))


def _code(given: Json) -> int:
    """0 stands for what is no code."""
    if isinstance(given, str) and re.fullmatch(r"-?[0-9]{1,9}", given):
        return int(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        return 0
    return int(given) if -(10**9) < given < 10**9 else 0


def said(answer: Json, deep: int = 0) -> str:
    """The sentence in an answer, as gateways of all makes put one there; empty: there is none."""
    if isinstance(answer, str):
        return shown(" ".join(answer[: 4 * SAID_MOST].split()), SAID_MOST)
    if isinstance(answer, list) and answer and deep < DEEP_MOST:
        return said(answer[0], deep + 1)
    if isinstance(answer, dict) and deep < DEEP_MOST:
        # JSON-RPC; AWS's API gateway; Kong and FastAPI; problem+json; GraphQL-like lists.
        names = ("message", "Message", "error", "errors", "detail", "title", "msg", "reason")
        return next((text for name in names if (text := said(answer.get(name), deep + 1))), "")
    return ""


def said_in(body: bytes, answer: Json) -> str:
    """The sentence of a refusal: of its JSON, else what text is left of a page."""
    if (text := said(answer)) or answer is not None:
        return text
    page = body[:4096].decode("utf-8", "replace")
    page = re.sub(r"(?is)<(script|style)\b.*?(</\1>|$)|<[^>]*(>|$)", " ", page)
    return said(page)


def parsed(body: bytes) -> Json:
    """JSON, or None for what is none. Of a list each item is parsed for itself, so that other
    threads get their turn between two. Call it in a thread when the body is large."""
    try:
        text = body.decode("utf-8-sig")
        check(text)
        return _items(text) if text.lstrip()[:1] == "[" else json.loads(text)
    except (ValueError, RecursionError):  # UnicodeDecodeError is one of the former
        return None


def _items(text: str) -> list[Json]:
    decoder, space = json.JSONDecoder(), re.compile(r"[ \t\r\n]*")
    found: list[Json] = []

    def after_space(at: int) -> int:
        match = space.match(text, at)
        return match.end() if match else at

    at = after_space(text.index("[") + 1)
    if text[at : at + 1] == "]":
        return _ended(found, text, after_space(at + 1))
    while True:
        item, at = decoder.raw_decode(text, at)
        found.append(item)
        at = after_space(at)
        if text[at : at + 1] != ",":
            break
        at = after_space(at + 1)
    if text[at : at + 1] != "]":
        raise ValueError("a list that does not end")
    return _ended(found, text, after_space(at + 1))


def _ended(found: list[Json], text: str, at: int) -> list[Json]:
    if at != len(text):
        raise ValueError("more than one value")
    return found


def first_error(answers: Sequence[Answer]) -> Error | None:
    """The first refusal; None: what is missing was not spoken of."""
    return next((each for each in answers if isinstance(each, Error)), None)


def revert_reason(data: Json) -> str:
    """The text of `Error(string)`, the code of `Panic(uint256)`, else the raw data.

    Whatever else a node or contract puts there, this gives a short printable text.
    """
    raw = _bytes(data)
    if raw[:4] == b"\x08\xc3\x79\xa0" and len(raw) >= 68:
        length = int.from_bytes(raw[36:68], "big")
        return printable(raw[68 : 68 + min(length, 200)].decode("utf-8", "backslashreplace"))
    if raw[:4] == b"\x4e\x48\x7b\x71" and len(raw) >= 36:
        return f"panic 0x{int.from_bytes(raw[4:36], 'big'):x}"
    return f"0x{raw[:64].hex()}" if raw else "without a reason"


def _is_revert_data(data: Json) -> bool:
    """Bytes, none included, or nethermind's and openethereum's word before them."""
    text = data.get("data") if isinstance(data, dict) else data
    if not isinstance(text, str):
        return False
    return bool(re.match(r"0x([0-9a-f]{2})*$|revert", text, re.IGNORECASE))


def _bytes(data: Json) -> bytes:
    text = data.get("data") if isinstance(data, dict) else data
    if not isinstance(text, str):
        return b""
    try:
        return bytes.fromhex(text.removeprefix("Reverted ").removeprefix("0x"))
    except ValueError:
        return b""
