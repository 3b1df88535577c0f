"""How many of the process's descriptors visitors of the status addresses may take.

Each connection that is taken there is a descriptor that the agent lacks for nodes, AWS, enclaves
and images. The process has as many as its limit says; what the agent needs at its busiest is kept
back first, and the rest is shared among the addresses.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

# The agent's own at its busiest: 256 enclaves that are asked at once (`apply.attester`), some 60
# connections to AWS and 40 to nodes and gateways, journal, logs, images and the machine's own.
AGENT = 448
WANTED = 4096  # what the process asks of its limit, far above all of it together
MOST = 128  # of one address: far above what a browser, a Prometheus and an auditor need together
MOST_FROM_LOOPBACK = 32
BACKLOG = 64  # what the event loop takes at once from the kernel, before any of it is counted
LEAST = 4  # of each, however few descriptors there are: /healthz is asked


@dataclass(frozen=True, slots=True)
class Share:
    """One address's: connections from elsewhere, from loopback, and at once from the kernel."""

    most: int
    most_from_loopback: int
    backlog: int

    @property
    def total(self) -> int:
        return self.most + self.most_from_loopback + self.backlog


FULL = Share(MOST, MOST_FROM_LOOPBACK, BACKLOG)


def share_of(limit: int, addresses: int) -> Share:
    """What each of so many addresses may take of `limit` descriptors."""
    each = max(0, limit - AGENT) // max(1, addresses)
    part = min(1.0, each / FULL.total)
    sizes = (max(LEAST, int(part * size)) for size in (MOST, MOST_FROM_LOOPBACK, BACKLOG))
    return Share(*sizes)


def raised_limit() -> int:
    """The process's soft limit, after it was raised as far as the hard one lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return WANTED
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if wanted > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft < AGENT:
        log.warning("descriptors.few", limit=soft, needed=AGENT, todo="raise LimitNOFILE")
    return soft
