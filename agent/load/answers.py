"""Who answered lately, counted as it happens: no turn of the loop walks over all instances."""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.decide.job_view import Probe
from agent.decide.keepalive import Answers
from cloud.model import InstanceId


@dataclass(slots=True)
class Evidence:
    """The last answer of each live instance, in the order in which they were asked."""

    _asked: dict[InstanceId, tuple[float, bool]] = field(default_factory=dict)
    _ill: int = 0

    def note(self, instance: InstanceId, probe: Probe, *, served: bool = False) -> None:
        """How the instance answered; one that never passed is no evidence of illness, unless it
        `served` before this process was there to ask it."""
        self.drop(instance)
        if probe.asked_at is not None:
            ill = probe.failures > 0 and (served or probe.passed_at is not None)
            self._asked[instance] = (probe.asked_at, ill)
            self._ill += ill

    def drop(self, instance: InstanceId) -> None:
        """It lives no more, or its answers count no more."""
        _, ill = self._asked.pop(instance, (0.0, False))
        self._ill -= ill

    def since(self, when: float) -> Answers:
        """Of those asked at `when` or later; who was asked before is forgotten."""
        while self._asked:
            first = next(iter(self._asked))
            if self._asked[first][0] >= when:
                break
            self.drop(first)
        return Answers(len(self._asked), self._ill)
