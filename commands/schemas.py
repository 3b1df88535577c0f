"""JSON Schemas of what `--json` prints, one a command: those of every day. `schemas_tools.py` has
the others, `schema_pages.py` writes docs/json. The tests hold what the program prints against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

DRAFT = "https://json-schema.org/draft/2020-12/schema"
TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
ADDRESS: Schema = {"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}
HASH: Schema = {"type": "string", "pattern": "^0x[0-9a-f]{64}$"}
DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
TYPE: Schema = {"type": "string", "description": "REGION/TYPE"}
MOMENT: Schema = {
    "type": "string",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z$",
    "description": "ISO 8601, UTC",
}
ANYTHING: Schema = {}


def record(properties: Mapping[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    """An object with these members and no other."""
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def rows(of: Schema) -> Schema:
    """Any number of these."""
    return {"type": "array", "items": of}


def maybe(of: Schema) -> Schema:
    """One of these, or null: there is none, or it is not known."""
    return {"anyOf": [of, {"type": "null"}]}


UNITS: Schema = {"type": "string", "pattern": "^-?[0-9]+$", "description": "base units"}
AMOUNT = record({"units": UNITS, "symbol": TEXT, "decimals": WHOLE})
PRICE = record({"units": UNITS, "symbol": TEXT, "decimals": WHOLE, "per": {"const": "second"}})
DECIMAL: Schema = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$"}

MINED = record({"call": TEXT, "hash": HASH, "block": WHOLE, "fee": AMOUNT})
PLANNED = record(
    {"call": TEXT, "text": TEXT, "to": ADDRESS, "fee": AMOUNT, "estimated": FLAG}
)  # fmt: skip
COURSE = record(
    {
        "until": MOMENT, "earns": maybe(AMOUNT), "costs": maybe(AMOUNT), "leaves": maybe(AMOUNT),
        "gas": AMOUNT,
    }
)  # fmt: skip
ADVICE = record(
    {
        "job": WHOLE, "advice": {"enum": ["stay", "leave", "unknown"]}, "why": TEXT,
        "stay": COURSE, "leave": COURSE, "stake": AMOUNT,
    }
)  # fmt: skip
DRY = record({"dry_run": {"const": True}, "steps": rows(PLANNED), "doubts": rows(TEXT)})
SENT = record({"dry_run": {"const": False}, "transactions": rows(MINED)})
OFFERED = record(
    {
        "dry_run": {"const": False}, "transactions": rows(MINED),
        "through": {"enum": ["agent", "command"]}, "block": WHOLE,
    }
)  # fmt: skip
ORDERED = record(
    {"order": TEXT, "dry_run": FLAG, "taken_up": FLAG}, optional=("taken_up",)
)  # fmt: skip
EVENT = record(
    {
        "at": MOMENT, "name": TEXT, "generation": maybe(WHOLE),
        "level": {"enum": ["debug", "info", "warning", "error"]}, "text": TEXT,
        "fields": {"type": "object"},
    }
)  # fmt: skip
NOTICE = record({"price": PRICE, "at": MOMENT})
WORKLOAD = record(
    {
        "memory_mib": WHOLE, "cpu_count": WHOLE, "family": TEXT, "debug": FLAG,
        "init_params_sha256": maybe(DIGEST),
    }
)  # fmt: skip
JOB = {
    "job": WHOLE, "user": ADDRESS, "provider": ADDRESS, "instance_type": TYPE, "price": PRICE,
    "max_price": PRICE, "enclave_url": TEXT, "generation": WHOLE, "status": TEXT,
    "stop_reason": TEXT, "assigned_at": maybe(MOMENT), "started_at": maybe(MOMENT),
    "exit_requested_at": maybe(MOMENT), "stopped_at": maybe(MOMENT), "escrow": AMOUNT,
    "settled_until": maybe(MOMENT), "endpoint": TEXT, "state": TEXT, "deadline": maybe(MOMENT),
    "deadline_is": TEXT, "refused": TEXT, "notice": maybe(NOTICE), "workload": maybe(WORKLOAD),
    "accrued": AMOUNT, "earned": maybe(AMOUNT), "block": WHOLE,
}  # fmt: skip
PROOFS = record(
    {
        "image_named_by": maybe({"enum": ["url", "digest", "cid"]}), "image_sha256": maybe(DIGEST),
        "known_image": maybe(TEXT), "attested_at": maybe(MOMENT), "image_attested": FLAG,
        "init_params_proven": maybe(FLAG),
    }
)  # fmt: skip
TRAFFIC = record(
    {"instance": TEXT, "bytes_in": WHOLE, "bytes_out": WHOLE, "drops": {"type": "object"}}
)
PART = record(
    {
        "kind": TEXT, "name": TEXT, "grade": {"enum": ["ok", "warn", "fail"]}, "text": TEXT,
        "todo": TEXT, "line": TEXT,
    }
)  # fmt: skip

SCHEMAS: Mapping[str, Schema] = {
    "stake": {"anyOf": [SENT, DRY]},
    "unstake": {"anyOf": [SENT, DRY]},
    "register": {"anyOf": [OFFERED, DRY]},
    "offers set": {"anyOf": [OFFERED, DRY]},
    "offers remove": {"anyOf": [OFFERED, DRY]},
    "offers list": rows(
        record(
            {
                "type": TYPE, "rule": TEXT, "rank": maybe(WHOLE), "listed": WHOLE,
                "price": maybe(PRICE),
                "configured": maybe(PRICE), "cheapest_other": maybe(PRICE), "cost": maybe(PRICE),
                "cost_source": TEXT, "margin_per_hour": maybe(NUMBER), "refusals": TEXT,
            }
        )
    ),
    "offers rules": rows(
        record(
            {
                "type": TYPE, "rule": TEXT, "why": TEXT, "cost": maybe(PRICE),
                "cost_source": TEXT, "floor": maybe(PRICE), "cheapest_other": maybe(PRICE),
                "asked": maybe(PRICE), "goal": maybe(PRICE), "next": maybe(PRICE),
            }
        )
    ),
    "rehearse": record(
        {
            "type": TYPE, "instance": TEXT, "stages": {"type": "object"},
            "up_seconds": maybe(NUMBER), "window_seconds": WHOLE, "in_time": FLAG,
            "billed_seconds": NUMBER, "cost_tokens": maybe(DECIMAL), "fault": TEXT, "left": TEXT,
        }
    ),
    "capacity": rows(
        record(
            {"type": TYPE, "more": WHOLE, "limited_by": TEXT, "aws": WHOLE, "stake": maybe(WHOLE)}
        )
    ),
    "jobs list": rows(record(JOB)),
    "jobs show": record(
        {**JOB, "proofs": PROOFS, "traffic": maybe(rows(TRAFFIC)), "timeline": rows(EVENT)}
    ),
    "jobs logs": rows(EVENT),
    "jobs confirm-terminations": record({"ordered": TEXT, "job": maybe(WHOLE)}),
    "exit": {
        "anyOf": [
            record(
                {
                    "order": TEXT, "job": maybe(WHOLE), "jobs": rows(WHOLE),
                    "over_at": maybe(MOMENT), "fee": AMOUNT, "dry_run": FLAG, "taken_up": FLAG,
                },
                optional=("over_at", "fee"),
            ),
            rows(ADVICE),
        ]
    },
    "pause": ORDERED,
    "resume": ORDERED,
    "doctor": rows(
        record(
            {
                "check": TEXT, "verdict": {"enum": ["ok", "warn", "fail", "skip"]}, "found": TEXT,
                "todo": TEXT,
            }
        )
    ),
    "config check": record({"path": TEXT, "sound": FLAG, "problems": rows(TEXT)}),
    "notify test": record({"places": WHOLE}),
    "config diff": record({"agrees": FLAG, "differences": rows(TEXT)}),
    "service status": record({"unit": TEXT, "active": TEXT, "enabled": TEXT, "agent": TEXT}),
    "status": {
        "type": "object",
        "properties": {
            "now": MOMENT, "started_at": MOMENT, "progress_at": MOMENT, "provider": TEXT,
            "chain_id": WHOLE, "version": TEXT, "stalled": FLAG, "closed": TEXT,
            "health": record({"word": TEXT, "parts": rows(PART)}), "file": rows(TEXT),
            "notices": rows(TEXT), "jobs": rows({"type": "object"}),
            "types": rows({"type": "object"}), "chain": {"type": "object"},
            "money": {"type": "object"},
        },
        "required": ["now", "started_at", "provider", "health", "jobs", "types", "chain", "money"],
    },
}  # fmt: skip
