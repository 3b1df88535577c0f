"""MarketV1 on the chain: reads at one block, batched, and what its events speak of.

The contract has no list of a provider's jobs: ids are a counter, and what stands under each is
read once. A job of somebody else's never becomes ours, and a closed id never comes back, so that
later looks read our own and the newest ids alone (`Seen`). A job is `jobs` and `locks`, and
`jobIndex` tells a closed one from one that was never opened: three reads of one block.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any, TypeVar

import structlog
from eth_abi.abi import decode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

import contracts
from agent.chain.abi import Abi
from agent.chain.endpoints import Endpoints
from agent.chain.events import Log, logs_of
from agent.chain.rpc import CallReverted, Json, NodeRefused, Reader, Request
from agent.market.model import (
    ZERO_ADDRESS,
    Address,
    BlockRef,
    Job,
    JobId,
    JobStatus,
    Notice,
    Price,
    Settlement,
    StopReason,
    Wei,
)
from agent.market.testimony import VOICES
from agent.markets.marketv1.metadata import Metadata, read
from agent.markets.marketv1.seen import MOST_JOBS, OLD_SECONDS, Seen
from agent.markets.marketv1.terms import MarketV1Terms
from agent.markets.settlements import read_settlements, words_of
from agent.markets.token import Holdings, Token, read_token

T = TypeVar("T")
log = structlog.get_logger()

Functions = Sequence[tuple[str, tuple[object, ...]]]  # names and arguments

RATE_LOCK = keccak(text="RATE_LOCK")
# Where a proxy keeps the address of its code (EIP-1967).
IMPLEMENTATION_SLOT = "0x360894a13ba1a3210667c828492db98dca3e2076cc3735a920a3ca505d382bbc"
MOST_SECONDS = 1 << 40  # a time beyond this never comes
SCAN = 1_000  # ids that are read in one batch of exchanges

_JOB_EVENTS = (
    "JobOpened", "JobSettled", "JobClosed", "JobDeposited", "JobWithdrew",
    "JobReviseRateInitiated", "JobReviseRateCancelled", "JobReviseRateFinalized",
    "JobMetadataUpdated",
)  # fmt: skip


@lru_cache(maxsize=1)
def market_abi() -> Abi:
    return Abi(contracts.abi(contracts.MARKETV1))


def job_topics() -> list[str]:
    """The events that speak of a job, for the log filter; all but JobOpened name the job alone."""
    return [market_abi().topics[name] for name in _JOB_EVENTS]


def jobs_in(logs: Sequence[Mapping[str, Any]], provider: Address, ours: set[JobId]) -> set[JobId]:
    """The jobs of `provider` that these logs speak of: those that it is opened with, which become
    `ours`, and those that are. Logs that are no such events are passed over."""
    found = set[JobId]()
    for each in logs:
        job, opened_with = _named(each.get("topics"))
        if job is not None and opened_with == int(provider, 16):
            ours.add(job)
        if job in ours:
            found.add(job)
    return found


def _named(topics: Json) -> tuple[JobId | None, int | None]:
    """The job that a log speaks of; and of JobOpened the provider, its third indexed value."""
    try:
        topic = topics[0].lower()
        if topic not in _job_topics():
            return None, None
        opened, number = topic == market_abi().topics["JobOpened"], int(topics[1], 16)
        if number > MOST_JOBS:
            return None, None
        return JobId(number), int(topics[3], 16) if opened else None
    except (TypeError, ValueError, IndexError, AttributeError):
        return None, None


@lru_cache(maxsize=1)
def _job_topics() -> frozenset[str]:
    return frozenset(job_topics())


class Market:
    """Reads of one contract through one reader: all endpoints, or a single one."""

    def __init__(
        self,
        reader: Reader,
        contract: Address,
        terms: MarketV1Terms,
        seen: Seen | None = None,
        name: str = "",
    ) -> None:
        self.contract = contract
        self.own_terms = terms
        self.seen = seen if seen is not None else Seen()
        self._reader = reader
        self._name = name

    @property
    def reader(self) -> Reader:
        """Through what it is read."""
        return self._reader

    def through(self, reader: Reader) -> Market:
        """The same market as another reader sees it; what is remembered is shared."""
        name = str(getattr(reader, "url", ""))
        return Market(reader, self.contract, self.own_terms, self.seen, name)

    async def terms(self, at: BlockRef) -> MarketV1Terms:
        """They are this provider's own: the contract has no parameters that matter to a job."""
        return self.own_terms

    async def undecoded(self, calls: Functions, at: BlockRef) -> list[Json | CallReverted]:
        """What the contract answers, whatever it is."""
        requests = [self._call(name, *args, at=at) for name, args in calls]
        return await self._reader.outcomes(requests)

    async def of_each(self, read: Callable[[Market], Awaitable[T]]) -> list[T]:
        """What two endpoints tell, where the reader has two; else what it tells."""
        if not isinstance(self._reader, Endpoints):
            return [await read(self)]

        async def one(rpc: Reader) -> T:
            return await read(self.through(rpc))

        told = await self._reader.several(one)
        return [each for each in told if not isinstance(each, CallReverted)]

    async def payment_token(self, at: BlockRef) -> Token:
        """What jobs are paid in."""
        address = await self._one("token", at=at)
        return await read_token(self._reader, _checksummed(address), at)

    async def holdings(self, provider: Address, at: BlockRef) -> Holdings:
        """No stake is locked on this market."""
        return Holdings(await self.payment_token(at))

    async def job_count(self, at: BlockRef) -> int:
        """How many jobs were ever opened, as it is told; the most that ids can be of what is
        more."""
        return min(int(await self._one("jobIndex", at=at)), MOST_JOBS)

    async def _counted(self, at: BlockRef) -> int:
        """How many there are, by this reader. What surprises is asked of every endpoint."""
        told, seen, all_ = await self.job_count(at), self.seen, self._reader
        if isinstance(all_, Endpoints) and all_.count >= VOICES and seen.surprising(told):
            counts = await all_.voices(self._newest_count, all_.count)
            if len(counts) >= VOICES:
                seen.agree(sorted(counts)[-VOICES], at)
        seen.told(self._name, at, told)
        return told

    async def _newest_count(self, rpc: Reader) -> int:
        answer = (await rpc.batch([self._call("jobIndex", at=None)]))[0]
        return min(int(market_abi().decode("jobIndex", answer)), MOST_JOBS)

    async def provider_url(self, provider: Address, at: BlockRef) -> str:
        """Where a provider says what it offers; empty: it is not registered."""
        return str(await self._one("providers", provider, at=at))

    async def implementation(self, at: BlockRef) -> Address:
        """The code behind the proxy; the zero address where there is no proxy."""
        where = {"blockHash": at.hash, "requireCanonical": True}
        request = Request("eth_getStorageAt", (self.contract, IMPLEMENTATION_SLOT, where))
        (answer,) = await self._reader.batch([request])
        try:
            return _checksummed(f"0x{int(str(answer), 16) % (1 << 160):040x}")
        except ValueError:
            raise NodeRefused("a node answers a storage slot with something else") from None

    async def jobs(self, ids: Sequence[JobId], at: BlockRef) -> dict[JobId, Job]:
        """The jobs by id; ids that were not opened by that block are left out."""
        wanted = list(dict.fromkeys(ids))
        if not wanted:
            return {}
        requests = [self._call("jobIndex", at=at)]
        for number in wanted:
            requests += [self._call("jobs", _key(number), at=at), self._lock_call(number, at)]
        count, *answers = await self._reader.batch(requests)
        opened = int(market_abi().decode("jobIndex", count))
        pairs = zip(wanted, answers[0::2], answers[1::2], strict=True)
        found = {
            number: self._job(number, job, lock) for number, job, lock in pairs if number < opened
        }
        for number, job in found.items():
            if number in self.seen.ours:
                self.seen.hear(self._name, at, job)
        return found

    def _lock_call(self, number: JobId, at: BlockRef) -> Request:
        return self._call("locks", keccak(RATE_LOCK + _key(number)), at=at)

    def _job(self, number: JobId, answer: Json, lock: Json) -> Job:
        unlock, rate = market_abi().decode("locks", lock)
        fields = _fields(number, answer)
        if fields.owner == ZERO_ADDRESS:
            return self._closed(number)
        notice = Notice(Price(rate), unlock) if unlock else None
        job = _open_job(number, fields, notice, self.seen.taken.get(number))
        if number in self.seen.ours:
            known = self.seen.last.get(number)
            if known is not None and known.user == job.user:
                job = replace(job, assigned_at=min(known.assigned_at, job.assigned_at))
            self.seen.last[number] = job
        return job

    def _closed(self, number: JobId) -> Job:
        """A closed id holds nothing any more; whose it was is remembered where it was ours."""
        known = self.seen.last.get(number) or _NOBODYS
        return replace(
            known, id=number, status=JobStatus.STOPPED, stop_reason=StopReason.USER_REQUEST,
            stopped_at=known.settled_until, escrow=Wei(0), notice=None,
        )  # fmt: skip

    async def open_jobs(self, provider: Address, at: BlockRef) -> dict[JobId, Job]:
        """Every open job of the provider, paid or dry: the ids not read yet are read, once."""
        return await self._ours(provider, at, fresh=False)

    async def _ours(self, provider: Address, at: BlockRef, *, fresh: bool) -> dict[JobId, Job]:
        """`fresh`: what this reader told of lately is not read again."""
        count = await self._counted(at)
        await self._read_new(provider, at, count)
        wanted = self.seen.to_read(self._name, at, count)
        lately, later = self._told(provider, at, wanted) if fresh else ({}, set())
        unread = [number for number in wanted if number not in lately and number not in later]
        jobs = {**lately, **await self.jobs(unread, at)}
        self.seen.note_over(self._name, at, jobs, provider)
        ours = {n: job for n, job in jobs.items() if job.provider == provider}
        return {number: job for number, job in ours.items() if not job.is_stopped}

    def _told(
        self, provider: Address, at: BlockRef, ids: Sequence[JobId]
    ) -> tuple[dict[JobId, Job], set[JobId]]:
        """Of these, those that it told of lately and that are paid for, and those to leave now."""
        paid = partial(self._paid, provider=provider, at=at)
        told = self.seen.fresh(self._name, at, ids).items()
        lately = {number: job for number, job in told if paid(job)}
        others = [number for number in ids if number not in lately]
        return lately, self.seen.waiting(self._name, others, paid)

    async def _read_new(self, provider: Address, at: BlockRef, count: int) -> None:
        """The ids up to `count` that this reader was not asked for, as far as it is followed."""
        reach = self.seen.reach(self._name, at, count)
        read, proven, found = reach.first, self.seen.proven(self._name), True
        while reach.goes_on(read, found=found):
            ids = range(read, min(read + SCAN, reach.last))
            last = await self._scan(provider, ids, at)
            read, found, proven = ids.stop, last is not None, max(proven, (last or -1) + 1)
        self.seen.read_up_to(self._name, at, read, proven)
        if read < count:
            log.warning("market.count_doubted", told=count, read=read, endpoint=self._name)

    async def _scan(self, provider: Address, ids: range, at: BlockRef) -> int | None:
        """The last of these that is a job; those of ours are remembered."""
        calls = [self._call("jobs", _key(JobId(number)), at=at) for number in ids]
        last = None
        for number, answer in zip(ids, await self._reader.batch(calls), strict=True):
            owner, whose, settled = _known_of(answer)
            last = last if owner == ZERO_ADDRESS else number
            if whose == provider:
                self.seen.ours.add(JobId(number))
            if 0 < settled <= at.timestamp - OLD_SECONDS:
                self.seen.told_old(self._name, number)
        return last

    async def listing(self, provider: Address, at: BlockRef) -> tuple[list[JobId], None]:
        """The provider's jobs that are worth serving; no stake is locked for any."""
        return await self.served_jobs(provider, at), None

    async def offer(self, provider: Address, instance_type: str, at: BlockRef) -> Price | None:
        """Nothing stands on this chain of what is offered: rate cards are asked for by HTTP."""
        return None

    async def served_jobs(self, provider: Address, at: BlockRef) -> list[JobId]:
        """Open jobs of the provider that are still paid for: the others stay open for ever, and
        an event tells when one is paid for again. One that this reader told of lately, and that is
        paid for since, is not read anew: what is not to be served any more is found out by looking
        at it, and nothing that is can be hidden so. Very many dry ones are read by turns."""
        jobs = await self._ours(provider, at, fresh=True)
        return [number for number, job in jobs.items() if self._paid(job, provider, at)]

    def _paid(self, job: Job, provider: Address, at: BlockRef) -> bool:
        return job.provider == provider and not self.own_terms.is_over(job, at.timestamp)

    async def settlements(
        self, ids: Sequence[JobId], provider: Address, first: int, at: BlockRef
    ) -> list[Settlement]:
        """What these jobs paid their provider, who never changes, from block `first` up to `at`.
        Raises NodeRefused."""
        topics = [market_abi().topics["JobSettled"], words_of(ids)]
        return await read_settlements(self._reader, self.contract, topics, first, at)

    async def job_logs(self, first: int, at: BlockRef) -> list[Log]:
        """The events that speak of jobs, from block `first` up to `at`. Raises NodeRefused."""
        query = {
            "address": self.contract, "topics": [job_topics()],
            "fromBlock": hex(first), "toBlock": hex(at.number),
        }  # fmt: skip
        return logs_of((await self._reader.batch([Request("eth_getLogs", (query,))]))[0])

    # How

    async def _one(self, name: str, *args: object, at: BlockRef) -> Any:
        return (await self._many([(name, args)], at))[0]

    async def _many(self, calls: Functions, at: BlockRef) -> list[Any]:
        requests = [self._call(name, *args, at=at) for name, args in calls]
        answers = await self._reader.batch(requests)
        abi = market_abi()
        return [abi.decode(name, answer) for (name, _), answer in zip(calls, answers, strict=True)]

    def _call(self, name: str, *args: object, at: BlockRef | None) -> Request:
        """At that block, or at whatever is a node's newest."""
        data = "0x" + market_abi().encode(name, *args).hex()
        where = {"blockHash": at.hash, "requireCanonical": True} if at else "latest"
        return Request("eth_call", ({"to": self.contract, "data": data}, where))


