"""The bootstrapping budget: what still fits before the slash point, and when to try another way.

A job must be reported started before `assigned_at + JobBootstrapping`. Image and host come up
side by side, then the enclave starts, proves itself, and the report is mined:

    image ──────────┐
                    ├─▶ enclave ─▶ attest ─▶ report │ slash point
    launch ─▶ boot ─┘

Each stage has a usual length, learnt from what was seen, and a least one, the shortest that is
plausible. Least lengths decide what is not started any more (so that nothing feasible is given
up), usual ones decide when a stage is late enough to start a second way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum


class Stage(StrEnum):
    LAUNCH = "launch"  # RunInstances to running
    BOOT = "boot"  # running to the host program's first status
    IMAGE = "image"  # fetched, verified, measured, staged
    ENCLAVE = "enclave"  # host has its orders to enclave running
    ATTEST = "attest"
    REPORT = "report"  # sent to mined


@dataclass(frozen=True, slots=True)
class Length:
    """Seconds a stage takes: usually, and at the very least."""

    usual: float
    least: float


# Published cold starts: 17.8 s pending to running, 25.8 s to SSH on six AL2023 types. An enclave
# boots in seconds, nitro-cli itself waits 180 s at most. A fetch is bounded by its image.
DEFAULT_LENGTHS: Mapping[Stage, Length] = {
    Stage.LAUNCH: Length(usual=20.0, least=1.0),
    Stage.BOOT: Length(usual=15.0, least=1.0),
    Stage.IMAGE: Length(usual=30.0, least=0.5),
    Stage.ENCLAVE: Length(usual=15.0, least=1.0),
    Stage.ATTEST: Length(usual=3.0, least=0.2),
    Stage.REPORT: Length(usual=15.0, least=0.5),
}

HOST_STAGES = (Stage.LAUNCH, Stage.BOOT)
TAIL_STAGES = (Stage.ENCLAVE, Stage.ATTEST, Stage.REPORT)


@dataclass(frozen=True, slots=True)
class Budget:
    """Lengths of the stages in force.

    A stage is late after `patience` usual lengths, or when it has eaten `slack_share` of the
    time that is left over when everything takes its usual length.
    """

    lengths: Mapping[Stage, Length] = field(default_factory=lambda: dict(DEFAULT_LENGTHS))
    patience: float = 3.0
    slack_share: float = 0.5

    def usual(self, *stages: Stage) -> float:
        return sum(self.lengths[stage].usual for stage in stages)

    def least(self, *stages: Stage) -> float:
        return sum(self.lengths[stage].least for stage in stages)

    def fits(
        self, now: float, deadline: float, *, image_ready: bool, host: tuple[Stage, ...]
    ) -> bool:
        """Whether a start from `now` may still end before `deadline`.

        `host` are the host's stages that are still to come: all of them for a new instance.
        """
        return now < self.latest_start(deadline, image_ready=image_ready, host=host)

    def latest_start(self, deadline: float, *, image_ready: bool, host: tuple[Stage, ...]) -> float:
        """From when on a start can't end before `deadline` any more."""
        image = 0.0 if image_ready else self.least(Stage.IMAGE)
        return deadline - max(image, self.least(*host)) - self.least(*TAIL_STAGES)

    def late_at(self, since: float, deadline: float, *stages: Stage) -> float:
        """When `stages`, begun at `since`, have eaten their share and a second way starts.

        At the latest when a whole second way usually still fits; but never before they took
        their usual length once and a half.
        """
        usual = self.usual(*stages)
        last_moment = deadline - self.usual(*HOST_STAGES, *TAIL_STAGES)
        slack = max(0.0, deadline - since - self.usual(*HOST_STAGES, *TAIL_STAGES))
        share = since + usual + self.slack_share * slack
        patient = since + self.patience * usual
        return max(since + 1.5 * usual, min(patient, share, last_moment))


LEARNT_LEAST = 0.5  # of the configured length: a lucky streak must not make hasty races


@dataclass(slots=True)
class Learner:
    """Keeps usual lengths current: a quarter of the way to each new observation.

    Only what was seen to succeed is learnt, never below half of what is configured, and an
    outlier counts as four times the present length at most.
    """

    budget: Budget = field(default_factory=Budget)
    weight: float = 0.25
    configured: Budget = field(default_factory=Budget)
    told: Callable[[str, float], None] = lambda stage, seconds: None

    def adopt(self, budget: Budget) -> None:
        """Start from a configured budget."""
        self.budget = self.configured = budget

    def observe(self, stage: Stage, seconds: float) -> None:
        """A stage ended well after `seconds`."""
        self.told(stage.value, seconds)
        length = self.budget.lengths[stage]
        least = max(length.least, LEARNT_LEAST * self.configured.lengths[stage].usual)
        seen = min(max(seconds, least), 4 * length.usual)
        usual = length.usual + self.weight * (seen - length.usual)
        lengths = {**self.budget.lengths, stage: Length(usual, length.least)}
        self.budget = replace(self.budget, lengths=lengths)
