"""Zones that had no room for a type a short while ago."""

from __future__ import annotations

from collections.abc import Callable

from cloud.model import Zone

KEEP_SECONDS = 180.0  # as Karpenter does; capacity comes and goes within minutes


class SoldOut:
    """Remembers (type, zone) pairs for KEEP_SECONDS after a definite refusal."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._until: dict[tuple[str, Zone], float] = {}

    def mark(self, instance_type: str, zone: Zone) -> None:
        """`zone` has just refused `instance_type`."""
        self._until[instance_type, zone] = self._now() + KEEP_SECONDS

    def is_(self, instance_type: str, zone: Zone) -> bool:
        """Whether `zone` refused `instance_type` within the last KEEP_SECONDS."""
        return self._until.get((instance_type, zone), 0.0) > self._now()
