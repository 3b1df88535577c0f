"""JSON Schemas of what `--json` prints beside the daily commands: keys, images, cloud, contracts,
several hosts, Marlin's list of providers, a devnet. `schemas.py` has the others and the parts.
"""

from __future__ import annotations

from collections.abc import Mapping

from commands.schemas import (
    ADDRESS,
    AMOUNT,
    DECIMAL,
    DIGEST,
    DRY,
    FLAG,
    MOMENT,
    NUMBER,
    PRICE,
    SENT,
    TEXT,
    TYPE,
    WHOLE,
    Schema,
    maybe,
    record,
    rows,
)

HEX: Schema = {"type": "string", "pattern": "^([0-9a-f]{2})*$"}
PCRS: Schema = {
    "type": "object",
    "propertyNames": {"pattern": "^[0-9]+$"},
    "additionalProperties": {"type": "string", "pattern": "^[0-9a-f]{96}$"},
    "description": "by its number",
}
STEP = record({"verb": TEXT, "what": TEXT, "name": TEXT, "region": TEXT})
KEY = record(
    {"address": ADDRESS, "kind": {"enum": ["keystore", "raw", "kms"]}, "file": TEXT, "key": TEXT,
     "opened": FLAG},
    optional=("file", "key", "opened"),
)  # fmt: skip
SIGNER = record(
    {"subject": TEXT, "curve": TEXT, "sha256": DIGEST, "not_before": MOMENT, "not_after": MOMENT}
)
INSPECTED = record(
    {
        "version": maybe(WHOLE), "arch": maybe(TEXT), "size_bytes": WHOLE,
        "sections": rows(record({"type": TEXT, "offset": WHOLE, "size_bytes": WHOLE})),
        "signed": FLAG, "signer": maybe(SIGNER), "metadata": maybe({"type": "object"}),
        "pcrs": PCRS,
        "needs": record({"architecture": maybe(TEXT), "min_enclave_memory_mib": WHOLE}),
        "launchable": FLAG, "wrong": rows(record({"rule": TEXT, "text": TEXT})),
    }
)  # fmt: skip
FETCHED = record(
    {
        "cid": TEXT, "size_bytes": WHOLE, "sha256": DIGEST, "seconds": NUMBER,
        "sources": rows(TEXT), "architecture": TEXT, "pcrs": PCRS,
    }
)  # fmt: skip
VERIFIED = record(
    {
        "verified": {"const": True}, "module_id": TEXT, "instance_id": maybe(TEXT),
        "timestamp": MOMENT, "debug": FLAG, "pcrs": PCRS, "public_key": maybe(HEX),
        "user_data": maybe(HEX), "nonce": maybe(HEX), "root_sha256": DIGEST,
    }
)  # fmt: skip
DEPLOYMENT = record(
    {
        "chain_id": WHOLE, "payer": ADDRESS, "balance": AMOUNT, "contracts": rows(TEXT),
        "gas": WHOLE, "cost": AMOUNT,
    }
)  # fmt: skip
DEPLOYED = record(
    {"chain_id": WHOLE, "registry": ADDRESS, "pond": ADDRESS, "payment_token": ADDRESS,
     "block": WHOLE}
)  # fmt: skip
BAKED = record({"image": TEXT, "region": TEXT})
TO_BAKE = record(
    {"region": TEXT, "builder": TEXT, "packages": rows(TEXT), "program_sha256": DIGEST}
)
HOST = record(
    {
        "host": TEXT, "twin": FLAG, "role": {"enum": ["leads", "stands by", "ends", "gone"]},
        "term": maybe(WHOLE),
        "leads_for_seconds": maybe(NUMBER), "heard_seconds_ago": NUMBER, "version": TEXT,
        "configuration": TEXT,
    }
)  # fmt: skip
DEVNET = record(
    {
        "pid": WHOLE, "rpc": TEXT, "chain_id": WHOLE, "market": TEXT, "registry": ADDRESS,
        "pond": TEXT, "payment_token": ADDRESS, "aws": TEXT, "ipfs": TEXT, "config": TEXT,
        "boot": {"enum": ["process", "qemu"]},
        "hosts": rows(TEXT), "notices": rows(TEXT),
        "accounts": {"type": "object", "additionalProperties": ADDRESS},
    }
)  # fmt: skip
HELD_JOB = record(
    {
        "job": WHOLE, "user": ADDRESS, "provider": ADDRESS, "instance_type": TEXT,
        "max_price": PRICE, "price": PRICE, "enclave_url": TEXT, "generation": WHOLE,
        "status": TEXT, "stop_reason": TEXT, "assigned_at": maybe(MOMENT),
        "started_at": maybe(MOMENT), "exit_requested_at": maybe(MOMENT),
        "stopped_at": maybe(MOMENT), "escrow": AMOUNT, "settled_until": maybe(MOMENT),
        "endpoint": TEXT,
    }
)  # fmt: skip
OWNED_JOB = record(
    {
        "job": WHOLE, "metadata": TEXT, "owner": ADDRESS, "provider": ADDRESS, "rate": PRICE,
        "balance": AMOUNT, "last_settled": maybe(MOMENT),
    }
)  # fmt: skip
TRANSACTED: Schema = {"anyOf": [SENT, DRY]}
TOLD = record({"host": TEXT, "now": TEXT})
TITLE = {"name": TEXT, "title": TEXT}
PLACES = rows(TEXT)
COMMANDS = rows(rows(TEXT))
MONEY: Schema = {**DECIMAL, "description": "whole tokens, as the name says of which"}
REPORT_DAY = {name: maybe(MONEY) for name in ("earned_tokens", "cost_tokens", "margin_tokens")} | {
    "gas_coin": MONEY,
    "slashed_pond": MONEY,
}


