"""The checks of `doctor`: each looks at one thing and says what it found and what to do.

They are independent: what one needs and another found broken (no node answers, say) is skipped
with the reason, and everything else is still looked at.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.clock import SystemClock
from agent.config import Config, ConfigFault, load
from agent.config.load import path_of
from agent.config.model import Offer
from agent.config.units import show_bytes
from agent.market.model import ZERO_ADDRESS, Address
from agent.parts import open_endpoints, open_signer
from cloud.errors import NotSetUp
from cloud.model import Identity, LaunchOrder, Region
from commands.amounts import show_amount, show_span
from commands.context import Desk, Terms, open_cloud, terms_of
from faults import Fault

if TYPE_CHECKING:
    from cloud.capacity import QuotaUse

# A clock that is off this far misjudges deadlines and AWS refuses its signatures at five minutes.
CLOCK_SECONDS = 30
# Transactions of a job from start to end (docs/gas.md: about 0.3 M gas), times ten.
GAS_FOR_TEN_JOBS = 3_000_000
FREE_DISK_IMAGES = 2
POLICY = "attach what `oyster-provider cloud policy agent` prints"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. `verdict`: ok, warn (it serves, but look), fail, skip."""

    name: str
    verdict: str
    found: str
    todo: str = ""

    def to_json(self) -> dict[str, str]:
        return {"check": self.name, "verdict": self.verdict, "found": self.found, "todo": self.todo}


@dataclass
class Patient:
    """What the checks look at; parts that could not be opened are None."""

    config: Config
    path: Path
    clock: SystemClock = field(default_factory=SystemClock)
    provider: Address | None = None
    desk: Desk | None = None
    terms: Terms | None = None
    aws: Any = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)


async def examine(given: Path | None) -> list[Finding]:
    """All findings, in the order in which one would set things right."""
    path = path_of(given)
    try:
        config = load(given)
    except ConfigFault as fault:
        todo = "see docs/configuration.md"
        return [Finding("configuration", "fail", problem, todo) for problem in fault.problems]
    patient = Patient(config, path)
    async with patient.stack:
        return [_file(patient), *[finding async for finding in _all(patient)]]


async def _all(patient: Patient) -> AsyncIterator[Finding]:
    for name, check in CHECKS:
        try:
            found = await check(patient)
        except Fault as fault:
            found = [Finding(name, "fail", str(fault), TODO.get(name, ""))]
        for finding in found:
            yield finding


def _file(patient: Patient) -> Finding:
    mode = stat.S_IMODE(patient.path.stat().st_mode)
    if mode & stat.S_IRWXO:
        return Finding(
            "configuration", "warn", f"{patient.path} can be read by all (mode {mode:04o})",
            f"chmod 600 {patient.path}",
        )  # fmt: skip
    return Finding("configuration", "ok", f"{patient.path} is sound")


async def _chain(patient: Patient) -> list[Finding]:
    endpoints = await open_endpoints(patient.config, patient.clock)
    patient.stack.push_async_callback(endpoints.close)
    provider = patient.provider or ZERO_ADDRESS
    patient.desk = Desk(patient.config, patient.clock, endpoints, provider)
    await patient.desk.endpoints.probe()
    health = patient.desk.endpoints.health()
    down = [node.name for node in health if not node.usable]
    findings = [
        Finding("chain id", "ok", f"{patient.config.chain.chain_id} (by {_nodes(len(health))})")
    ]
    if down:
        todo = "check the URL and the node; the others serve meanwhile"
        findings.append(Finding("nodes", "warn", f"no answer: {', '.join(down)}", todo))
    elif len(health) == 1:
        todo = "add a second node of another operator to chain.rpc_urls"
        findings.append(Finding("nodes", "warn", "one node: nobody confirms its word", todo))
    else:
        findings.append(Finding("nodes", "ok", f"{len(health)} answer"))
    return findings


