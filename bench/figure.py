"""One measured figure, and whether it reached what was promised."""

from __future__ import annotations

from dataclasses import asdict, dataclass


class NotRun(Exception):
    """A bench can't run on this machine; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Figure:
    """`value` in `unit`; `target` is in the same unit, a least value unless `at_most`.

    `ratio`: value by the peer's, where the figure has one; `note`: how it was measured.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    ratio: float | None = None
    at_most: bool = False
    note: str = ""

    @property
    def reached(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target

    def record(self) -> dict[str, object]:
        return {**asdict(self), "reached": self.reached}
