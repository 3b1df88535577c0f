"""`oyster-provider cloud ...`: what the agent needs in AWS. Thin: parse, call, print."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands import completion
from commands.terminal import ConfigOption, DryRunOption, JsonOption, how_many, say

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.config import Config
    from cloud.account.policies import Scope
    from cloud.account.steps import Step
    from cloud.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Prepare AWS: buckets, the hosts' role, an image.")


@app.callback()
def _root() -> None:
    """Keeps `cloud` a group of commands however many there are."""


@app.command()
def setup(
    config: ConfigOption = None, dry_run: DryRunOption = False, as_json: JsonOption = False
) -> None:
    """Create what is missing in each configured region: bucket, security group, role."""
    from agent.config import load
    from cloud.account.setup import Setup
    from cloud.clients import Clients

    loaded = load(config)
    clients = Clients(loaded.aws.endpoint_url)
    try:
        _do(Setup(clients, settings_of(loaded)).plan(), dry_run, as_json)
    finally:
        clients.close()


@app.command()
def teardown(
    config: ConfigOption = None,
    dry_run: DryRunOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    without_chain: Annotated[
        bool,
        typer.Option(
            "--without-chain", help="Do not ask the chain for jobs: the key or the market is gone."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Remove what setup created, staged images included. Refused while jobs or instances live."""
    from agent.config import load
    from cloud.account.teardown import Teardown
    from cloud.clients import Clients
    from faults import UsageFault

    loaded = load(config)
    if not without_chain:
        _refuse_jobs(loaded)
    clients = Clients(loaded.aws.endpoint_url)
    try:
        steps = Teardown(clients, settings_of(loaded)).plan()
        if steps and not (dry_run or yes):
            if as_json:
                raise UsageFault("teardown --json does not ask: say --yes or --dry-run")
            _show(steps)
            typer.confirm("Remove these?", abort=True)
        _do(steps, dry_run, as_json)
    finally:
        clients.close()