def _key(number: JobId) -> bytes:
    return number.to_bytes(32, "big")


@dataclass(frozen=True, slots=True)
class _Fields:
    """What `jobs` answers; the metadata as bytes, since no text is promised."""

    metadata: bytes
    owner: Address
    provider: Address
    rate: int
    balance: int
    last_settled: int


_SHAPE = ("bytes", "address", "address", "uint256", "uint256", "uint256")


def _fields(number: JobId, answer: Json) -> _Fields:
    try:
        raw = bytes.fromhex(str(answer).removeprefix("0x"))
        metadata, owner, provider, rate, balance, settled = decode(_SHAPE, raw)
    except (ValueError, DecodingError, OverflowError):
        raise NodeRefused("a node answers jobs with something else") from None
    if settled >= MOST_SECONDS:
        raise NodeRefused(f"a node tells a time of job {number} that never comes")
    return _Fields(metadata, _checksummed(owner), _checksummed(provider), rate, balance, settled)


def _known_of(answer: Json) -> tuple[Address, Address, int]:
    """Owner, provider and the last settlement's second, the second word, the third and the sixth:
    all that a scan needs of thousands of answers. Raises NodeRefused."""
    text = str(answer).removeprefix("0x")
    try:
        words = (int(text[at : at + 64], 16) % (1 << 160) for at in (64, 128))
        owner, provider = (_checksummed(f"0x{word:040x}") for word in words)
        settled = int(text[320:384], 16)
    except ValueError:
        raise NodeRefused("a node answers jobs with something else") from None
    return owner, provider, settled


