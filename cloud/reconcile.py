"""Which instances are too many: duplicates and orphans. Pure; the caller acts on the answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cloud.model import Identity, Instance

# A launch whose job this agent has not seen yet (another process launched it, or the chain's
# answer is older than the listing) is no orphan; a few minutes of a small instance cost a cent.
ORPHAN_GRACE_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Duplicates:
    """Live instances of one job, generation and attempt: one stays, the others go."""

    identity: Identity
    stays: Instance
    go: tuple[Instance, ...]


def duplicates(listed: Iterable[Instance]) -> Sequence[Duplicates]:
    """Every attempt that more than one live instance serves; the oldest stays, then the lowest id.

    The same answer from every reader of the same listing, so two of them never end both.
    """
    served: dict[Identity, list[Instance]] = defaultdict(list)
    for instance in listed:
        if instance.live:
            served[instance.identity].append(instance)
    found = []
    for identity, instances in served.items():
        if len(instances) > 1:
            first, *rest = sorted(instances, key=lambda one: (one.launched_at, one.id))
            found.append(Duplicates(identity, first, tuple(rest)))
    return found


def orphans(
    listed: Iterable[Instance],
    wanted: Iterable[tuple[int, int]],
    *,
    now: float,
    grace_seconds: float = ORPHAN_GRACE_SECONDS,
) -> Sequence[Instance]:
    """Live instances that no (job, generation) in `wanted` explains, older than the grace age.

    List the cloud before the chain: a job that was assigned after the listing cannot have an
    instance in it, whereas with the chain first an instance launched in between would look like
    an orphan. The grace age covers what other processes launch.
    """
    explained = frozenset(wanted)
    return [
        instance
        for instance in listed
        if instance.live
        and (instance.identity.job, instance.identity.generation) not in explained
        and now - instance.launched_at >= grace_seconds
    ]
