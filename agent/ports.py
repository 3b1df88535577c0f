"""What the agent's core asks of the world, as narrow protocols.

The core (watcher, snapshot, lifecycle, actions, policy, deadline) is written against these; the
service wires the real adapters in, the simulator wires models that misbehave. Every method is
idempotent or says why not, and fails only with a class of `faults`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from agent.market.model import Address, BlockNumber, BlockRef, Job, JobId, Price
from agent.market.terms import Abilities, Terms
from agent.market.testimony import Listing, Testimony
from cloud.model import EnclaveRoom, Headroom, HostReport, Instance, InstanceId, LaunchOrder, Region
from enclave.eif.signature import Signer
from faults import RetryLater


class Clock(Protocol):
    """Unix seconds; the only source of time in the agent."""

    def now(self) -> float: ...

    async def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Blocks:
    """Where one endpoint stands: its newest block and the newest that will not be undone."""

    head: BlockRef
    final: BlockRef


class Witness(Protocol):
    """All endpoints against each other: asked before anything irreversible (rule 4)."""

    async def testify(self, ids: Sequence[JobId], at: BlockRef) -> Testimony:
        """What two endpoints or more say of these jobs at that very block (same hash, same time).

        Raises RetryLater: fewer than two answer and have the block. Disagreement: they tell
        different things of the block itself.
        """
        ...

    async def lists(self) -> Sequence[Listing]:
        """What each endpoint lists for this provider, each at its own newest block.

        Raises RetryLater: none answers.
        """
        ...

    async def offer(self, instance_type: str, at: BlockRef) -> Price | None:
        """This provider's listing of one type, as two tell alike; None when it is not listed.

        Raises RetryLater: fewer than two answer. Disagreement: they tell different prices.
        """
        ...


class Market(Protocol):
    """What the market says, of this provider alone. Unknown ids are left out of answers."""

    @property
    def abilities(self) -> Abilities:
        """What the market has calls for, whatever its parameters."""
        ...

    async def blocks(self) -> Blocks:
        """Raises RetryLater: no endpoint answers."""
        ...

    async def terms(self, at: BlockRef) -> Terms:
        """The market's arithmetic by its parameters at that block. Raises RetryLater."""
        ...

    async def jobs(self, ids: Sequence[JobId], at: BlockRef) -> Mapping[JobId, Job]:
        """All at one block, batched. Raises RetryLater."""
        ...

    async def active_jobs(self, at: BlockRef) -> Sequence[JobId]:
        """Every job that the contract lists for this provider, at most as many as its locked stake
        is for. Raises RetryLater."""
        ...

    async def offer(self, instance_type: str, at: BlockRef) -> Price | None:
        """This provider's listing of one type; None when it is not listed. Raises RetryLater."""
        ...

    def took(self, job: Job, *, bought: bool) -> Price | None:
        """This provider has taken the job as it is now: what it pays may change, what it was taken
        for does not. That rate, where it is news, to be written down; never where prices stay.
        `bought`: something is bought for it now, else it was found running."""
        ...

    def forget(self, job: JobId) -> None:
        """There is no such job: what was taken under its id is not what the next one is."""
        ...

    async def rival(self, instance_type: str, at: BlockRef) -> Price | None:
        """The least that another provider asks for the type whose stake is enough for a job; None:
        nobody, or others' prices do not stand on the chain. Raises RetryLater."""
        ...

    async def fixed(self, at: BlockRef) -> Mapping[str, str]:
        """What only the market's administrator can change, by name; nothing where nobody can.
        Raises RetryLater."""
        ...

    async def openings(self, at: BlockRef) -> int | None:
        """How many more jobs the stake allows; None where jobs lock none. Raises RetryLater."""
        ...


class Wakes(Protocol):
    """What may have changed on the chain; hints only (rule 1)."""

    async def wait(self) -> Sequence[JobId]:
        """Returns when there is a new head: the jobs that may have changed, often none.

        A reorganisation names the jobs of the blocks it took away too.
        """
        ...


