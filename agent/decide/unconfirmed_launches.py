"""Against invented jobs: the first few are bought at once, what is beyond waits for a second voice.

One endpoint's word is enough to buy an instance: minutes of it are what a lie costs. It is not
enough for forty. But one that denies a crowd of real jobs has them slashed: so each job whose start
was reported and mined, as two endpoints tell of the transaction, is one that no lie can have made,
and lets another be bought. A crowd that is denied is served in rounds that double; an invented one
never comes beyond the first. Pure: the turn says what it wants to launch, and what is on its way
unconfirmed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BurstRules:
    """`unconfirmed`: instances that are bought on one endpoint's word at the same time.

    A second endpoint answers within a second or two, so that a crowd of real jobs waits no longer
    than that; a crowd of invented ones costs so many instances until somebody looks.
    """

    unconfirmed: int = 8


@dataclass(frozen=True, slots=True)
class Wish:
    """One launch, and what speaks for its job. `waited_enough`: half of the time is gone in which a
    second endpoint could have been heard and the job still be started."""

    agreed: bool
    disputed: bool
    waited_enough: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is before it: instances that were bought on one endpoint's word alone, jobs that
    are to be served, and how many of them the stake is for (None: not known)."""

    unconfirmed: int
    served: int
    stake_is_for: int | None = None
    proven: int = 0


def admits(wish: Wish, standing: Standing, rules: BurstRules) -> str:
    """Why this launch has to wait; empty: it need not.

    A silent second endpoint is waited for as long as the job can still be started; one that says
    the contrary is not overruled by time. The stake bounds what is unconfirmed whoever lies.
    """
    most = rules.unconfirmed + standing.proven
    if wish.agreed or standing.unconfirmed < most:
        return ""
    if wish.disputed or not wish.waited_enough:
        return f"{most} instances are bought on one endpoint's word: a second first"
    if standing.stake_is_for is not None and standing.served > standing.stake_is_for:
        return f"the stake is for {standing.stake_is_for} jobs, and {standing.served} are told"
    return ""
