"""One job, its host and its image, as the agent's judges see them; tests replace what matters."""

from __future__ import annotations

from pathlib import Path

from agent.decide.lifecycle import LifecycleRules
from agent.decide.refusal import PolicyRules
from agent.market.model import (
    Address,
    BlockNumber,
    BlockRef,
    Job,
    JobId,
    JobStatus,
    Price,
    StopReason,
    Wei,
)
from agent.markets.registry.terms import RegistryTerms
from agent.ports import Account, Image
from cloud.model import EnclaveRoom, Identity, Instance, InstanceId, InstanceState, Region, Zone

NOW = 1_000_000
US = Address("0x1111111111111111111111111111111111111111")
OTHER = Address("0x2222222222222222222222222222222222222222")
REGISTRY = Address("0x4444444444444444444444444444444444444444")
ACCOUNT = Account(1, REGISTRY, US)
TERMS = RegistryTerms(Wei(1000), 600, 900, 3600, 2)
BLOCK = BlockRef(BlockNumber(100), "0x100", NOW)
RULES = LifecycleRules(policy=PolicyRules(min_escrow_seconds=0))
HOME = Region("us-east-1")
ROOM = EnclaveRoom("c6a.xlarge", "x86_64", 2, 6144, threads_per_core=2)
IMAGE = Image(
    "ipfs://x", "x", Path("/x"), 1 << 20, "a" * 64, {0: "b" * 96}, "x86_64", 256
)  # fmt: skip

JOB = Job(
    id=JobId(1),
    user=OTHER,
    provider=US,
    instance_type="us-east-1/c6a.xlarge",
    max_price=Price(10**12),
    price=Price(10**12),
    enclave_url="ipfs://x",
    generation=1,
    status=JobStatus.BOOTSTRAPPING,
    stop_reason=StopReason.NONE,
    assigned_at=NOW - 10,
    started_at=0,
    exit_requested_at=0,
    stopped_at=0,
    escrow=Wei(10**9),
    settled_until=0,
    endpoint="",
)
INSTANCE = Instance(
    id=InstanceId("i-1"),
    region=HOME,
    zone=Zone("us-east-1a"),
    instance_type="c6a.xlarge",
    state=InstanceState.RUNNING,
    identity=Identity(1, REGISTRY.lower(), US.lower(), 1, 1, 1),
    launched_at=NOW - 9.0,
    public_ip="192.0.2.1",
)
