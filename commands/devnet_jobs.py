"""`oyster-provider devnet job open|deposit|...`: what users do on a devnet with Marlin's market."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.devnet_json import owned_job
from commands.devnet_money import dollars
from commands.terminal import MOST_JOB, print_json, say

if TYPE_CHECKING:
    from collections.abc import Callable

    from devnet.owners import Owners
    from devnet.state import Person

Dir = Annotated[Path, typer.Option("--dir", help="The devnet's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]
Job = Annotated[int, typer.Argument(min=0, max=MOST_JOB, help="The job's id; the first is 0.")]
Amount = Annotated[str, typer.Argument(help="Test dollars.")]
DEFAULT_DIR = Path(".devnet")


def open_job(
    instance_type: Annotated[str, typer.Argument(help="REGION/TYPE, as its rate card has it.")],
    url: Annotated[str, typer.Argument(help="The enclave image: ipfs://CID.")],
    rate: Annotated[str, typer.Option(help="What you pay, for example 1.5/h.")] = "10/h",
    balance: Annotated[str, typer.Option(help="Test dollars that are paid in.")] = "10",
    memory: Annotated[int, typer.Option(min=1, help="MiB of the enclave.")] = 1024,
    vcpu: Annotated[int, typer.Option(min=1, help="CPUs of the enclave.")] = 2,
    directory: Dir = DEFAULT_DIR,
    as_json: AsJson = False,
) -> None:
    """Open a job at the devnet's provider, with metadata as Marlin's command line writes it."""
    from agent.market.model import InstanceType
    from agent.market.price import Price
    from agent.market.workload import Workload

    kind, price = InstanceType.parse(instance_type), Price.parse(rate, decimals=6)
    owners, user = _market(directory)
    provider = owners.market.devnet.person("provider")
    work = Workload(url, memory, vcpu)
    job = owners.open(user, provider, kind, work, price.raw, dollars(balance))
    _show(owners, job, as_json)


def deposit(
    job: Job, amount: Amount, directory: Dir = DEFAULT_DIR, as_json: AsJson = False
) -> None:
    """Add to a job's balance."""
    paid = dollars(amount)
    _do(directory, as_json, job, lambda owners, user: owners.deposit(user, job, paid))


def withdraw(
    job: Job, amount: Amount, directory: Dir = DEFAULT_DIR, as_json: AsJson = False
) -> None:
    """Take from a job's balance what a notice does not need."""
    taken = dollars(amount)
    _do(directory, as_json, job, lambda owners, user: owners.withdraw(user, job, taken))


def revise(
    job: Job,
    rate: Annotated[
        str | None,
        typer.Argument(help="A rate to announce: 2/h; without, the announced holds."),
    ] = None,
    directory: Dir = DEFAULT_DIR,
    as_json: AsJson = False,
) -> None:
    """Announce another rate, or have the announced one hold once it has waited its time."""
    from agent.market.price import Price

    raw = None if rate is None else Price.parse(rate, decimals=6).raw

    def change(owners: Owners, user: Person) -> None:
        owners.revise(user, job) if raw is None else owners.announce(user, job, raw)

    _do(directory, as_json, job, change)


def update(
    job: Job,
    url: Annotated[str, typer.Argument(help="Another image: ipfs://CID.")],
    directory: Dir = DEFAULT_DIR,
    as_json: AsJson = False,
) -> None:
    """Have a job run another image in place; all else of its metadata stays."""
    from faults import Refused

    def change(owners: Owners, user: Person) -> None:
        try:
            fields = dict(json.loads(owners.job(job)["metadata"]))
        except ValueError:
            raise Refused(f"job {job} has no metadata that could be changed") from None
        owners.update(user, job, json.dumps({**fields, "url": url}, separators=(",", ":")))

    _do(directory, as_json, job, change)


def notice(job: Job, directory: Dir = DEFAULT_DIR, as_json: AsJson = False) -> None:
    """Announce rate 0, which is the notice of a job's end; `close` ends it after its time."""
    _do(directory, as_json, job, lambda owners, user: owners.announce(user, job, 0))


def close(job: Job, directory: Dir = DEFAULT_DIR, as_json: AsJson = False) -> None:
    """End a job whose notice has waited its time, or whose rate is 0; the rest is paid back."""
    _do(directory, as_json, job, lambda owners, user: owners.close(user, job))


def add_to(app: typer.Typer) -> None:
    """These commands beside those of the registry."""
    app.command("open")(open_job)
    app.command()(deposit)
    app.command()(withdraw)
    app.command()(revise)
    app.command()(update)
    app.command()(notice)
    app.command()(close)


def _do(directory: Path, as_json: bool, job: int, change: Callable[[Owners, Person], None]) -> None:
    owners, user = _market(directory)
    change(owners, user)
    _show(owners, job, as_json)


def _market(directory: Path) -> tuple[Owners, Person]:
    from devnet import state
    from devnet.owners import Owners
    from devnet.people import Market, connect
    from faults import UsageFault

    devnet = state.read(directory)
    if devnet.market != "marketv1":
        text = f"this is of marketv1, and the devnet's market is the {devnet.market}"
        raise UsageFault(f"{text}: `devnet up --market marketv1` has it")
    return Owners(Market(connect(devnet.rpc_url), devnet)), devnet.person("user")


def _show(owners: Owners, job: int, as_json: bool) -> None:
    stored = owners.job(job)
    if as_json:
        print_json(owned_job(job, stored))
        return
    fields: dict[str, Any] = {"id": job, **stored}
    say(f"job {job}")
    for name, value in fields.items():
        say(f"  {name:<11}  {value if value != '' else '-'}")
