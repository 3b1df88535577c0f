"""What `doctor` checks of AWS: identity, regions, permissions, quotas and capacity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.config.model import Offer
from agent.wiring.adapters import contract_of
from cloud.kinds import NotAllowed, NotSetUp
from cloud.model import Identity, LaunchOrder, Region
from commands.checkup import certificates
from commands.checkup.patient import Finding, Patient, no_journal, skipped
from commands.context import open_cloud
from commands.terminal import how_many
from faults import Fault, RetryLater

if TYPE_CHECKING:
    from cloud.ec2.capacity import QuotaUse

# A clock a minute behind takes no new attestation, and at five AWS refuses what it signs. Its own
# Date is in whole seconds, and the answer was on its way.
CLOCK_SECONDS, CLOCK_LOOSE_SECONDS = 30, 5
SETUP = "oyster-provider cloud setup"
POLICY = "attach what `oyster-provider cloud policy agent` prints"


async def identity(patient: Patient) -> list[Finding]:
    aws = open_cloud(patient.config, patient.provider or "", patient.clock)
    patient.stack.callback(aws.close)
    try:
        account = await aws.account()
    except NotSetUp as fault:
        patient.aws = aws
        return [Finding("AWS identity", "fail", str(fault), SETUP)]
    except Fault as fault:  # one cause, and what needs AWS is skipped
        return [Finding("AWS identity", "fail", str(fault), remedy(fault))]
    patient.aws = aws
    return [Finding("AWS identity", "ok", f"account {account.id}, the hosts' role is there")]


def remedy(fault: Fault, otherwise: str = "") -> str:
    """What to do about a fault of AWS, by its class: the same wherever it is met."""
    if isinstance(fault, NotSetUp):
        return SETUP
    if isinstance(fault, NotAllowed):
        return f"check the AWS credentials; {POLICY}"
    if isinstance(fault, RetryLater):
        away = "AWS does not answer: check this machine's network, and health.aws.amazon.com"
        return certificates.about(str(fault), "AWS_CA_BUNDLE") or away
    return otherwise


def _silent(patient: Patient, name: str, region: str) -> Finding | None:
    """A check of a region that did not answer once already."""
    return skipped(name, f"{region} did not answer") if region in patient.away else None


async def clock(patient: Patient) -> list[Finding]:
    """AWS signs the documents of enclaves and refuses requests by its own clock."""
    from commands.amounts import show_span

    ahead = None if patient.aws is None else patient.aws.clock_ahead()
    if ahead is None:
        return [skipped("clock by AWS", "AWS did not answer")]
    way = "behind" if ahead > 0 else "ahead of"
    text = f"this machine is {show_span(abs(ahead))} {way} AWS"
    todo = "start time synchronisation (chrony, timesyncd)"
    if abs(ahead) <= CLOCK_LOOSE_SECONDS:
        return [Finding("clock by AWS", "ok", f"within {CLOCK_LOOSE_SECONDS} s of AWS's")]
    verdict = "fail" if abs(ahead) > CLOCK_SECONDS else "warn"
    return [Finding("clock by AWS", verdict, text, todo)]


async def regions(patient: Patient) -> list[Finding]:
    if patient.aws is None:
        return [skipped("AWS regions", "AWS was not reached")]
    findings = []
    for name in patient.config.aws.regions:
        region = Region(name)
        try:
            subnets = await patient.aws.places.subnets(region)
            await patient.aws.places.group(region)
            await patient.aws.mailbox.reports(region)
            listed = await patient.aws.instances(region)
        except Fault as fault:
            if isinstance(fault, RetryLater) and not isinstance(fault, NotSetUp | NotAllowed):
                patient.away.add(name)
            findings.append(Finding(name, "fail", str(fault), remedy(fault, SETUP)))
            continue
        live = sum(instance.live for instance in listed)
        nets, own = how_many(len(subnets), "subnet"), how_many(live, "instance")
        text = f"{nets}, security group, bucket, {own} of ours"
        findings.append(Finding(name, "ok", text))
    return findings


async def left(patient: Patient) -> list[Finding]:
    from agent.load.left_regions import left_behind
    from commands.journal import open_reader

    if patient.aws is None:
        return [skipped("retired regions", "AWS was not reached")]
    if none := no_journal("retired regions", patient):
        return none
    regions, now = patient.config.aws.regions, patient.clock.now()
    with open_reader(patient.config) as reader:
        left = await left_behind(reader, patient.aws, regions, now)
    todo = "put it back into aws.regions, and let its jobs end"
    found = [Finding("retired regions", "fail", line, todo) for line in left]
    return found or [Finding("retired regions", "ok", "nothing is left where nobody looks")]


async def types(patient: Patient) -> list[Finding]:
    if patient.aws is None:
        return [skipped("capacity", "AWS was not reached")]
    findings = []
    for offer in patient.config.offers:
        region = Region(offer.region)
        if (silent := _silent(patient, offer.type, region)) is not None:
            findings.append(silent)
            continue
        try:
            room = await patient.aws.room(region, offer.instance_type)
            ami = await patient.aws.places.ami(region, room.architecture)
            await patient.aws.rehearse(_rehearsal(patient, offer))
            head = await patient.aws.headroom(region, offer.instance_type)
        except Fault as fault:
            findings.append(Finding(offer.type, "fail", str(fault), remedy(fault, _drop(offer))))
            continue
        text = (
            f"may launch (with ec2:CreateTags, iam:PassRole), room for {head.more} "
            f"({head.limited_by}), {room.memory_mib} MiB, {ami.id}"
        )
        todo = "" if head.more else "ask AWS for a higher quota, or wait"
        findings.append(Finding(offer.type, "ok" if head.more else "warn", text, todo))
    return findings


async def quotas(patient: Patient) -> list[Finding]:
    if patient.aws is None:
        return [skipped("quotas", "AWS was not reached")]
    findings = []
    for offer in patient.config.offers:
        name = f"quotas {offer.type}"
        if (silent := _silent(patient, name, offer.region)) is not None:
            findings.append(silent)
            continue
        try:
            uses = await patient.aws.quotas(Region(offer.region), offer.instance_type)
        except Fault as fault:
            findings.append(Finding(name, "fail", str(fault), remedy(fault, _drop(offer))))
            continue
        findings.append(_quota_finding(name, uses))
    return findings or [skipped("quotas", "nothing is on offer")]


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


async def permissions(patient: Patient) -> list[Finding]:
    if patient.aws is None:
        return [skipped("permissions", "AWS was not reached")]
    findings = []
    for region in map(Region, patient.config.aws.regions):
        name = f"permissions {region}"
        if (silent := _silent(patient, name, region)) is not None:
            findings.append(silent)
            continue
        try:
            allowed = await patient.aws.allowed(region, _nobody(patient))
        except NotSetUp:  # said above, by what is missing
            findings.append(skipped(name, "what they are tried on is not set up yet"))
            continue
        except Fault as fault:
            findings.append(Finding(name, "fail", str(fault), remedy(fault, POLICY)))
            continue
        text = f"may {', '.join(allowed.rehearsed)}"
        if allowed.not_tried:
            text += f"; not tried, as nothing is there for it yet: {', '.join(allowed.not_tried)}"
        findings.append(Finding(name, "ok", text))
    return findings


def _drop(offer: Offer) -> str:
    return f"offer another type: oyster-provider offers remove {offer.type}"


def _nobody(patient: Patient) -> Identity:
    """A generation that no job has: what is rehearsed is rehearsed for it."""
    chain_id, contract = patient.config.chain.chain_id, contract_of(patient.config)
    provider = patient.provider or ""
    return Identity(chain_id, contract, provider, job=0, generation=0, attempt=0)


def _rehearsal(patient: Patient, offer: Offer) -> LaunchOrder:
    """A launch for nobody's job; only ever sent with DryRun."""
    return LaunchOrder(
        _nobody(patient), Region(offer.region), offer.instance_type, deadline=float("inf")
    )
