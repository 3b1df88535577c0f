"""`exit --all`: every offer goes first, then every job is left, and served until it is over.

The order is an entry in the journal; what has been done is read from the chain each time, so a
restart in between changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Drain:
    """`ordered` by a person; `listed` is how many offers the chain still shows (None: unknown)."""

    ordered: bool = False
    listed: int | None = None

    @property
    def leaving(self) -> bool:
        """No offer is left that could bring another job: now the jobs are left."""
        return self.ordered and self.listed == 0
