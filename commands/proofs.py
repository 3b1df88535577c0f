"""What is proven of a job, as `jobs show` prints it."""

from __future__ import annotations

from typing import Any

from agent.load.proofs import Proofs, said
from commands.amounts import show_time
from commands.dialect import moment


def to_json(proofs: Proofs) -> dict[str, Any]:
    """For programs."""
    return {
        "image_named_by": proofs.named_by or None, "image_sha256": proofs.sha256 or None,
        "known_image": proofs.known or None, "attested_at": moment(int(proofs.attested_at)),
        "image_attested": bool(proofs.attested_at) and not proofs.debug,
        "init_params_proven": proofs.init_params,
    }  # fmt: skip


def facts_of(proofs: Proofs) -> list[tuple[str, object]]:
    """For people; with the time of the newest proof."""
    at = f", at {show_time(int(proofs.attested_at))}" if proofs.attested_at else ""
    return [(name, text + at if name == "proven" else text) for name, text in said(proofs)]
