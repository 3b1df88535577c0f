"""What went through an instance, as its host counted it, and what did not pass and why. Pure.

A host tells it every ten minutes and begins anew with each enclave: numbers to look at, by which
nothing is decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from enclave.host.documents import Status
from enclave.host.drops import DROPS

REASONS = (*DROPS, "other")  # "other": of a host that is newer than this agent
_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes into the enclave and out of it, and packets that did not pass, by REASONS."""

    bytes_in: int = 0
    bytes_out: int = 0
    drops: Mapping[str, int] = field(default_factory=dict)

    @property
    def words(self) -> str:
        """For people; the most frequent reasons first."""
        went = f"{_size(self.bytes_in)} in, {_size(self.bytes_out)} out"
        some = sorted(self.drops.items(), key=lambda one: (-one[1], one[0]))
        why = ", ".join(f"{count:,} {reason}" for reason, count in some)
        return f"{went}; {sum(self.drops.values()):,} packets dropped: {why}" if why else went


def traffic_of(status: Status) -> Traffic:
    """By what the host says."""
    return Traffic(
        sum(counts["bytes_in"] for counts in status.traffic.values()),
        sum(counts["bytes_out"] for counts in status.traffic.values()),
        drops_of([status]),
    )


def drops_of(statuses: Iterable[Status]) -> dict[str, int]:
    """Of all of them, those that are not none."""
    sums: Counter[str] = Counter()
    for status in statuses:
        for reason, count in status.drops.items():
            sums[reason if reason in REASONS else "other"] += count
    return {reason: count for reason, count in sums.items() if count}


def _size(count: int) -> str:
    power = min(max(count.bit_length() - 1, 0) // 10, len(_UNITS) - 1)
    return f"{count / (1 << 10 * power):.1f} {_UNITS[power]}" if power else f"{count} bytes"
