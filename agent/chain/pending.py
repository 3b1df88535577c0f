"""One look at the chain for an account's open transactions: receipts, its nonce, what is final.

And the closer look at a nonce that is used though no receipt says by which of ours: the block in
which the account's count passed it names the transaction that took it. Nothing here sends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from agent.chain.endpoints import Endpoints
from agent.chain.head import Finality, block_ref, block_request
from agent.chain.rpc import Json, NodeRefused, Reader, Request, integer
from agent.chain.transaction_log import TxRecord
from agent.market.model import Address, BlockRef
from faults import TryElsewhere

log = structlog.get_logger()

VOICES = 2  # that must tell alike, of however many are configured


@dataclass(frozen=True, slots=True)
class Sight:
    """One look at the chain.

    `final_number`: None while no endpoint, or one of several, says what is final. `nonce`: of the
    account at the head, transactions of it that are mined. `receipts` by hash, those that all who
    speak of them tell alike; `disputed` are the hashes of which they tell different things, or
    nothing: nodes that index refuse a receipt as long as that takes. `alone`: one endpoint of
    several told all of this.
    """

    head: BlockRef
    final_number: int | None
    nonce: int
    receipts: Mapping[str, Json]
    disputed: frozenset[str] = frozenset()
    alone: bool = False


async def look(
    endpoints: Endpoints, account: Address, records: Sequence[TxRecord], finality: Finality
) -> Sight:
    """All in one exchange with each of two nodes. Raises RetryLater, TryElsewhere, CallReverted."""
    hashes = [attempt.hash for record in records for attempt in record.attempts]

    async def one(rpc: Reader) -> Sight:
        return await _look(rpc, account, hashes, finality)

    found = await endpoints.several(one)
    sights = [each for each in found if isinstance(each, Sight)]
    if not sights:
        raise NodeRefused("a node reverts what no contract is asked for")
    return merged(sights, of=endpoints.count)


async def _look(rpc: Reader, account: Address, hashes: Sequence[str], finality: Finality) -> Sight:
    """In one exchange, unless a part is refused: it must not hide the others."""
    depth = finality.depth
    newest, counted = (
        block_request("latest"),
        Request("eth_getTransactionCount", (account, "latest")),
    )
    final = block_request("finalized") if depth is None else newest
    asked = [newest, counted, final, *map(_receipt_request, hashes)]
    try:
        head, nonce, *rest = await rpc.batch(asked)
    except NodeRefused:
        head, nonce = await rpc.batch(asked[:2])
        rest = await _told_of(rpc, asked[2:])
    told = {key: each for key, each in zip(hashes, rest[1:], strict=True) if each is not REFUSED}
    final_number = _number_of(rest[0])
    if final_number is not None:
        final_number -= depth or 0
    receipts = {key: None if _is_waiting(each) else each for key, each in told.items()}
    silent = frozenset(hashes) - receipts.keys()
    return Sight(block_ref(head), final_number, integer(nonce), receipts, silent)


def _receipt_request(hash_: str) -> Request:
    return Request("eth_getTransactionReceipt", (hash_,))


REFUSED = object()  # in place of an answer


async def _told_of(rpc: Reader, asked: Sequence[Request]) -> list[Json]:
    """Each answer, or REFUSED; by halves, since few are refused or all are."""
    try:
        return await rpc.batch(asked)
    except NodeRefused as refused:
        if len(asked) == 1:
            log.info("tx.look_refused", method=asked[0].method, error=str(refused))
            return [REFUSED]
    half = len(asked) // 2
    return [*await _told_of(rpc, asked[:half]), *await _told_of(rpc, asked[half:])]


def _number_of(block: Json) -> int | None:
    """None of what is no block: null, or a refusal."""
    try:
        return block_ref(block).number
    except NodeRefused:
        return None


def _is_waiting(receipt: Json) -> bool:
    """Of what is in a pool and in no block, some nodes answer a receipt without one."""
    return isinstance(receipt, Mapping) and receipt.get("blockNumber") is None


def merged(sights: Sequence[Sight], of: int) -> Sight:
    """What so many of `of` endpoints say together: the first one's, within what the others say."""
    finals = [s.final_number for s in sights if s.final_number is not None]
    told: dict[str, list[Json]] = {}
    for sight in sights:
        for key, receipt in sight.receipts.items():
            told.setdefault(key, []).append(receipt)
    alike = {key: each[0] for key, each in told.items() if len(set(map(_told, each))) == 1}
    enough = min(VOICES, of)
    spoken_of = told.keys() | {key for sight in sights for key in sight.disputed}
    return Sight(
        head=min((sight.head for sight in sights), key=lambda head: head.number),
        final_number=min(finals) if finals and len(finals) >= enough else None,
        nonce=min(sight.nonce for sight in sights),
        receipts=alike,
        disputed=frozenset(spoken_of - alike.keys()),
        alone=len(sights) < enough,
    )


def _told(receipt: Json) -> tuple[str, ...]:
    """What counts of a receipt: where it is, and whether it worked. Its fee is bounded alone."""
    if not isinstance(receipt, Mapping):
        return (repr(receipt),) if receipt is not None else ()
    return tuple(str(receipt.get(name)).lower() for name in ("blockNumber", "status"))


async def is_ours_still(
    endpoints: Endpoints, account: Address, record: TxRecord, head: BlockRef
) -> bool:
    """Whether one of the record's transactions is in a block, though a node shows no receipt.

    Raises RetryLater: no endpoint answers.
    """
    ours = [attempt.hash for attempt in record.attempts]
    for each in ours:
        answers = await endpoints.everywhere("eth_getTransactionReceipt", each)
        if any(answer and not isinstance(answer, TryElsewhere) for answer in answers):
            return True
    try:
        return await _taker(endpoints, account, record.nonce, head.number) in ours
    except TryElsewhere as pruned:
        log.info("tx.taker_unknown", key=record.key, nonce=record.nonce, error=str(pruned))
        return False


async def _taker(endpoints: Endpoints, account: Address, nonce: int, mined_by: int) -> str | None:
    """Hash of the account's transaction with this nonce, which is in a block up to `mined_by`.

    Full nodes keep the state of about 128 blocks; recent ones are asked first.
    Raises TryElsewhere: what it takes is kept no more.
    """
    number = await _block_that_passed(endpoints, account, nonce, mined_by)
    block = await endpoints.call("eth_getBlockByNumber", hex(number), True)
    try:
        listed = [
            (one["from"].lower(), integer(one["nonce"]), one["hash"])
            for one in block["transactions"]
        ]
    except (TypeError, KeyError, AttributeError):
        raise NodeRefused("a node answers no transactions where a block's should be") from None
    mine = (tx for sender, used, tx in listed if (sender, used) == (account.lower(), nonce))
    return next(mine, None)


async def _block_that_passed(endpoints: Endpoints, account: Address, nonce: int, after: int) -> int:
    """The first block whose count is beyond `nonce`; at `after` it is. Back in steps that double,
    then by halves."""

    async def passed(block: int) -> bool:
        counted = await endpoints.call("eth_getTransactionCount", account, hex(block))
        return integer(counted) > nonce

    step, before = 1, max(0, after - 1)
    while before > 0 and await passed(before):
        after, step = before, 2 * step
        before = max(0, after - step)
    while after - before > 1:
        middle = (before + after) // 2
        if await passed(middle):
            after = middle
        else:
            before = middle
    return after