def held(properties: Mapping[str, Schema]) -> Schema:
    """An object that has these members, and may get more."""
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


TOOLS: Mapping[str, Schema] = {
    **dict.fromkeys(("keys new", "keys import", "keys show"), KEY),
    "image inspect": INSPECTED,
    "image fetch": FETCHED,
    "attestation verify": {
        "anyOf": [VERIFIED, record({"verified": {"const": False}, "reason": TEXT})]
    },
    **dict.fromkeys(("cloud setup", "cloud teardown"), rows(STEP)),
    "cloud bake": {"anyOf": [BAKED, TO_BAKE]},
    "contracts deploy": {"anyOf": [DEPLOYED, DEPLOYMENT]},
    "hosts list": rows(HOST),
    "hosts yield": record({"from": TEXT, "to": TEXT, "term": WHOLE}),
    "journal copy": {"type": "object", "additionalProperties": WHOLE},
    **dict.fromkeys(("provider add", "provider update", "provider remove"), TRANSACTED),
    "provider show": record({"provider": ADDRESS, "url": TEXT, "answers": FLAG, "wrong": TEXT}),
    "import": record({"read": {"type": "object", "additionalProperties": TEXT}, "dry_run": FLAG}),
    "takeover": record(
        {
            "instances": rows(
                record(
                    {
                        "instance": TEXT, "region": TEXT, "job": maybe(WHOLE), "ends": FLAG,
                        "why": TEXT,
                    }
                )
            ),
            "addresses": rows(record({"region": TEXT, "ip": TEXT})), "unserved": rows(WHOLE),
            "agent": FLAG, "dry_run": FLAG,
        }
    ),
    "init": record({"config": TEXT}),
    "runbook": {"anyOf": [rows(record(TITLE)), record({**TITLE, "text": TEXT})]},
    "service install": record({"write": PLACES, "run": COMMANDS}),
    "service uninstall": record({"remove": PLACES, "run": COMMANDS}),
    "report": held(
        {
            "since": maybe(TEXT), "block": WHOLE, "token": TEXT, "stake_token": maybe(TEXT),
            "jobs": rows(
                held(
                    {
                        "job": WHOLE, "instance_type": TYPE, "state": TEXT,
                        "started_at": maybe(TEXT), "until": maybe(TEXT),
                        "earned_tokens": maybe(MONEY), "cost_source": TEXT,
                        "cost_tokens": maybe(MONEY), "margin_tokens": maybe(MONEY),
                        "gas_coin": MONEY, "slashed_pond": MONEY,
                    }
                )
            ),
            "days": rows(held({"day": TEXT, **REPORT_DAY})), "total": held(REPORT_DAY),
        }
    ),
    **dict.fromkeys(("devnet up", "devnet status"), DEVNET),
    "devnet down": record({"down": TEXT}),
    "devnet image build": record({"file": TEXT, "pcrs": PCRS}),
    "devnet ipfs add": record({"cid": TEXT, "url": TEXT}),
    **dict.fromkeys(
        (f"devnet job {word}" for word in ("request", "stop", "fund", "fault", "show")), HELD_JOB
    ),
    **dict.fromkeys(
        (
            f"devnet job {word}"
            for word in ("open", "deposit", "withdraw", "revise", "update", "notice", "close")
        ),
        OWNED_JOB,
    ),
    **dict.fromkeys(
        (f"devnet {word}" for word in ("kill", "start", "freeze", "thaw", "cut", "heal")), TOLD
    ),
}  # fmt: skip
