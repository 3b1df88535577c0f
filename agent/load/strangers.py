"""Hosts that have a mailbox and no instance that EC2 lists: what is left of ended ones, other
agents' where the bucket is shared, rehearsals'; or ours, and the listing is no look at all."""

from __future__ import annotations

from collections.abc import Mapping

from cloud.model import HostReport, InstanceId, Region

NEVER = float("-inf")


class Strangers:
    """Since when each has been seen so, and when it was last heard to write."""

    def __init__(self) -> None:
        self._since: dict[InstanceId, tuple[Region, float]] = {}
        self._words: dict[InstanceId, tuple[float, float]] = {}  # written at; heard at

    def clear(self) -> None:
        self._since.clear()
        self._words.clear()

    def all(self) -> Mapping[InstanceId, tuple[Region, float]]:
        """Region, and since when (unix seconds)."""
        return self._since

    def note(self, instance: InstanceId, region: Region, now: float) -> None:
        self._since.setdefault(instance, (region, now))

    def hear(self, report: HostReport, region: Region, now: float) -> None:
        """Its mail was looked at. What was written before the first look is no sign of life."""
        self.note(report.instance, region, now)
        before, heard_at = self._words.get(report.instance, (report.written_at, NEVER))
        news = report.written_at > before
        self._words[report.instance] = (report.written_at, now if news else heard_at)

    def known(self, instance: InstanceId) -> None:
        """It is none any more."""
        self._since.pop(instance, None)
        self._words.pop(instance, None)

    def writes(self, region: Region, after: float) -> bool:
        """Whether one of the region was heard to write after that time."""
        return any(
            heard_at > after and self._since[name][0] == region
            for name, (_, heard_at) in self._words.items()
        )