class Call(StrEnum):
    """The market's functions that a provider calls, by their ABI names."""

    REPORT_STARTED = "reportStarted"
    SETTLE = "settle"
    REQUEST_EXIT = "requestToExitJob"
    FINALIZE_EXIT = "finalizeExit"
    REGISTER = "register"
    DEREGISTER = "deregister"


@dataclass(frozen=True, slots=True)
class Order:
    """One transaction to have mined. Equal keys are one transaction, whatever happens between.

    `deadline` (unix seconds) says until when it is of use; it orders what waits. `as_of` is the
    block that it was decided on: the same call in a later block is this order's, too. `disputed`:
    endpoints tell different stories of the job, so it spends nothing that is kept for what two
    tell.
    """

    key: str
    call: Call
    job: JobId | None = None
    endpoint: str | None = None
    instance_type: str | None = None
    price: Price | None = None
    deadline: float | None = None
    as_of: BlockNumber | None = field(default=None, compare=False)
    disputed: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Mined:
    """The order's transaction is in a block, and succeeded."""

    tx_hash: str
    block: int
    fee_wei: int


Wanted = Callable[[], bool]
"""Whether an order would still be given, by what has become known since."""


def always() -> bool:
    """An order that nothing takes back."""
    return True


class Transactor(Protocol):
    """The wallet's one nonce sequence: simulated first, recorded before it is broadcast."""

    async def carry_out(self, order: Order, wanted: Wanted = always) -> Mined:
        """Returns when the transaction is mined. The same key again finds it, never doubles it.
        `wanted` is asked right before it is signed, seconds after the order at times.

        Raises Refused (it would revert, or it reverted: never sent again under this key),
        RetryLater (fees beyond the cap, budget spent, no endpoint, not wanted any more).
        """
        ...


class Cloud(Protocol):
    """EC2 as the agent needs it; one implementation serves all regions."""

    async def instances(self, region: Region) -> Sequence[Instance]:
        """Every instance tagged as this provider's in the region, recently terminated ones too.

        One paginated call a region for all jobs. Raises RetryLater.
        """
        ...

    async def launch(self, order: LaunchOrder) -> Instance:
        """RunInstances with a ClientToken derived from the order; the same order launches once.

        Raises TryElsewhere (no zone of the region has room now), RetryLater (throttled, or the
        reply was lost: send the same order again), AttemptSpent (launched once and terminated
        since), Refused (this order can never work).
        """
        ...

    async def rehearse(self, order: LaunchOrder) -> None:
        """Whether EC2 would take this order now; buys nothing. Raises what `launch` raises."""
        ...

    async def terminate(
        self, region: Region, instances: Sequence[InstanceId], wanted: Wanted = always
    ) -> None:
        """Ask for the end of these; gone and unknown ones are fine. Listing confirms it.

        Addresses that belonged to them are released. `wanted` is asked when the turn comes, which
        may be late. Raises RetryLater.
        """
        ...

    async def note_image(self, region: Region, instance: InstanceId, words: str) -> None:
        """Write on the instance which image it is given; listings tell. Raises RetryLater, Refused
        (it is gone)."""
        ...

    async def room(self, region: Region, instance_type: str) -> EnclaveRoom:
        """What an enclave gets on this type. Raises Refused: unknown, or without enclaves."""
        ...

    async def headroom(self, region: Region, instance_type: str) -> Headroom:
        """How many more jobs of this type fit now, and what limits it. Raises RetryLater."""
        ...


