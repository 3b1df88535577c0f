"""Settlements as their events tell them: one topic names the job, the first word the amount."""

from __future__ import annotations

from collections.abc import Sequence

from agent.chain.events import logs_of
from agent.chain.rpc import Json, NodeRefused, Reader, Request, integer
from agent.market.model import Address, BlockRef, JobId, Settlement, Wei


def word_of(number: int) -> str:
    """A number as a topic."""
    return f"0x{number:064x}"


def words_of(jobs: Sequence[JobId]) -> list[str]:
    """Any of these jobs, as a topic filter."""
    return [word_of(job) for job in jobs]


async def read_settlements(
    reader: Reader, contract: Address, topics: Sequence[Json], first: int, at: BlockRef
) -> list[Settlement]:
    """Those that the topics name, from block `first` up to `at`, each transaction once a job.

    Raises NodeRefused: the range is more than a node searches, or an answer is no such event.
    """
    query = {
        "address": contract, "topics": list(topics),
        "fromBlock": hex(first), "toBlock": hex(at.number),
    }  # fmt: skip
    (answer,) = await reader.batch([Request("eth_getLogs", (query,))])
    return list(dict.fromkeys(_settlement(log) for log in logs_of(answer)))


def _settlement(log: Json) -> Settlement:
    try:
        word = str(log["data"]).removeprefix("0x")[:64]
        return Settlement(
            JobId(integer(log["topics"][1])), Wei(int(word, 16)), str(log["transactionHash"])
        )
    except (LookupError, TypeError, ValueError):
        raise NodeRefused("a node answers a settlement with something else") from None
