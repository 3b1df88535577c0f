"""In which order several nodes are asked, and how each has been doing. Nothing is asked here.

One that fails rests, twice as long each time. One whose own newest block is old while another is
far ahead, and one whose word was doubted, go to the end of the line. A height alone ranks nobody:
any node can say 10^9.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from agent.chain.head import OLD_SECONDS, untimely
from agent.chain.rpc import EndpointDown, Rpc
from agent.clock import passed
from agent.market.model import BlockRef
from agent.ports import Clock
from faults import TryElsewhere

log = structlog.get_logger()

MAX_REST_SECONDS = 60.0  # a dead endpoint is tried again once a minute
MAX_LAG_SECONDS = 60.0  # 5 blocks of 12 s, 240 of 0.25 s
DOUBT_SECONDS = 60.0  # a node whose word was doubted is asked first again a few probes later


@dataclass
class Node:
    """An endpoint and how it has been doing."""

    rpc: Rpc
    admitted: bool = False  # its chain id was checked since its last failure
    failures: int = 0
    failed_at: float = 0.0
    rest_seconds: float = 0.0  # from then on
    tip: BlockRef | None = None  # its newest block at the last probe
    doubted_at: float | None = None  # when another endpoint was believed instead
    error: str = ""  # of its last failure, until it answers again

    def __repr__(self) -> str:
        return f"Node({self.rpc.url}, failures={self.failures}, tip={self.tip})"


@dataclass(frozen=True, slots=True)
class Health:
    """One endpoint, for status and doctor; `name` is redacted."""

    name: str
    usable: bool
    lag_blocks: int | None
    failures: int
    error: str = ""  # why it is not usable, in its own words where it has any


class Ranks:
    """Of these nodes, as they are configured."""

    def __init__(self, nodes: Sequence[Node], clock: Clock, max_lag_seconds: float) -> None:
        self._nodes = nodes
        self._clock = clock
        self._max_lag = max_lag_seconds

    def failed(self, node: Node, fault: TryElsewhere) -> None:
        node.failures += 1
        node.admitted = False
        node.error = str(fault)
        asked = fault.after_seconds if isinstance(fault, EndpointDown) else None
        rest = asked or min(MAX_REST_SECONDS, 2.0 ** min(node.failures, 10))
        self.rest(node, rest)
        log.warning("chain.endpoint_failed", endpoint=str(node.rpc.url), error=str(fault))

    def rest(self, node: Node, seconds: float) -> None:
        node.failed_at, node.rest_seconds = self._clock.now(), seconds

    def rests(self, node: Node) -> bool:
        return not passed(self._clock.now(), node.failed_at, node.rest_seconds)

    def lags(self, node: Node) -> bool:
        """By the age of its newest block, beside the youngest; nothing is younger than now."""
        now = self._clock.now()
        if node.tip is None or node.tip.timestamp >= now - OLD_SECONDS:
            return False
        youngest = min(now, max((tip.timestamp for tip in self._believable(now)), default=0))
        return youngest - node.tip.timestamp > self._max_lag

    def behind(self, node: Node) -> int:
        """Blocks; 0 of one whose newest block is young: what others claim beyond it is a claim."""
        now = self._clock.now()
        if node.tip is None or node.tip.timestamp >= now - OLD_SECONDS:
            return 0
        newest = max((tip.number for tip in self._believable(now)), default=0)
        return max(0, newest - node.tip.number)

    def _believable(self, now: float) -> list[BlockRef]:
        tips = [node.tip for node in self._nodes if node.tip is not None]
        return [tip for tip in tips if not untimely(tip, now, old=float("inf"))]

    def doubted(self, node: Node) -> bool:
        at = node.doubted_at
        return at is not None and not passed(self._clock.now(), at, DOUBT_SECONDS)

    def line(self) -> list[Node]:
        """Well ones as configured, then doubted ones and laggards, then, rather than nothing,
        those that rest."""
        return sorted(
            self._nodes,
            key=lambda node: (self.rests(node), self.doubted(node), self.lags(node)),
        )

    def note_doubt(self, node: Node, why: str) -> None:
        if not self.doubted(node):
            log.warning("chain.endpoint_doubted", endpoint=str(node.rpc.url), why=why)
        node.doubted_at = self._clock.now()