@app.command()
def bake(
    region: Annotated[
        str,
        typer.Option(help="Where; an image is of one region.", autocompletion=completion.regions),
    ],
    config: ConfigOption = None,
    architecture: Annotated[str, typer.Option(help="x86_64 or arm64.")] = "x86_64",
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make an AMI with the enclave tools and the host program inside: a boot installs nothing."""
    import asyncio
    from dataclasses import replace

    from agent.config import load
    from cloud.account.bake import BUILDERS, Recipe
    from enclave.host.bundle import build, digest
    from enclave.host.nitro_cli import PACKAGES
    from faults import UsageFault

    if architecture not in BUILDERS:
        raise UsageFault(f"--architecture {architecture}: one of {', '.join(BUILDERS)}")
    loaded = load(config)
    if region not in loaded.aws.regions:
        known = ", ".join(loaded.aws.regions)
        raise UsageFault(f"--region {region}: not among the configured regions ({known})")
    recipe = Recipe(architecture, PACKAGES, build())
    # On Amazon's image, whatever the configuration names: that may be an image baked before.
    settings = replace(settings_of(loaded), ami="al2023")
    if dry_run:
        plan = {
            "region": region,
            "builder": BUILDERS[architecture],
            "packages": list(recipe.packages),
            "program_sha256": digest(recipe.program),
        }
        typer.echo(json.dumps(plan) if as_json else "\n".join(f"{k}: {v}" for k, v in plan.items()))
        return
    image = asyncio.run(_bake(settings, region, recipe, loaded.aws.endpoint_url))
    typer.echo(json.dumps({"image": image, "region": region}) if as_json else image)


@app.command()
def policy(
    name: Annotated[
        str,
        typer.Argument(
            help="agent, host, boundary or operator.", autocompletion=completion.policies
        ),
    ],
    account: Annotated[str, typer.Option(help="The AWS account's number.")],
    config: ConfigOption = None,
) -> None:
    """Print the least IAM policy for the agent, the hosts, or whoever runs these commands.

    The agent's is narrowed to the contract, regions, types, subnets and image that the
    configuration names now: print it again when they change.
    """
    from agent.config import load
    from cloud.account.policies import partition_of, render
    from cloud.model import Region
    from faults import UsageFault

    if not (len(account) == 12 and account.isascii() and account.isdigit()):
        raise UsageFault(f"--account {account}: an AWS account's number has 12 digits")
    loaded = load(config)
    region = Region(loaded.aws.regions[0])
    prefix = loaded.aws.bucket_prefix
    match name:
        case "agent" | "host" | "boundary" | "operator":
            document = render(
                name,
                account=account,
                prefix=prefix,
                partition=partition_of(region),
                scope=_scope(loaded),
            )
        case _:
            raise UsageFault(f"{name}: one of agent, host, boundary, operator")
    typer.echo(json.dumps(document, indent=2))


def _refuse_jobs(config: Config) -> None:
    """Raises Refused while the market has jobs of this provider: what they run on would go.
    RetryLater: the chain can't be asked."""
    import asyncio

    from commands.context import quiet
    from faults import Refused

    quiet()
    jobs = asyncio.run(_active_jobs(config))
    if jobs:
        shown = ", ".join(map(str, jobs[:5])) + ("…" if jobs[5:] else "")
        raise Refused(
            f"the market still has {how_many(len(jobs), 'job')} of this provider ({shown}): "
            "`oyster-provider exit --all --wait` ends them, then tear down"
        )


async def _active_jobs(config: Config) -> list[int]:
    from agent.chain.head import HeadTracker
    from agent.clock import SystemClock
    from agent.wiring.adapters import finality_of, open_endpoints, provider_address
    from agent.wiring.markets import market_of, provider_view
    from faults import RetryLater, TryElsewhere

    provider = await provider_address(config)
    try:
        endpoints = await open_endpoints(config, SystemClock())
        try:
            tracker = HeadTracker(endpoints, finality_of(config))
            market = provider_view(market_of(config, endpoints), tracker, provider)
            return sorted(await market.active_jobs((await market.blocks()).head))
        finally:
            await endpoints.close()
    except (RetryLater, TryElsewhere) as later:
        text = f"the chain can't be asked for jobs: {later}; --without-chain goes on all the same"
        raise RetryLater(text) from later


def _scope(config: Config) -> Scope:
    """What of the configuration an IAM policy can name."""
    from agent.wiring.adapters import contract_of
    from cloud.account.policies import Scope
    from cloud.model import Region

    types = sorted({offer.instance_type.partition("/")[2] for offer in config.offers})
    if config.cards.rates_file:
        types = []  # a policy has no room for hundreds
    return Scope(
        contract=str(contract_of(config)),
        regions=tuple(map(Region, config.aws.regions)),
        types=tuple(types),
        subnets=tuple(config.aws.subnets),
        ami=config.aws.ami,
    )


def settings_of(config: Config) -> Settings:
    """What the agent itself goes by, but for the provider, whose key may not be at hand here."""
    from agent.wiring.adapters import cloud_settings

    return cloud_settings(config, provider="")


def _do(steps: Sequence[Step], dry_run: bool, as_json: bool) -> None:
    from cloud.account.steps import carry_out

    if dry_run:
        _show(steps, as_json)
        return
    done: list[Step] = []
    carry_out(steps, done.append if as_json else _tell)
    if as_json:
        _show(done, as_json)
    elif all(step.verb == "keep" for step in steps):
        say("nothing to do: everything is there" if steps else "nothing to do")


def _tell(step: Step) -> None:
    if step.verb != "keep":
        say(str(step))


def _show(steps: Sequence[Step], as_json: bool = False) -> None:
    if as_json:
        typer.echo(json.dumps([step.to_json() for step in steps], indent=2))
        return
    for step in steps:
        say(str(step))
    if all(step.verb == "keep" for step in steps):
        say("nothing to do")


async def _bake(settings: Settings, region: str, recipe: Any, endpoint_url: str) -> str:
    import asyncio
    import time

    from cloud.account.bake import bake as bake_image
    from cloud.aws import Aws
    from cloud.model import Region

    class Wall:
        def now(self) -> float:
            return time.time()

        async def sleep(self, seconds: float) -> None:
            await asyncio.sleep(seconds)

    aws = Aws(settings, lambda _order, _home: b"", Wall(), endpoint_url)
    try:
        return await bake_image(
            aws, settings, Region(region), recipe, lambda line: say(line, err=True)
        )
    finally:
        aws.close()