async def _contract(patient: Patient) -> list[Finding]:
    if patient.desk is None:
        return [_skipped("contract", "no node of this chain answers")]
    code = await patient.desk.endpoints.call("eth_getCode", patient.desk.registry, "latest")
    if code in ("0x", None):
        todo = "check chain.registry and chain.chain_id"
        return [Finding("contract", "fail", f"{patient.desk.registry} has no code", todo)]
    terms = patient.terms = await terms_of(patient.desk)
    params = terms.params
    text = (
        f"StakePerJob {show_amount(params.stake_per_job, terms.pond)}, "
        f"bootstrapping {show_span(params.job_bootstrapping)}, "
        f"cool-down {show_span(params.job_exit_cool_down)}"
    )
    return [Finding("contract", "ok", text)]


async def _clock(patient: Patient) -> list[Finding]:
    if patient.desk is None or patient.terms is None:
        return [_skipped("clock", "the chain cannot be read")]
    ahead = patient.terms.at.timestamp - patient.desk.clock.now()
    if ahead > CLOCK_SECONDS:
        text = f"this machine is {show_span(ahead)} behind the chain"
        return [Finding("clock", "fail", text, "start time synchronisation (chrony, timesyncd)")]
    if ahead < -20 * CLOCK_SECONDS:
        text = f"the newest block is {show_span(-ahead)} old"
        return [Finding("clock", "warn", text, "this clock is ahead, or the nodes are behind")]
    return [Finding("clock", "ok", f"newest block {show_span(max(0.0, -ahead))} ago")]


async def _key(patient: Patient) -> list[Finding]:
    signer = await open_signer(patient.config)
    patient.provider = signer.address
    return [Finding("key", "ok", f"signs for {signer.address}")]


async def _gas(patient: Patient) -> list[Finding]:
    from agent.chain.fees import market_fees
    from agent.parts import fees_of

    desk = patient.desk
    if desk is None:
        return [_skipped("gas", "no node of this chain answers")]
    if patient.provider is None:
        return [_skipped("gas", "the key cannot be opened")]
    balance = int(await desk.endpoints.call("eth_getBalance", desk.provider, "latest"), 16)
    fees = await market_fees(desk.endpoints, fees_of(patient.config))
    if fees is None:
        todo = "wait, or raise gas.max_fee"
        return [Finding("gas", "warn", "a block asks more than gas.max_fee now", todo)]
    need = GAS_FOR_TEN_JOBS * fees.max_fee
    if balance >= need:
        return [Finding("gas", "ok", f"{balance / 1e18:.4f} coin, ten jobs take {need / 1e18:.4f}")]
    verdict = "warn" if balance >= need // 10 else "fail"
    todo = f"send {desk.provider} at least {need / 1e18:.4f}"
    return [Finding("gas", verdict, f"{balance / 1e18:.6f} coin", todo)]


async def _stake(patient: Patient) -> list[Finding]:
    terms = patient.terms
    if terms is None:
        return [_skipped("stake", "the contract cannot be read")]
    if patient.provider is None:
        return [_skipped("stake", "the key cannot be opened")]
    more = terms.stake.unlocked // max(1, terms.params.stake_per_job)
    shown = f"{show_amount(terms.stake.total, terms.pond)}, enough for {more} more jobs"
    if terms.stake.total < terms.params.stake_per_job:
        least = show_amount(terms.params.stake_per_job - terms.stake.total, terms.pond)
        todo = f"stake at least {least}: oyster-provider stake AMOUNT"
        return [Finding("stake", "fail", shown, todo)]
    todo = "" if more else "stake more to get another job"
    return [Finding("stake", "ok" if more else "warn", shown, todo)]


async def _offers(patient: Patient) -> list[Finding]:
    desk, terms = patient.desk, patient.terms
    if desk is None or terms is None:
        return [_skipped("offers", "the contract cannot be read")]
    if patient.provider is None:
        return [_skipped("offers", "the key cannot be opened")]
    if not desk.config.offers:
        todo = "oyster-provider offers set TYPE PRICE"
        return [Finding("offers", "warn", "nothing is on offer", todo)]
    listed = [
        offer.type
        for offer in desk.config.offers
        if await desk.market.offer(desk.provider, offer.type, terms.at)
    ]
    missing = sorted({offer.type for offer in desk.config.offers} - set(listed))
    if missing:
        todo = "oyster-provider offers set, or wait until capacity is back"
        return [Finding("offers", "warn", f"not listed: {', '.join(missing)}", todo)]
    return [Finding("offers", "ok", f"{len(listed)} listed")]


