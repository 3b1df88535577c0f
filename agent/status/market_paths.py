"""What tools of the live market ask a provider for: /ip, /spec and /bandwidth, in their shapes.

The shapes are those of Marlin's control plane: 256-bit numbers as hex texts, job ids as 32-byte
hex texts (decimal ones are taken too), and 400 BAD_REQUEST for whatever has no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from agent.decide.job_view import parse_instance_type
from agent.market.model import InstanceType, Price
from agent.markets.marketv1 import cards
from agent.markets.marketv1.cards import ARCHITECTURES, RateCard, TrafficRate
from agent.status.source import JobRow, JobState, TypeRow, View

_JOB_ID = re.compile(r"(?:0x[0-9a-fA-F]{1,64}|[0-9]{1,20})\Z")
_SERVED = frozenset({JobState.BOOTSTRAPPING, JobState.RUNNING, JobState.EXITING})


def number_of(job_id: str | None) -> int | None:
    """The job that is asked for; None: that is no job's id."""
    if not job_id or not _JOB_ID.match(job_id):
        return None
    return int(job_id, 16) if job_id.startswith("0x") else int(job_id)


def ip_of(job: JobRow | None, region: str | None) -> str | None:
    """The public address of the job's instance in that region; None when there is none."""
    if job is None or not region or job.region != region or job.state not in _SERVED:
        return None
    return job.public_ip or None


def why_not(job: JobRow | None) -> str:
    """Why a job is not served, in a line; empty: nothing is known of it, or it is served."""
    if job is None or job.stage != "refused":
        return ""
    return f"job {job.id} is refused: {job.note}"


def spec(view: View, files: Iterable[RateCard] = ()) -> dict[str, Any]:
    """Regions, and the types on offer in each with the least price; `files` are cards of files."""
    return cards.spec(_regions(view), [*_cards(view), *files])


def _regions(view: View) -> set[str]:
    return {row.instance_type.partition("/")[0] for row in view.types} | {*view.regions}


def bandwidth(view: View, rates: Iterable[TrafficRate] = ()) -> dict[str, Any]:
    """What traffic costs by region, nothing where no file says; and what each type has of it.

    `instances` is ours: the baseline that EC2 states for the type, of those that it states one for.
    The tools of the live market read `rates` alone.
    """
    return {
        "instances": [
            {
                "region": row.instance_type.partition("/")[0],
                "instance": row.instance_type.partition("/")[2],
                "baseline_mbps": row.network_mbps,
            }
            for row in view.types
            if row.network_mbps
        ],
        **cards.bandwidth(_regions(view), rates),
    }


def _cards(view: View) -> list[RateCard]:
    shown = (row for row in view.types if not row.hidden)
    read = ((row, parse_instance_type(row.instance_type)) for row in shown)
    return [_card(row, kind) for row, kind in read if kind is not None]


def _card(row: TypeRow, kind: InstanceType) -> RateCard:
    """The room of an enclave on the type: tools write it into the jobs that they open."""
    arch = ARCHITECTURES.get(row.architecture, row.architecture)
    return RateCard(kind, Price(row.price), row.vcpus, row.memory_mib, arch)
