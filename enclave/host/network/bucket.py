"""A token bucket: so many bits a second, and a short burst. Pure; the clock is passed in."""

from __future__ import annotations

# What may go at once after a pause: a quarter of a second's worth, one largest packet at least.
BURST_SECONDS = 0.25
LEAST_BURST_BYTES = 65535.0
_A_BYTE = 1.0  # sums of fractions end beside zero


class Bucket:
    """`kbit` 1000 bits a second; 0: no limit. Goes below zero by the last packet taken."""

    def __init__(self, kbit: int, now: float) -> None:
        self.rate = kbit * 125.0  # bytes a second
        self.most = max(self.rate * BURST_SECONDS, LEAST_BURST_BYTES)
        self._left, self._at = self.most, now

    def take(self, count: int) -> None:
        """So many bytes went."""
        self._left -= count

    def wait(self, now: float) -> float:
        """Seconds until something may go again; 0: now."""
        if not self.rate:
            return 0.0
        self._left = min(self.most, self._left + max(now - self._at, 0.0) * self.rate)
        self._at = now
        return -self._left / self.rate if self._left < -_A_BYTE else 0.0