async def _identity(patient: Patient) -> list[Finding]:
    aws = open_cloud(patient.config, patient.provider or "", patient.clock)
    patient.aws = aws
    patient.stack.callback(aws.close)
    account = await aws.account()
    return [Finding("AWS identity", "ok", f"account {account.id}, the hosts' role is there")]


async def _regions(patient: Patient) -> list[Finding]:
    if patient.aws is None:
        return [_skipped("AWS regions", "AWS was not reached")]
    findings = []
    for name in patient.config.aws.regions:
        region = Region(name)
        try:
            subnets = await patient.aws.places.subnets(region)
            await patient.aws.places.group(region)
            await patient.aws.mailbox.reports(region)
            listed = await patient.aws.instances(region)
        except Fault as fault:
            findings.append(Finding(name, "fail", str(fault), "oyster-provider cloud setup"))
            continue
        live = sum(instance.live for instance in listed)
        text = f"{len(subnets)} subnets, security group, bucket, {live} instances of ours"
        findings.append(Finding(name, "ok", text))
    return findings


async def _left(patient: Patient) -> list[Finding]:
    from agent.retired import left_behind
    from commands.journal import open_reader

    if patient.aws is None:
        return [_skipped("retired regions", "AWS was not reached")]
    regions, now = patient.config.aws.regions, patient.clock.now()
    with open_reader(patient.config) as reader:
        left = await left_behind(reader, patient.aws, regions, now)
    todo = "put it back into aws.regions, and let its jobs end"
    found = [Finding("retired regions", "fail", line, todo) for line in left]
    return found or [Finding("retired regions", "ok", "nothing is left where nobody looks")]


async def _types(patient: Patient) -> list[Finding]:
    if patient.aws is None:
        return [_skipped("capacity", "AWS was not reached")]
    findings = []
    for offer in patient.config.offers:
        region = Region(offer.region)
        try:
            room = await patient.aws.room(region, offer.instance_type)
            ami = await patient.aws.places.ami(region, room.architecture)
            await patient.aws.rehearse(_rehearsal(patient, offer))
            head = await patient.aws.headroom(region, offer.instance_type)
        except Fault as fault:
            findings.append(Finding(offer.type, "fail", str(fault), "offer another type"))
            continue
        text = (
            f"may launch (with ec2:CreateTags, iam:PassRole), room for {head.more} "
            f"({head.limited_by}), {room.memory_mib} MiB, {ami.id}"
        )
        todo = "" if head.more else "ask AWS for a higher quota, or wait"
        findings.append(Finding(offer.type, "ok" if head.more else "warn", text, todo))
    return findings


async def _quotas(patient: Patient) -> list[Finding]:
    if patient.aws is None:
        return [_skipped("quotas", "AWS was not reached")]
    findings = []
    for offer in patient.config.offers:
        name = f"quotas {offer.type}"
        try:
            uses = await patient.aws.quotas(Region(offer.region), offer.instance_type)
        except Fault as fault:
            findings.append(Finding(name, "fail", str(fault), "oyster-provider cloud policy agent"))
            continue
        findings.append(_quota_finding(name, uses))
    return findings or [_skipped("quotas", "nothing is on offer")]


def _quota_finding(name: str, uses: Sequence[QuotaUse]) -> Finding:
    text = "; ".join(
        f"{use.code}: {use.used} of {use.limit} {use.what} in use, one more job takes {use.needs}"
        for use in uses
    )
    short = [use.code for use in uses if not use.more]
    if short:
        never = any(use.limit < use.needs for use in uses)
        todo = f"ask for more: Service Quotas, EC2, {', '.join(short)}; takes hours to days"
        return Finding(name, "fail" if never else "warn", text, todo)
    return Finding(name, "ok", text or "AWS names no quota for it")


async def _permissions(patient: Patient) -> list[Finding]:
    if patient.aws is None:
        return [_skipped("permissions", "AWS was not reached")]
    findings = []
    for region in map(Region, patient.config.aws.regions):
        name = f"permissions {region}"
        try:
            allowed = await patient.aws.allowed(region, _nobody(patient))
        except Fault as fault:
            missing = isinstance(fault, NotSetUp)
            todo = "oyster-provider cloud setup" if missing else POLICY
            findings.append(Finding(name, "fail", str(fault), todo))
            continue
        text = f"may {', '.join(allowed.rehearsed)}"
        if allowed.not_tried:
            text += f"; not tried, as nothing is there for it yet: {', '.join(allowed.not_tried)}"
        findings.append(Finding(name, "ok", text))
    return findings


