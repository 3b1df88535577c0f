"""What went through a job's instances, by the running agent's word, as `jobs show` prints it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Hosts = Sequence[dict[str, Any]]


def to_json(hosts: Hosts | None) -> list[dict[str, Any]] | None:
    """For programs; None: no agent answers."""
    if hosts is None:
        return None
    names = ("bytes_in", "bytes_out", "drops")
    return [
        {"instance": host["instance"], **{name: host["traffic"][name] for name in names}}
        for host in hosts
        if host.get("traffic")
    ]


def facts_of(hosts: Hosts | None) -> list[tuple[str, object]]:
    """For people; nothing where nothing is told."""
    told = [host for host in hosts or () if host.get("traffic") and _is_any(host["traffic"])]
    return [("traffic", f"{host['instance']}: {host['traffic']['words']}") for host in told]


def _is_any(traffic: Mapping[str, Any]) -> bool:
    """A host tells its totals every ten minutes: before that there is nothing to say."""
    return any(traffic[name] for name in ("bytes_in", "bytes_out", "drops"))
