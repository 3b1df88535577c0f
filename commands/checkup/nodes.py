"""What `doctor` checks of each node by itself: it is sent what the agent sends.

A chain id, the newest and a final block, a call at a block's hash, one batch of full size. Each
trouble has a check and a remedy of its own, and names the node with its own words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from agent.chain.head import Finality, block_ref, block_request
from agent.chain.http import Http
from agent.chain.pace import BATCH_LIMIT
from agent.chain.rpc import Request, Rpc, number
from agent.config import Config
from agent.market.model import BlockRef
from agent.markets.marketv1.seen import AHEAD
from agent.status.health import FINAL_SECONDS
from agent.wiring.adapters import contract_of, finality_of
from agent.wiring.markets import abilities_of, market_of
from commands.amounts import show_span
from commands.checkup import certificates
from commands.checkup.patient import Finding, Patient, skipped
from commands.terminal import how_many
from faults import Fault

LOOKS = 2  # at what a balancer's backend that lags may lack for a moment


@dataclass
class Diagnosis:
    """Of one node, by its redacted name: what it could do, or why not, in its words."""

    name: str
    down: str = ""
    chain_id: int = 0
    newest: BlockRef | None = None
    final: BlockRef | None = None
    finality: str = ""
    at_hash: str = ""
    batch: str = ""
    takes: int = BATCH_LIMIT  # requests in one exchange
    rate: float | None = None  # requests a second
    said: str = ""  # when it took fewer
    jobs: int | None = None  # how many there ever were, where that is what tells of new ones


async def nodes(patient: Patient) -> list[Finding]:
    """Each node by name; whether there are two."""
    config = patient.config
    urls = config.chain.rpc_urls
    rpcs = [
        Rpc(Http(url, timeout_seconds=config.chain.timeout_seconds, now=patient.clock.now))
        for url in urls
    ]
    try:
        found = await asyncio.gather(*(_diagnosed(rpc, config) for rpc in rpcs))
    finally:
        await asyncio.gather(*(rpc.close() for rpc in rpcs))
    patient.nodes = found
    wanted, well = config.chain.chain_id, [node for node in found if not node.down]
    wrong = [node for node in well if wanted and node.chain_id != wanted]
    worst = "warn" if len(well) > len(wrong) else "fail"
    findings = [_down(node, worst) for node in found if node.down]
    for node in wrong:
        text = f"is on chain {node.chain_id}, not {wanted}"
        findings.append(Finding(node.name, "fail", text, "check this URL and chain.chain_id"))
    places = {url.place for url in urls}
    return [*findings, _how_many(len(found), len(well) - len(wrong), places)]


def _how_many(configured: int, serve: int, places: set[str]) -> Finding:
    todo = "add a second node of another operator to chain.rpc_urls"
    if configured == 1:
        return Finding("nodes", "warn", "one node: nobody confirms its word", todo)
    if len(places) == 1:
        text = f"{configured} URLs of {next(iter(places))}: it confirms its own word"
        return Finding("nodes", "warn", text, todo)
    if not serve:
        return skipped("nodes", f"none of {configured} can be used: see each of them above")
    if serve < 2:
        todo = "until two answer, nothing is done that can't be undone"
        return Finding("nodes", "warn", f"{serve} of {configured} answer", todo)
    return Finding("nodes", "ok", f"{serve} answer")


def _down(node: Diagnosis, verdict: str) -> Finding:
    todo = certificates.about(node.down, "SSL_CERT_FILE") or "check the URL and the node"
    if "redirects" in node.down:
        todo = "write the URL that it redirects to into chain.rpc_urls: a POST follows none"
    elif "HTTP 401" in node.down or "HTTP 403" in node.down:
        todo = "check the key in this URL and what its plan allows"
    elif "HTTP 429" in node.down:
        todo = "its quota is used up: another plan, or another node"
    return Finding(node.name, verdict, node.down.removeprefix(f"{node.name}").strip(": "), todo)


async def finality(patient: Patient) -> list[Finding]:
    """Whether each tells a final block, as `chain.finality` wants it."""
    todo = 'chain.finality = "64" (a depth in blocks that this chain never takes back)'
    if finality_of(patient.config).depth is not None:
        todo = "a smaller chain.finality, or a node that keeps more blocks"
    found = _each(patient, "finality", lambda node: node.finality, "final blocks are told", todo)
    late = [_late(node) for node in _well(patient)]
    if not any(late):
        return found
    todo = "ends wait for one, and cost meanwhile: another node, or chain.finality = a depth"
    named = [Finding("finality", "warn", text, todo) for text in late if text]
    return [*(each for each in found if each.verdict != "ok"), *named]


def _late(node: Diagnosis) -> str:
    """How far its final block is behind its newest; empty: as usual, or not known."""
    if node.newest is None or node.final is None:
        return ""
    behind = node.newest.timestamp - node.final.timestamp
    told = f"{node.name}: its newest final block is {show_span(behind)} older than its head"
    return told if behind > FINAL_SECONDS else ""


async def at_hash(patient: Patient) -> list[Finding]:
    """Whether each answers a call at a block's hash."""
    todo = "use another node: every decision is read at one block's hash (EIP-1898)"
    good = "answered at a block's hash"
    return _each(patient, "reads at a block", lambda node: node.at_hash, good, todo)