def _nobody(patient: Patient) -> Identity:
    """Job 0, which there is none of: what is rehearsed is rehearsed for it."""
    chain, provider = patient.config.chain, patient.provider or ""
    return Identity(chain.chain_id, chain.registry, provider, job=0, generation=0, attempt=0)


def _rehearsal(patient: Patient, offer: Offer) -> LaunchOrder:
    """A launch for nobody's job; only ever sent with DryRun."""
    return LaunchOrder(
        _nobody(patient), Region(offer.region), offer.instance_type, deadline=float("inf")
    )


async def _ipfs(patient: Patient) -> list[Finding]:
    from commands.gateways import answering

    images = patient.config.images
    good, other, dead = await answering(images.gateways)
    if good:
        return [Finding("images", "ok", f"{len(good)} of {len(images.gateways)} gateways serve")]
    if other or images.kubo_api:
        text = "no gateway has the test block" if other else "no gateway; kubo_api alone"
        return [Finding("images", "warn", text, "add a public gateway to images.gateways")]
    text = f"no answer: {', '.join(dead) or 'none configured'}"
    return [Finding("images", "fail", text, "check images.gateways and this machine's network")]


async def _disk(patient: Patient) -> list[Finding]:
    store = patient.config.image_store
    place = next(p for p in (store, *store.absolute().parents) if p.exists())
    if not os.access(place, os.W_OK):
        todo = "run this as the agent's user, or fix the owner"
        return [Finding("disk", "fail", f"{place} cannot be written", todo)]
    free = shutil.disk_usage(place).free
    need = FREE_DISK_IMAGES * patient.config.images.max_size_bytes
    if free < need:
        todo = f"free {show_bytes((need - free) >> 20 << 20)}, or lower images.max_size"
        return [Finding("disk", "warn", f"{free / 2**30:.1f} GiB free at {place}", todo)]
    return [Finding("disk", "ok", f"{free / 2**30:.1f} GiB free at {place}")]


async def _journal(patient: Patient) -> list[Finding]:
    from commands.journal import open_reader

    if not patient.config.journal_file.exists():
        return [Finding("journal", "ok", "there is none yet; the agent makes it")]
    with open_reader(patient.config) as reader:
        return [Finding("journal", "ok", f"opens, {len(reader.jobs())} jobs in it")]


async def _systemd(patient: Patient) -> list[Finding]:
    from commands.service import outdated

    old = outdated(Path("/"))
    todo = "oyster-provider service install"
    if old is None:
        return [Finding("service", "warn", "no systemd unit is installed", todo)]
    if old:
        return [Finding("service", "warn", f"not this version's: {', '.join(old)}", todo)]
    return [Finding("service", "ok", "unit, account and folders are this version's")]


def _nodes(count: int) -> str:
    return "1 node" if count == 1 else f"{count} nodes"


def _skipped(name: str, why: str) -> Finding:
    return Finding(name, "skip", why)


CHECKS: tuple[tuple[str, Callable[[Patient], Any]], ...] = (
    ("key", _key),
    ("chain id", _chain),
    ("contract", _contract),
    ("clock", _clock),
    ("gas", _gas),
    ("stake", _stake),
    ("offers", _offers),
    ("AWS identity", _identity),
    ("AWS regions", _regions),
    ("retired regions", _left),
    ("permissions", _permissions),
    ("quotas", _quotas),
    ("capacity", _types),
    ("images", _ipfs),
    ("disk", _disk),
    ("journal", _journal),
    ("service", _systemd),
)

TODO = {
    "key": "see [wallet] in the configuration; `oyster-provider keys show` looks at one",
    "chain id": "check chain.rpc_urls and chain.chain_id",
    "contract": "check chain.registry",
    "AWS identity": "check the AWS credentials, then: oyster-provider cloud setup",
    "journal": "move the file away; it is history, no job depends on it",
}
