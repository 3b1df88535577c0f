"""What a storm is played on: the models, their clocks, and who watches."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from devnet.simulation import loop
from devnet.simulation.blocks import BlockChain
from devnet.simulation.chain import SimSecondEndpoint
from devnet.simulation.loop import StormClock
from devnet.simulation.model_faults import Weather
from devnet.simulation.opinions import Lie, Views, lies
from devnet.simulation.scenario import Scenario
from devnet.simulation.storm_cloud import StormCloud, StormImages
from devnet.simulation.watch import Watch
from devnet.simulation.wire.node import Node


@dataclass
class Stage:
    """Whoever acts in a storm is given this: lives, people, and what goes wrong."""

    what: Scenario
    trace: bool = False
    lines: list[str] = field(default_factory=list)
    clock: StormClock = field(init=False)
    agent_clock: StormClock = field(init=False)
    weather: Weather = field(init=False)
    chain: BlockChain = field(init=False)
    nodes: list[Node] = field(init=False)
    second_views: Views = field(default_factory=Views)  # what the second endpoint gets wrong
    cloud: StormCloud = field(init=False)
    images: StormImages = field(init=False)
    witness: SimSecondEndpoint | None = field(init=False)
    watch: Watch = field(init=False)
    digest: Any = field(default_factory=hashlib.sha256)  # of every note: the run itself

    def second(self) -> float:
        """Of the run."""
        return self.clock.now() - loop.START

    async def until(self, second: float) -> None:
        """Returns when that second of the run has come."""
        left = second - self.second()
        if left > 0:
            await asyncio.sleep(left)

    def ways(self) -> Sequence[Lie]:
        """How an endpoint can lie about this market."""
        return lies(wire=self.what.wire)

    def note(self, text: str) -> None:
        """One event of the run."""
        line = f"{self.second():.3f} {text}"
        self.digest.update(line.encode())
        if self.trace:
            self.lines.append(line)
