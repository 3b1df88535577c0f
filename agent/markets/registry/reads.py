"""The market on the chain: reads at one block, batched, and what its events speak of.

Every read names a block by its hash (EIP-1898), so what one decision sees is of one state, and a
node that doesn't have that block says so instead of answering of another. 1,000 jobs of a
provider take 14 HTTP exchanges: one for what bounds their list, 3 for the ids (50 an eth_call, in
waves of 4, 16, 64 calls), 10 for the jobs (100 eth_calls each).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from typing import Any

from eth_utils.address import to_checksum_address

import contracts
from agent.chain.abi import Abi
from agent.chain.events import Log, logs_of
from agent.chain.head import MOST_SECONDS
from agent.chain.rpc import CallReverted, Json, NodeRefused, Reader, Request, integer
from agent.market.model import (
    Address,
    BlockRef,
    Job,
    JobId,
    JobStatus,
    Offer,
    Price,
    Settlement,
    StopReason,
    Wei,
    address,
)
from agent.market.testimony import FaultVote
from agent.markets.registry.terms import RegistryTerms
from agent.markets.settlements import read_settlements, word_of, words_of
from agent.markets.token import Holdings, Token, read_token, token_abi
from faults import UsageFault

MOST_JOB_ID = 2**63 - 1  # counted up from 1; what stores them has signed 64 bits
PAGE = 50  # the contract's own most
WAVE = 4  # pages asked at first; each next wave has four times as many
# Beyond these a node is lying, or this is not the machine for that provider.
MOST_JOBS = 200_000
RIVALS = 50  # offers, cheapest first, among which one of somebody who can serve is looked for
MOST_OFFERS = 50_000

# Who the second indexed argument of an event is: of these it is the provider.
_NAMES_PROVIDER = (
    "JobAssigned", "JobStarted", "JobSettled", "ExitRequested", "JobSlashed", "JobStopped",
)  # fmt: skip
_NAMES_JOB = (*_NAMES_PROVIDER, "FundsAdded", "FaultReported")


@lru_cache(maxsize=1)
def registry_abi() -> Abi:
    return Abi(contracts.abi(contracts.REGISTRY))


@dataclass(frozen=True, slots=True)
class Stake:
    """POND of a provider, in base units."""

    total: Wei
    locked: Wei

    @property
    def unlocked(self) -> Wei:
        return Wei(self.total - self.locked)


def job_topics() -> list[str]:
    """The events that speak of a job that exists, for the log filter."""
    return [registry_abi().topics[name] for name in _NAMES_JOB]


def changed_jobs(logs: Sequence[Mapping[str, Any]], provider: Address | None = None) -> set[JobId]:
    """The jobs that logs of the registry speak of.

    With `provider`: without the events that name another one. A job that leaves a provider
    names it in JobSlashed or JobStopped. Logs that are no such events are passed over.
    """
    return {job for each in logs if (job := _job_of(each.get("topics"), provider)) is not None}


@lru_cache(maxsize=1)
def _topic_names() -> dict[str, str]:
    return {registry_abi().topics[name]: name for name in _NAMES_JOB}


def _job_of(topics: Json, provider: Address | None) -> JobId | None:
    try:
        name = _topic_names().get(topics[0].lower())
        other = provider is not None and int(topics[2], 16) != int(provider, 16)
        if name is None or (other and name in _NAMES_PROVIDER):
            return None
        number = int(topics[1], 16)
        return JobId(number) if number <= MOST_JOB_ID else None
    except (TypeError, ValueError, IndexError, AttributeError):
        return None


def fault_topic() -> str:
    """The event of an auditor's report."""
    return registry_abi().topics["FaultReported"]


def fault_vote(log: Mapping[str, Any]) -> FaultVote | None:
    """The auditor's report that a log is; None of any other."""
    topics = log.get("topics")
    job = _job_of(topics, None)
    if job is None or topics is None or topics[0].lower() != fault_topic():
        return None
    try:
        auditor = address("0x" + f"{int(topics[2], 16) % (1 << 160):040x}")
        return FaultVote(job, integer(log.get("data"), MOST_JOB_ID), auditor)
    except (NodeRefused, IndexError, TypeError, ValueError):
        return None


