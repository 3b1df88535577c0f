"""What setup and teardown would do, as a list that can be shown before it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

from cloud.errors import translated
from cloud.model import Region

Verb = Literal["create", "change", "delete", "keep"]


@dataclass(frozen=True, slots=True)
class Step:
    """One thing in one region; `do` makes it so and may be repeated."""

    verb: Verb
    what: str
    name: str
    region: Region
    do: Callable[[], object] = field(repr=False, compare=False)

    def to_json(self) -> dict[str, str]:
        """Plain values for `--json`."""
        return {"verb": self.verb, "what": self.what, "name": self.name, "region": self.region}

    def __str__(self) -> str:
        return f"{self.verb:<7} {self.region:<15} {self.what}: {self.name}"


def translated_step(step: Step) -> Step:
    """The step, with what botocore raises in it turned into a fault that names the step."""

    def do() -> None:
        with translated(f"{step.verb} {step.what} {step.name} in {step.region}"):
            step.do()

    return replace(step, do=do)


def carry_out(steps: Iterable[Step], told: Callable[[Step], None]) -> None:
    """Each step in its order, told before it is done."""
    for step in steps:
        told(step)
        step.do()


def nothing() -> None:
    """What a step that keeps something does."""