class Mailbox(Protocol):
    """The bucket of a region: staged images, desired.json and status.json of each host."""

    async def reports(self, region: Region) -> Mapping[InstanceId, HostReport]:
        """The last status of every host; reads again only what changed. Raises RetryLater."""
        ...

    async def write_desired(
        self, region: Region, instance: InstanceId, document: Mapping[str, object]
    ) -> None:
        """Replace desired.json of one host; the same document again changes nothing."""
        ...

    async def renew(self, region: Region) -> Sequence[InstanceId]:
        """Keep the orders of living hosts from expiring; whose were written again."""
        ...

    async def stage(
        self, region: Region, image: Path, sha256: str, size_bytes: int, *, missed: bool = False
    ) -> None:
        """Have `images/<sha256>` in the region's bucket; returns at once when it is there.
        `missed`: a host did not find it, so that what was seen a moment ago counts for nothing."""
        ...

    async def stage_params(self, region: Region, params: bytes) -> None:
        """Have init params in the region's bucket under their digest. Raises RetryLater."""
        ...

    async def staged_params(self, region: Region) -> Mapping[str, float]:
        """Digest of all staged init params, and when they were written (unix seconds). Raises
        RetryLater."""
        ...

    async def unstage_params(self, region: Region, sha256: str, used: Callable[[], bool]) -> bool:
        """Delete staged init params, unless they are `used` at the moment at which nobody stages
        them; whether they are deleted. Raises RetryLater."""
        ...

    async def forget(self, region: Region, instance: InstanceId) -> None:
        """Delete what the mailbox holds of a host that is gone."""
        ...

    async def alone(self, region: Region) -> bool:
        """Whether no other agent uses the bucket, whose images and hosts' mail it might hold."""
        ...

    async def staged(self, region: Region) -> Mapping[str, float]:
        """Digest of every staged image, and when it was written (unix seconds): one list call
        for a thousand. Raises RetryLater."""
        ...

    async def unstage(self, region: Region, sha256: str) -> None:
        """Delete a staged image that no job of the region uses any more.

        Staging of the same image waits for it, and then stages anew.
        """
        ...


@dataclass(frozen=True, slots=True)
class Image:
    """A verified, measured image on this machine's disk. `by_url`: nothing but its URL names it, so
    that it is known by what was found there first."""

    url: str = field(repr=False)  # its query may be a secret
    cid: str
    path: Path
    size_bytes: int
    sha256: str
    pcrs: Mapping[int, str]
    architecture: str
    min_memory_mib: int
    signer: Signer | None = None
    by_url: bool = False


class Images(Protocol):
    """Retrieval and store as the agent needs them."""

    async def fetch(self, url: str, *, job: int, deadline: float, pin: str = "") -> Image:
        """The image, verified and measured; kept while `job` holds it. One download at a time
        however many ask. `pin`: the SHA-256 of the file that a URL without a digest led to first;
        no other is taken. Raises Refused (hostile, broken, changed), RetryLater (unavailable)."""
        ...

    async def distrust(self, cid: str) -> None:
        """What is on the disk may not be what was measured: unless it is, it is removed, and the
        next `fetch` has it anew. Raises RetryLater."""
        ...

    async def release(self, job: int) -> None:
        """`job` does not need its image any more; it may be evicted."""
        ...


@dataclass(frozen=True, slots=True)
class Attested:
    """A document that passed every check against the image's PCRs and the instance id."""

    instance: InstanceId
    issued_at: float
    pcrs: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Account:
    """Whose agent this is: what every identity tag and every decision is checked against."""

    chain_id: int
    contract: Address
    provider: Address


class EnclaveEarly(RetryLater):
    """All of the document holds but for its times, which are still to come by this clock: nothing
    is wrong with the enclave, and another one's document would be as early."""


class Attester(Protocol):
    """Asks a running enclave to prove itself, the way an auditor would."""

    async def attest(
        self, instance: Instance, image: Image, *, clock: Clock, debug: bool = False
    ) -> Attested:
        """Fetch, and verify as of the moment at which it arrived by `clock`. `debug`: it may run in
        debug mode, which proves the instance alone. Raises RetryLater (no answer), EnclaveEarly,
        Refused (an answer that is wrong)."""
        ...
