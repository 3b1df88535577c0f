"""What keeps instances from coming up, as this process met it: refusals and deaths at birth.

A refusal for the provider's own set-up, or a launch that EC2 does not answer, is of one type in one
region, and over when a launch or a rehearsal passes. Instances that die before they proved anything
are a region's trouble (its key, its image, its zone): two within some minutes are no chance, and
only time or an enclave that proves itself ends that. Each spell without a success in between is
waited out twice as long.
Kept by this process alone: after a restart the next launch tells.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.market.model import InstanceType
from cloud.model import Instance, Region

SURE_SECONDS = 15.0  # a profile that propagates takes some seconds: no reason to leave the market
REFUSED_HOLD_SECONDS = 60.0  # after the last refusal a rehearsal is believed
DEATHS = 2  # young deaths that are no chance any more
DEATHS_WITHIN_SECONDS = 600.0
DEATH_HOLD_SECONDS = 600.0
LONGEST_HOLD_SECONDS = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Trouble:
    """Nothing can be launched: why, since when, and from when on the listing should go.

    `rehearsable`: a rehearsal may say that it is over; else it is over by itself at `until`.
    """

    reason: str
    since: float
    sure_at: float
    until: float
    rehearsable: bool


@dataclass(slots=True)
class _Spell:
    """One kind of trouble in one place; `count` spells without a success between them."""

    since: float
    last_at: float
    reason: str
    count: int = 0
    times: list[float] = field(default_factory=list)
    over: bool = False

    def hold(self, seconds: float) -> float:
        """Until when it is waited out."""
        doubled: float = seconds * 2.0 ** min(max(self.count - 1, 0), 20)
        return self.last_at + min(doubled, LONGEST_HOLD_SECONDS)


class LaunchTrouble:
    """The spells of all regions. Times are unix seconds, passed in."""

    def __init__(self) -> None:
        self._refused: dict[InstanceType, _Spell] = {}
        self._deaths: dict[Region, _Spell] = {}

    def refused(self, kind: InstanceType, reason: str, now: float) -> None:
        """EC2 refused a launch for something that is ours to mend, or did not answer it."""
        spell = self._refused.get(kind)
        if spell is None or spell.over:
            count = spell.count + 1 if spell else 1
            spell = self._refused[kind] = _Spell(now, now, reason, count)
        spell.last_at, spell.reason = now, reason

    def launched(self, kind: InstanceType) -> None:
        """EC2 took a launch: nothing is refused there any more."""
        self._refused.pop(kind, None)

    def rehearsed(self, kind: InstanceType, now: float) -> None:
        """EC2 says that it would take a launch; believed some time after the last refusal."""
        spell = self._refused.get(kind)
        if spell is not None and now >= spell.hold(REFUSED_HOLD_SECONDS):
            spell.over = True

    def died(self, instance: Instance, now: float) -> None:
        """An instance ended that nobody here had ended, before it had proven anything."""
        reason = instance.state_reason or "without a reason"
        spell = self._deaths.setdefault(instance.region, _Spell(now, now, reason))
        spell.times = [at for at in spell.times if now - at < DEATHS_WITHIN_SECONDS] + [now]
        many = len(spell.times) >= DEATHS or spell.count > 0
        if many and (spell.count == 0 or now >= spell.hold(DEATH_HOLD_SECONDS)):
            spell.count, spell.since = spell.count + 1, now
        spell.last_at, spell.reason = now, f"{instance.id} died at once: {reason}"

    def proven(self, region: Region) -> None:
        """An enclave of the region has proven itself."""
        self._deaths.pop(region, None)

    def of(self, kind: InstanceType, now: float) -> Trouble | None:
        """What keeps the type from being launched now; None: nothing that is known."""
        spell = self._refused.get(kind)
        if spell is not None and not spell.over:
            until = spell.hold(REFUSED_HOLD_SECONDS)
            text = f"no launch passes: {spell.reason}"
            return Trouble(text, spell.since, spell.since + SURE_SECONDS, until, rehearsable=True)
        dying = self._deaths.get(Region(kind.region))
        if dying is None or not dying.count:
            return None
        until = dying.hold(DEATH_HOLD_SECONDS)
        text = f"new instances end at once: {dying.reason}"
        since = dying.since
        found = Trouble(text, since, since, until, rehearsable=False)
        return found if now < until else None

    def near(self, region: Region) -> bool:
        """Whether another type of the region is refused: then this one may be, too."""
        return any(
            kind.region == region and not spell.over for kind, spell in self._refused.items()
        )
