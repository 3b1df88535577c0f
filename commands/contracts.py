"""`oyster-provider contracts ...`: the reference contracts. Thin: parse, call, print."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.terminal import DryRunOption, YesOption, agree, print_json, say
from faults import Refused, UsageFault

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount
    from eth_typing import ChecksumAddress

    from contracts.deploy import Deployment, Rehearsal

app = typer.Typer(no_args_is_help=True, help="Deploy the reference contracts of the market.")


@app.callback()
def _root() -> None:
    """Keeps `contracts` a group of commands however many there are."""


@app.command(
    epilog="Example: oyster-provider contracts deploy --rpc-url http://127.0.0.1:8545"
    " --key-file key --stake-per-job 1000 --job-bootstrapping 300 --job-startup 600"
    " --job-exit-cooldown 3600 --auditor 0x70997970C51812dc3A010C7d01b50e0d17dc79C8 --quorum 1"
)
def deploy(
    rpc_url: Annotated[str, typer.Option(help="HTTP JSON-RPC endpoint of the chain.")],
    key_file: Annotated[Path, typer.Option(help="Raw private key in hex, mode 0600; it pays.")],
    stake_per_job: Annotated[int, typer.Option(min=1, help="POND base units locked per job.")],
    job_bootstrapping: Annotated[int, typer.Option(min=1, help="Seconds to bring a job up.")],
    job_startup: Annotated[int, typer.Option(min=1, help="Seconds until a job can be faulted.")],
    job_exit_cooldown: Annotated[int, typer.Option(min=0, help="Seconds of notice for an exit.")],
    auditor: Annotated[list[str], typer.Option(help="Who may report faults; repeat it.")],
    quorum: Annotated[int, typer.Option(min=1, help="Auditors whose reports slash.")],
    pond: Annotated[str | None, typer.Option(help="POND; a mintable test token if absent.")] = None,
    payment_token: Annotated[
        str | None, typer.Option(help="What jobs are paid in; a mintable test token if absent.")
    ] = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show what a market costs, ask, deploy it and print where it is."""
    from web3 import HTTPProvider, Web3

    from agent.config.units import show_coin
    from contracts import deploy as deployment

    deployment.check_auditors(named := [_address(each, "--auditor") for each in auditor])
    account, node = _account(key_file), Web3(HTTPProvider(_node_url(rpc_url)))
    ponds = _address(pond, "--pond") if pond else None
    money = _address(payment_token, "--payment-token") if payment_token else None
    missing = (ponds is None) + (money is None)
    plan = deployment.rehearse(node, account, tokens=missing)
    if dry_run or not as_json:
        _show_plan(plan, as_json=as_json)
    if dry_run:
        return
    if plan.balance_wei < plan.cost_wei:
        raise Refused(f"{plan.payer} has {show_coin(plan.balance_wei)}; send it the cost first")
    agree("Deploy?", yes=yes, as_json=as_json)
    terms = deployment.Params(
        stake_per_job, job_bootstrapping, job_startup, job_exit_cooldown, quorum
    )
    done = deployment.deploy(node, account, terms, named, pond=ponds, payment_token=money)
    _print(done, as_json=as_json)


def _account(path: Path) -> LocalAccount:
    """The account of a raw key file that nobody but its owner can read."""
    from eth_account import Account

    from agent.chain.wallet import open_raw

    account: LocalAccount = Account.from_key(open_raw(path).to_hex())
    return account


def _node_url(text: str) -> str:
    """Never shown: it may carry a key."""
    if not (text.startswith(("http://", "https://")) and text.isascii() and text.isprintable()):
        raise UsageFault("--rpc-url: write the node's http:// or https:// address")
    return text


def _address(text: str, option: str) -> ChecksumAddress:
    from eth_utils.address import is_address, to_checksum_address

    if not is_address(text):
        raise UsageFault(f"{option} {text} is no address (0x and 40 hex digits)")
    return to_checksum_address(text)


def _show_plan(plan: Rehearsal, *, as_json: bool) -> None:
    from agent.config.units import show_coin
    from commands.dialect import coin

    if as_json:
        values = {
            "chain_id": plan.chain_id, "payer": plan.payer, "balance": coin(plan.balance_wei),
            "contracts": list(plan.contracts), "gas": plan.gas, "cost": coin(plan.cost_wei),
        }  # fmt: skip
        print_json(values)
        return
    say(f"deploy {', '.join(plan.contracts)} on chain {plan.chain_id}")
    say(
        f"{plan.payer} pays about {show_coin(plan.cost_wei)} for {plan.gas} gas, "
        f"of {show_coin(plan.balance_wei)}"
    )


def _print(done: Deployment, *, as_json: bool) -> None:
    values = {
        "chain_id": done.chain_id,
        "registry": done.registry,
        "pond": done.pond,
        "payment_token": done.payment_token,
        "block": done.block,
    }
    if as_json:
        print_json(values)
        return
    for name, value in values.items():
        say(f"{name:<15}{value}")
