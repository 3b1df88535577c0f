"""What `devnet ... --json` says: the contract's own fields, in the dialect of all commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from commands.dialect import moment, price, tokens

if TYPE_CHECKING:
    from agent.markets.token import Token
    from devnet.state import Devnet

_TIMES = {
    "assignedAt": "assigned_at", "startedAt": "started_at", "stoppedAt": "stopped_at",
    "exitRequestedAt": "exit_requested_at", "settledUntil": "settled_until",
}  # fmt: skip


def dollars_token() -> Token:
    """The test dollars that jobs are paid in."""
    from agent.market.model import ZERO_ADDRESS
    from agent.markets.token import Token

    return Token(ZERO_ADDRESS, "tUSD", 6)


def held_job(job: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A job as the registry stores it."""
    from agent.market.model import JobStatus, Price, StopReason

    money = dollars_token()
    return {
        "job": job, "user": fields["user"], "provider": fields["provider"],
        "instance_type": fields["instanceType"], "enclave_url": fields["enclaveUrl"],
        "max_price": price(Price(fields["maxPrice"]), money),
        "price": price(Price(fields["price"]), money), "generation": fields["generation"],
        "status": JobStatus(fields["status"]).name.lower(),
        "stop_reason": StopReason(fields["stopReason"]).name.lower(),
        **{name: moment(fields[of]) for of, name in _TIMES.items()},
        "escrow": tokens(fields["escrow"], money), "endpoint": fields["endpoint"],
    }  # fmt: skip


def owned_job(job: int, fields: Mapping[str, Any]) -> dict[str, Any]:
    """A job as MarketV1 stores it; all of it empty when closed or never opened."""
    from agent.market.model import Price

    money = dollars_token()
    return {
        "job": job, "metadata": fields["metadata"], "owner": fields["owner"],
        "provider": fields["provider"], "rate": price(Price(fields["rate"]), money),
        "balance": tokens(fields["balance"], money),
        "last_settled": moment(fields["lastSettled"]),
    }  # fmt: skip


def devnet_json(devnet: Devnet, notices: Sequence[str]) -> dict[str, Any]:
    """Where everything of a devnet is, and what its parts have to tell."""
    return {
        "pid": devnet.pid, "rpc": devnet.rpc_url, "chain_id": devnet.chain_id,
        "market": devnet.market, "boot": devnet.boot, "registry": devnet.registry,
        "pond": devnet.pond,
        "payment_token": devnet.payment_token, "aws": devnet.aws_endpoint,
        "ipfs": devnet.ipfs_gateway, "config": devnet.config_files.get("provider", ""),
        "hosts": list(devnet.hosts), "notices": list(notices),
        "accounts": {name: person.address for name, person in devnet.people.items()},
    }  # fmt: skip
