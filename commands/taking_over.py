"""The two halves of a takeover: look at AWS, the chain and the agent; then do what was decided."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from agent.chain.head import HeadTracker
from agent.chain.rpc import Reader
from agent.market.model import Job, JobId
from agent.wiring.adapters import finality_of
from cloud.ec2.elsewhere import Other, OtherAddress
from cloud.model import Region
from commands.context import Desk, Standing, standing_of
from commands.offering import running_agent
from commands.takeover_plan import JobStanding, TakeoverPlan, job_in, of_owner, plan_takeover
from commands.takeover_plan import Standing as Stands

if TYPE_CHECKING:
    from cloud.aws import Aws

PROOF_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Sight:
    """What is so just now, and what follows. `agent`: whether ours answers."""

    plan: TakeoverPlan
    agent: bool
    standings: Mapping[JobId, JobStanding] = field(default_factory=dict)


async def look(desk: Desk, aws: Aws, tags: Mapping[str, str]) -> Sight:
    """Raises RetryLater; Refused: another provider's agent answers where ours should."""
    view = await asyncio.to_thread(partial(running_agent, desk, jobs=True))
    standing = await standing_of(desk)
    instances, addresses = await _there(desk, aws, tags)
    paid, _ = await desk.reads.listing(desk.provider, standing.at)
    tagged = [*(one.tags for one in instances), *(one.tags for one in addresses)]
    named = {job_in(found) for found in tagged}
    ids = sorted({*paid, *(job for job in named if job is not None)})
    standings = await _standings(desk, standing, ids, view)
    return Sight(plan_takeover(instances, addresses, standings, paid), view is not None, standings)


async def act(aws: Aws, plan: TakeoverPlan) -> Sequence[str]:
    """End and release what the plan says; what was done, in words. Each can be done twice."""
    done = []
    for line in plan.lines:
        if line.ends:
            await aws.elsewhere.end(line.old)
            done.append(f"ended {line.old.id} of job {line.job}: {line.why}")
    for address in plan.released:
        await aws.elsewhere.release(address)
        done.append(f"released {address.ip}")
    return done


async def _there(
    desk: Desk, aws: Aws, tags: Mapping[str, str]
) -> tuple[list[Other], list[OtherAddress]]:
    """What has these tags and is this provider's on this market."""
    instances: list[Other] = []
    addresses: list[OtherAddress] = []
    whose = (desk.provider, str(desk.registry), desk.endpoints.chain_id)
    for name in desk.config.aws.regions:
        region = Region(name)
        found = await aws.elsewhere.instances(region, tags)
        instances += [one for one in found if of_owner(one.tags, *whose)]
        held = await aws.elsewhere.addresses(region, tags)
        addresses += [one for one in held if of_owner(one.tags, *whose)]
    return instances, addresses


async def _standings(
    desk: Desk, standing: Standing, ids: Sequence[JobId], view: Mapping[str, Any] | None
) -> dict[JobId, JobStanding]:
    jobs = await desk.reads.jobs(ids, standing.at) if ids else {}
    now = standing.at.timestamp
    dead = [number for number, job in jobs.items() if standing.terms.is_over(job, now)]
    over = await _surely_over(desk, standing, dead)
    rows = {row["id"]: row for row in view["jobs"]} if view else {}
    found = {}
    for number in ids:
        job = jobs.get(number)
        if number in over:
            found[number] = JobStanding(Stands.OVER)
        elif job is None or job.provider != desk.provider:
            found[number] = JobStanding(Stands.STRANGE)
        else:
            found[number] = await _ours(desk, rows.get(number))
    return found


async def _ours(desk: Desk, row: Mapping[str, Any] | None) -> JobStanding:
    """By the agent's word, and then by our own eyes, as watchers of the market look."""
    if row is None:
        return JobStanding(Stands.OURS_COMES, "the agent has not taken it up yet")
    if row["stage"] == "refused":
        return JobStanding(Stands.REFUSED, str(row["note"]))
    ip = str(row["public_ip"])
    if row["state"] != "running" or not ip:
        return JobStanding(Stands.OURS_COMES, f"{row['stage']}")
    if not await _shows_document(desk, ip):
        return JobStanding(Stands.OURS_COMES, f"{ip} shows no document just now")
    return JobStanding(Stands.OURS_UP, ip)


async def _shows_document(desk: Desk, ip: str) -> bool:
    """The agent has verified the document; here an outsider looks whether it is still shown."""
    enclave = desk.config.enclave
    url = f"http://{ip}:{enclave.attestation_port}{enclave.attestation_path}"
    try:
        async with httpx.AsyncClient(timeout=PROOF_SECONDS, trust_env=False) as client:
            answer = await client.get(url)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and bool(answer.content)


async def _surely_over(desk: Desk, standing: Standing, ids: Sequence[JobId]) -> Collection[JobId]:
    """Those of `ids`, which are over at the head, that are so in the final block, by all endpoints
    that answer: a deposit or a notice taken back may be newer than that block."""
    if not ids:
        return ()
    final = (await HeadTracker(desk.endpoints, finality_of(desk.config)).poll()).finalized

    async def told(reader: Reader) -> Mapping[JobId, Job]:
        return await desk.reads.through(reader).jobs(ids, final)

    stories = await desk.endpoints.voices(told, desk.endpoints.count)
    now = standing.at.timestamp
    return {
        number
        for number in ids
        if stories
        and all(number in story and standing.terms.is_over(story[number], now) for story in stories)
    }
