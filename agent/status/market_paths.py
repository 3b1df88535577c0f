"""What tools of the live market ask a provider for: /ip, /spec and /bandwidth, in their shapes.

The shapes are those of Marlin's control plane: 256-bit numbers as hex texts, job ids as 32-byte
hex texts (decimal ones are taken too), and 400 BAD_REQUEST for whatever has no answer.
"""

from __future__ import annotations

import re
from typing import Any

from agent.status.source import JobState, TypeRow, View

_JOB_ID = re.compile(r"(?:0x[0-9a-fA-F]{1,64}|[0-9]{1,20})\Z")
_ARCHITECTURES = {"x86_64": "amd64", "arm64": "arm64"}
# What traffic is charged beyond a job's price: nothing is, the protocol has no such payment.
BANDWIDTH_RATE = 0
_SERVED = frozenset({JobState.BOOTSTRAPPING, JobState.RUNNING, JobState.EXITING})


def ip_of(view: View, job_id: str | None, region: str | None) -> str | None:
    """The public address of the job's instance in that region; None when there is none."""
    if not job_id or not region or not _JOB_ID.match(job_id):
        return None
    number = int(job_id, 16) if job_id.startswith("0x") else int(job_id)
    for job in view.jobs:
        if job.id == number and job.region == region and job.state in _SERVED:
            return job.public_ip or None
    return None


def spec(view: View) -> dict[str, Any]:
    """Regions, and the types on offer in each with the least price."""
    regions = sorted({row.instance_type.partition("/")[0] for row in view.types} | {*view.regions})
    return {
        "allowed_regions": regions,
        "min_rates": [{"region": region, "rate_cards": _cards(view, region)} for region in regions],
    }


def bandwidth(view: View) -> dict[str, Any]:
    """What traffic costs by region, nothing beyond the job's price; and what each type has of it.

    `instances` is ours: the baseline that EC2 states for the type, of those that it states one for.
    How the tools of the live market use /bandwidth is not published; they read `rates`.
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
        "rates": [
            {"region": region, "region_code": region, "rate": hex(BANDWIDTH_RATE)}
            for region in spec(view)["allowed_regions"]
        ],
    }


def _cards(view: View, region: str) -> list[dict[str, Any]]:
    return [_card(row) for row in view.types if row.instance_type.startswith(f"{region}/")]


def _card(row: TypeRow) -> dict[str, Any]:
    return {
        "instance": row.instance_type.partition("/")[2],
        "min_rate": hex(row.price),
        "cpu": row.vcpus,
        "memory": row.memory_mib // 1024,
        "arch": _ARCHITECTURES.get(row.architecture, row.architecture),
    }