async def batches(patient: Patient) -> list[Finding]:
    """Whether each takes a batch as large as the agent's, and how fast."""
    findings = _each(
        patient, "batches", lambda node: node.batch, f"{BATCH_LIMIT} requests are taken at once",
        "use another node, or another plan of this one",
    )  # fmt: skip
    few = [node for node in _well(patient) if not node.batch and node.takes < BATCH_LIMIT]
    slow = [node for node in _well(patient) if not node.batch and node.rate is not None]
    if few or slow:
        findings = [each for each in findings if each.verdict != "ok"]
    todo = "it serves, with more exchanges a look; for many jobs another plan or node"
    for node in few:
        words = f": {node.said}" if node.said else ""
        text = f"{node.name} takes {node.takes} requests at once{words}"
        findings.append(Finding("batches", "warn", text, todo))
    for node in slow:
        text = f"{node.name} takes about {node.rate:.0f} requests a second"
        findings.append(Finding("batches", "warn", text, todo))
    return findings


async def ids(patient: Patient) -> list[Finding]:
    """Of MarketV1: whether nodes tell of as many jobs. Ids are read as far as two say."""
    told = {node.name: node.jobs for node in _well(patient) if node.jobs is not None}
    if not told:
        return []
    counts = sorted(told.values())
    if counts[-1] - counts[0] <= AHEAD:
        return [Finding("job ids", "ok", f"{how_many(counts[-1], 'job')} ever opened")]
    text = ", ".join(f"{name} tells of {how_many(count, 'job')}" for name, count in told.items())
    todo = "one of them is behind or lies: what only one tells is read slowly; replace it"
    return [Finding("job ids", "warn", text, todo)]


def _well(patient: Patient) -> list[Diagnosis]:
    return [node for node in patient.nodes if not node.down]


def _each(
    patient: Patient, name: str, why: Callable[[Diagnosis], str], good: str, todo: str
) -> list[Finding]:
    """One finding for each node that can't; one for all when all can."""
    well: Sequence[Diagnosis] = _well(patient)
    if not well:
        return [skipped(name, "no node of this chain answers")]
    unable = [node for node in well if why(node)]
    verdict = "fail" if len(unable) == len(well) else "warn"
    findings = [Finding(name, verdict, why(node), todo) for node in unable]
    return findings or [Finding(name, "ok", good)]


async def _diagnosed(rpc: Rpc, config: Config) -> Diagnosis:
    node = Diagnosis(str(rpc.url))
    try:
        node.chain_id = await number(rpc, "eth_chainId")
        node.newest = block_ref((await rpc.batch([block_request("latest")]))[0])
    except Fault as fault:
        node.down = str(fault)
        return node
    node.finality = await _why_not(lambda: _final(rpc, node, finality_of(config)))
    node.at_hash = await _why_not(lambda: _call(rpc, node, config))
    node.batch = "" if node.at_hash else await _why_not(lambda: _full(rpc, node, config))
    if not (abilities_of(config).names_jobs or node.at_hash):
        await _why_not(lambda: _count(rpc, node, config))
    node.takes, node.rate, node.said = rpc.size.limit, rpc.pace.rate, rpc.refused_with
    return node


async def _why_not(look: Callable[[], Awaitable[None]]) -> str:
    said = ""
    for _ in range(LOOKS):
        try:
            await look()
        except Fault as fault:
            said = str(fault)
        else:
            return ""
    return said


async def _final(rpc: Rpc, node: Diagnosis, wanted: Finality) -> None:
    newest = node.newest.number if node.newest else 0
    where = "finalized" if wanted.depth is None else max(0, newest - wanted.depth)
    node.final = block_ref((await rpc.batch([block_request(where)]))[0])


async def _call(rpc: Rpc, node: Diagnosis, config: Config) -> None:
    await _full(rpc, node, config, count=1)


async def _count(rpc: Rpc, node: Diagnosis, config: Config) -> None:
    assert node.newest is not None
    node.jobs = await market_of(config, rpc).job_count(node.newest)


async def _full(rpc: Rpc, node: Diagnosis, config: Config, count: int = BATCH_LIMIT) -> None:
    node.newest = newest = block_ref((await rpc.batch([block_request("latest")]))[0])
    where = {"blockHash": newest.hash, "requireCanonical": True}
    request = Request("eth_call", ({"to": contract_of(config), "data": "0x"}, where))
    await rpc.outcomes([request] * count)
