"""Which instances are too many for one attempt. Pure; the caller acts on the answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cloud.model import Identity, Instance


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