@lru_cache(maxsize=4096)
def _checksummed(raw: str) -> Address:
    return Address(to_checksum_address(raw))


@lru_cache(maxsize=16_384)
def _read(metadata: bytes) -> Metadata | str:
    """Parsed once: a running job is read every few minutes."""
    found = read(metadata)
    return found if isinstance(found, Metadata) else found.text


def _open_job(number: JobId, fields: _Fields, notice: Notice | None, agreed: Price | None) -> Job:
    said = _read(fields.metadata)
    metadata = said if isinstance(said, Metadata) else None
    return Job(
        id=number, user=fields.owner, provider=fields.provider,
        instance_type=str(metadata.instance_type) if metadata else "",
        max_price=Price(fields.rate), price=Price(fields.rate),
        enclave_url=metadata.workload.url if metadata else "",
        generation=1, status=JobStatus.RUNNING, stop_reason=StopReason.NONE,
        assigned_at=fields.last_settled, started_at=fields.last_settled, exit_requested_at=0,
        stopped_at=0, escrow=Wei(fields.balance), settled_until=fields.last_settled, endpoint="",
        notice=notice, agreed=agreed, workload=metadata.workload if metadata else None,
        unreadable=said if isinstance(said, str) else "",
    )  # fmt: skip


_NOBODYS = Job(
    id=JobId(0), user=ZERO_ADDRESS, provider=ZERO_ADDRESS, instance_type="", max_price=Price(0),
    price=Price(0), enclave_url="", generation=1, status=JobStatus.STOPPED,
    stop_reason=StopReason.USER_REQUEST, assigned_at=0, started_at=0, exit_requested_at=0,
    stopped_at=0, escrow=Wei(0), settled_until=0, endpoint="",
)  # fmt: skip