class Market:
    """Reads of one registry through one reader: all endpoints, or a single one."""

    def __init__(self, reader: Reader, registry: Address) -> None:
        self.registry = registry
        self._reader = reader

    @property
    def contract(self) -> Address:
        return self.registry

    @property
    def reader(self) -> Reader:
        """Through what it is read."""
        return self._reader

    def through(self, reader: Reader) -> Market:
        """The same market as another reader sees it."""
        return Market(reader, self.registry)

    async def params(self, at: BlockRef) -> RegistryTerms:
        """Raises NodeRefused: they are none that a market could have."""
        found = RegistryTerms(*await self._one("params", at=at))
        times = (found.job_bootstrapping, found.job_startup, found.job_exit_cool_down)
        if found.stake_per_job <= 0 or max(times) >= MOST_SECONDS:
            raise NodeRefused("a node tells parameters that no market can have")
        return found

    async def terms(self, at: BlockRef) -> RegistryTerms:
        """The parameters, which are all of the terms."""
        return await self.params(at)

    async def listing(self, provider: Address, at: BlockRef) -> tuple[list[JobId], int | None]:
        """The provider's active jobs, and how many its whole stake is for."""
        active = await self.jobs_of(provider, at)
        stake, terms = await self.stake_of(provider, at), await self.params(at)
        return active, stake.total // terms.stake_per_job

    async def holdings(self, provider: Address, at: BlockRef) -> Holdings:
        """The provider's stake, and the tokens."""
        stake = await self.stake_of(provider, at)
        pond, payment = await self.tokens(at)
        return Holdings(payment, pond, stake.total, stake.locked)

    async def job_count(self, at: BlockRef) -> int:
        return int(await self._one("jobCount", at=at))

    async def jobs_of(self, provider: Address, at: BlockRef) -> list[JobId]:
        """Every active job that the contract lists for `provider`, in no order.

        Each has StakePerJob locked, so that the locked stake bounds them. Raises NodeRefused: the
        node lists more, or some twice.
        """
        calls = [("lockedStakeOf", (provider,)), ("params", ())]
        locked, params = await self._many(calls, at)
        most = min(locked // max(1, RegistryTerms(*params).stake_per_job), MOST_JOBS)
        pages = await self._pages("jobsOf", provider, at=at, most=most)
        if len(pages) > most or len(set(pages)) < len(pages):
            text = f"a node lists {len(pages)} jobs or more, and the locked stake is for {most}"
            raise NodeRefused(text)
        return [JobId(number) for number in pages]

    async def job_logs(self, first: int, at: BlockRef) -> list[Log]:
        """The events that speak of jobs, from block `first` up to `at`. Raises NodeRefused."""
        query = {
            "address": self.registry, "topics": [job_topics()],
            "fromBlock": hex(first), "toBlock": hex(at.number),
        }  # fmt: skip
        return logs_of((await self._reader.batch([Request("eth_getLogs", (query,))]))[0])

    async def settlements(
        self, ids: Sequence[JobId], provider: Address, first: int, at: BlockRef
    ) -> list[Settlement]:
        """What these jobs paid the provider from block `first` up to `at`. Raises NodeRefused."""
        topics = [registry_abi().topics["JobSettled"], words_of(ids), word_of(int(provider, 16))]
        return await read_settlements(self._reader, self.registry, topics, first, at)

    async def jobs(self, ids: Sequence[JobId], at: BlockRef) -> dict[JobId, Job]:
        """The jobs by id; ids that the block does not know are left out."""
        wanted = list(dict.fromkeys(ids))
        requests = self._calls([("job", (number,)) for number in wanted], at)
        answers = zip(wanted, await self._reader.outcomes(requests), strict=True)
        return {
            number: _job(number, registry_abi().decode("job", answer))
            for number, answer in answers
            if not isinstance(answer, CallReverted)
        }

    async def offer(self, provider: Address, instance_type: str, at: BlockRef) -> Price | None:
        """The provider's listing of one type; None when it is not listed."""
        raw = await self._one("offer", provider, instance_type, at=at)
        return _price(raw) if raw else None

    async def offers(self, instance_type: str, at: BlockRef) -> list[Offer]:
        """All listings of one type, cheapest first."""
        found = await self._pages("offers", instance_type, at=at)
        return [Offer(_checksummed(provider), _price(raw)) for provider, raw in found]

    async def rival(self, provider: Address, instance_type: str, at: BlockRef) -> Price | None:
        """The cheapest offer of somebody else who could take a job, of the first RIVALS.

        Who has too little stake unlocked is passed over by the matching, so such an offer, which
        costs nothing to leave there, must move nobody's price.
        """
        pages = await self._pages("offers", instance_type, at=at, most=RIVALS)
        offers = [Offer(_checksummed(who), _price(raw)) for who, raw in pages]
        others = [one for one in offers if one.provider != provider]
        least = (await self.params(at)).stake_per_job
        asked = list(dict.fromkeys(one.provider for one in others[:RIVALS]))
        calls = [(name, (one,)) for one in asked for name in ("stakeOf", "lockedStakeOf")]
        found = iter(await self._many(calls, at)) if calls else iter(())
        free = {one: next(found) - next(found) for one in asked}
        able = (one.price for one in others[:RIVALS] if free[one.provider] >= least)
        return next(able, None)

    async def stake_of(self, provider: Address, at: BlockRef) -> Stake:
        calls = [("stakeOf", (provider,)), ("lockedStakeOf", (provider,))]
        return Stake(*map(Wei, await self._many(calls, at)))

    async def tokens(self, at: BlockRef) -> tuple[Token, Token]:
        """POND and the payment token."""
        addresses = await self._many([("pond", ()), ("paymentToken", ())], at)
        pond, payment = [
            await read_token(self._reader, _checksummed(each), at) for each in addresses
        ]
        return pond, payment

    async def balance(self, token: Address, holder: Address, at: BlockRef) -> Wei:
        return await self._of_token(token, "balanceOf", holder, at=at)

    async def allowance(self, token: Address, owner: Address, at: BlockRef) -> Wei:
        """What the registry may take of `owner`'s tokens."""
        return await self._of_token(token, "allowance", owner, self.registry, at=at)

    async def _of_token(self, token: Address, name: str, *args: object, at: BlockRef) -> Wei:
        request = _call(token, token_abi().encode(name, *args), at)
        return Wei(token_abi().decode(name, (await self._reader.batch([request]))[0]))

    # How

    async def _one(self, name: str, *args: object, at: BlockRef) -> Any:
        return (await self._many([(name, args)], at))[0]

    async def _many(self, calls: Sequence[tuple[str, tuple[object, ...]]], at: BlockRef) -> Any:
        abi, answers = registry_abi(), await self._reader.batch(self._calls(calls, at))
        return [abi.decode(name, answer) for (name, _), answer in zip(calls, answers, strict=True)]

    def _calls(
        self, calls: Sequence[tuple[str, tuple[object, ...]]], at: BlockRef
    ) -> list[Request]:
        abi = registry_abi()
        return [_call(self.registry, abi.encode(name, *args), at) for name, args in calls]

    async def _pages(
        self, name: str, *args: object, at: BlockRef, most: int = MOST_OFFERS
    ) -> list[Any]:
        """All items of a paged getter: waves of pages, until one is not full, or more than `most`
        are found."""
        found: list[Any] = []
        start = 0
        for wave in count():
            starts = range(start, min(start + PAGE * WAVE * 4**wave, most + 1), PAGE)
            pages = await self._many([(name, (*args, first, PAGE)) for first in starts], at)
            found += [item for page in pages for item in page]
            start = starts[-1] + PAGE
            if len(pages[-1]) < PAGE or start > most:
                break
        return found


def _call(to: Address, data: bytes, at: BlockRef) -> Request:
    where = {"blockHash": at.hash, "requireCanonical": True}
    return Request("eth_call", ({"to": to, "data": "0x" + data.hex()}, where))


@lru_cache(maxsize=4096)
def _checksummed(raw: str) -> Address:
    return Address(to_checksum_address(raw))


def _price(raw: int) -> Price:
    try:
        return Price(raw)
    except UsageFault as impossible:
        raise NodeRefused(f"a node tells of an offer: {impossible}") from None


def _job(number: JobId, fields: Sequence[Any]) -> Job:
    """Raises NodeRefused: what the node tells is no state that a job can have."""
    try:
        job = _job_as_told(number, fields)
    except (ValueError, UsageFault) as impossible:
        raise NodeRefused(f"a node tells of job {number}: {impossible}") from None
    times = (job.assigned_at, job.started_at, job.exit_requested_at, job.stopped_at)
    if max(*times, job.settled_until) >= MOST_SECONDS:
        raise NodeRefused(f"a node tells times of job {number} that never come")
    if job.generation > MOST_JOB_ID:
        raise NodeRefused(f"a node tells a generation of job {number} that can't be counted to")
    return job


def _job_as_told(number: JobId, fields: Sequence[Any]) -> Job:
    user, provider, instance_type, max_price, price, url, generation, status, reason, *rest = fields
    assigned, started, exit_requested, stopped, escrow, settled, endpoint = rest
    return Job(
        id=number, user=_checksummed(user), provider=_checksummed(provider),
        instance_type=instance_type,
        max_price=Price(min(max_price, Price.MAX_RAW)),  # a user may write more than any price
        price=Price(price), enclave_url=url, generation=generation, status=JobStatus(status),
        stop_reason=StopReason(reason), assigned_at=assigned, started_at=started,
        exit_requested_at=exit_requested, stopped_at=stopped, escrow=Wei(escrow),
        settled_until=settled, endpoint=endpoint,
    )  # fmt: skip
