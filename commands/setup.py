"""`oyster-provider setup`: one guided way from nothing to a configuration that doctor likes.

The questions' frame is `guide.py`; here is what is asked, and how each answer is tried live.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.terminal import DryRunOption, say
from faults import Refused, UsageFault

if TYPE_CHECKING:
    from agent.chain.endpoints import Endpoints
    from cloud.aws import Aws
    from commands.guide import Answers, Step

NEXT = """
next, in this order:
  oyster-provider cloud setup -c {file}     bucket, role and security group in AWS
  oyster-provider doctor -c {file}          what is missing, and what to do about it
  oyster-provider register {type} {price} -c {file}
  oyster-provider service install && systemctl enable --now oyster-provider
keep a copy of {keystore} and {password} where this host can't lose them: without both the stake is
lost"""


def setup(
    file: Annotated[
        Path, typer.Argument(help="The configuration to write; an existing one stays as it is.")
    ] = Path("/etc/oyster-provider/config.toml"),
    dry_run: DryRunOption = False,
) -> None:
    """Ask what is needed, one thing after the other, and try each answer live. What was answered is
    kept beside FILE (no secret is): break it off and run it again."""
    import asyncio

    from commands.context import quiet
    from commands.guide import Answers, walk

    if file.exists():
        raise Refused(f"{file} is there already and stays as it is; `doctor` says what is missing")
    if not sys.stdin.isatty():
        raise UsageFault("setup asks a person at a terminal; scripts use `oyster-provider init`")
    quiet()
    answers = Answers.load(file.with_name(f".{file.name}.answers"))
    asyncio.run(walk(steps(file), answers, _ask, say))
    _finish(file, answers, dry_run=dry_run)


def _ask(question: str, default: str) -> str:
    return str(typer.prompt(f"  {question}", default=default or None, err=True))


def _finish(file: Path, answers: Answers, *, dry_run: bool) -> None:
    from agent.config import parse
    from agent.config.template import write

    text = rendered(answers)
    parse(text, name=str(file), base=file.absolute().parent)
    if dry_run:
        typer.echo(text, nl=False)
        return
    write(file, text)
    answers.file.unlink(missing_ok=True)
    say(f"wrote {file}")
    say(NEXT.format(file=file, **answers.given))


def rendered(answers: Answers) -> str:
    """The configuration that the answers make."""
    from agent.config.template import render

    given = answers.given
    folder = (answers.file.parent / "credentials").absolute()
    wallet = {
        f"{name}_file": credential(Path(given[name]), folder) for name in ("keystore", "password")
    }
    sections: dict[str, dict[str, Any]] = {
        "chain": {
            "chain_id": int(given["chain"]),
            "registry": given["registry"],
            "rpc_urls": given["nodes"].replace(",", " ").split(),
        },
        "wallet": wallet,
        "aws": {"regions": [given["type"].partition("/")[0]]},
    }
    if given.get("state_dir"):
        sections[""] = {"state_dir": given["state_dir"]}
    if given.get("endpoint"):
        sections["aws"]["endpoint_url"] = given["endpoint"]
    return render(sections, [{"type": given["type"], "price": given["price"]}])


def credential(path: Path, folder: Path) -> str:
    """How the configuration names it: the service is handed what lies in the credentials folder,
    which its account can't read by itself."""
    return f"credential:{path.name}" if path.absolute().parent == folder else str(path.absolute())


def steps(file: Path) -> Sequence[Step]:
    """Everything that is asked, in order."""
    from commands.guide import Question, Step

    folder = file.parent
    return (
        Step(
            "the chain's nodes",
            [Question("nodes", "JSON-RPC URLs, best first; two of different operators")],
            _nodes,
        ),
        Step("the market", [Question("registry", "address of the market's contract")], _market),
        Step(
            "the provider's key",
            [
                Question(
                    "keystore",
                    "keystore, made when it is not there",
                    str(folder / "credentials" / "keystore"),
                ),
                Question(
                    "password",
                    "its password's file, made when it is not there",
                    str(folder / "credentials" / "keystore-password"),
                ),
            ],
            _key,
        ),
        Step(
            "AWS",
            [Question("region", "the region to serve in first", "us-east-1")],
            _aws,
        ),
        Step(
            "the first offer",
            [
                Question("type", "REGION/TYPE", "us-east-1/c6a.xlarge"),
                Question("price", "price, such as 0.17/h"),
            ],
            _offer,
        ),
    )


async def _nodes(answers: Answers) -> Sequence[str]:
    """Which chain they are of, and how old its newest block is."""
    from agent.config.presets import MARKETV1
    from commands.amounts import show_span
    from commands.init import CHAINS

    endpoints = await _open(answers)
    try:
        head = await _head(endpoints)
        names = {number: name for name, number in CHAINS.items()}
        chain = endpoints.chain_id
        answers.keep("chain", str(chain))
        age = show_span(max(0.0, endpoints.now() - head.timestamp))
        name = names.get(chain, "no name known here")
        lines = [f"chain {chain} ({name}), newest block {age} old"]
        down = [one for one in endpoints.health() if not one.usable]
        lines += [f"! left out: {one.name}: {one.error or 'no answer'}" for one in down]
        if chain in MARKETV1:
            known = MARKETV1[chain]
            lines.append(
                f"Marlin's live market on {known.chain} is known ({known.contract}): for that one "
                'write market = "marketv1" in [chain] of what `init` makes, see docs/markets.md'
            )
        if endpoints.count == 1:
            lines.append("! one node: nobody confirms its word; a second can be added later")
        return lines
    finally:
        await endpoints.close()


async def _market(answers: Answers) -> Sequence[str]:
    """What the contract asks of a provider. Raises Refused: nothing of the kind is there."""
    from agent.market.model import address
    from agent.markets.registry.reads import Market
    from commands.amounts import show_amount, show_span

    endpoints = await _open(answers)
    try:
        registry = address(answers.given["registry"])
        if await endpoints.call("eth_getCode", registry, "latest") in ("0x", None):
            raise Refused(f"{registry} has no code on chain {endpoints.chain_id}")
        market, at = Market(endpoints, registry), await _head(endpoints)
        params, (pond, money) = await market.params(at), await market.tokens(at)
        span = show_span(params.job_bootstrapping)
        stake = show_amount(params.stake_per_job, pond)
        return [
            f"a job locks {stake} and has to be up in {span}; jobs pay in {money.symbol}",
            f"{pond.symbol} is the token {pond.address}: this is what you stake",
        ]
    finally:
        await endpoints.close()


async def _key(answers: Answers) -> Sequence[str]:
    """Whose key it is and what it has; made where there is none."""
    import json

    from agent.chain.wallet import new_signer, open_keystore, write_secret
    from agent.market.model import address
    from agent.markets.registry.reads import Market
    from agent.secret import read_secret
    from commands.amounts import show_amount
    from commands.guide import new_password

    keystore, password = (Path(answers.given[name]) for name in ("keystore", "password"))
    keystore.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    made = []
    if not password.exists():
        new_password(password)
        made.append(f"made {password}: nobody has to know it, back it up")
    if not keystore.exists():
        write_secret(keystore, json.dumps(new_signer().to_keystore(read_secret(password))))
        made.append(f"made {keystore}")
    owner = open_keystore(keystore, read_secret(password)).address
    endpoints = await _open(answers)
    try:
        market, at = Market(endpoints, address(answers.given["registry"])), await _head(endpoints)
        pond, _money = await market.tokens(at)
        has = await market.balance(pond.address, owner, at)
        coin = int(await endpoints.call("eth_getBalance", owner, "latest"), 16)
        params, stake = await market.params(at), await market.stake_of(owner, at)
        missing = max(0, params.stake_per_job - stake.total - has)
        funds = f"{owner} has {show_amount(has, pond)} and {coin / 1e18:.4f} of the chain's coin"
        todo = [f"! send it {show_amount(missing, pond)} at least"] if missing else []
        todo += [] if coin else ["! send it some of the chain's coin, for gas"]
        return [*made, funds, *todo]
    finally:
        await endpoints.close()


async def _aws(answers: Answers) -> Sequence[str]:
    """Whose credentials this machine has, and what their account may run in the region. That there
    are none yet holds nothing up: the service gets its own. Raises UsageFault: no such region."""
    from agent.clock import SystemClock
    from agent.config import parse
    from commands.checkup.aws import remedy
    from commands.context import open_cloud
    from faults import Fault

    region = answers.given["region"]
    if not answers.given.get("type", "").startswith(f"{region}/"):
        answers.keep("type", f"{region}/c6a.xlarge")
    tried = replace(answers, given={**answers.given, "price": "1/h"})
    config = parse(rendered(tried), name="the answers", base=answers.file.parent.absolute())
    aws = open_cloud(config, "", SystemClock())
    try:
        account, arn = await aws.caller()
        lines = [f"account {account}, as {arn}"]
        return [*lines, *await _quotas(aws, region, config.offers[0].instance_type)]
    except Fault as fault:
        return [f"! {' '.join(str(fault).split())[:160]}", f"! {remedy(fault)}; asked again later"]
    finally:
        aws.close()


async def _quotas(aws: Aws, region: str, ec2_type: str) -> Sequence[str]:
    from cloud.model import Region
    from faults import Fault

    try:
        found = await aws.quotas(Region(region), ec2_type)
    except Fault as fault:
        return [f"! quota not known: {' '.join(str(fault).split())[:120]}"]
    return [
        f"{one.what} ({one.code}) in {region}: {one.limit}, in use {one.used}, "
        f"room for {one.more} more jobs"
        for one in found
    ]


async def _offer(answers: Answers) -> Sequence[str]:
    """What the offer leaves, and whether EC2 and the account can serve it."""
    from agent.config import parse
    from agent.market.model import InstanceType, Price
    from commands.context import open_desk, terms_of
    from commands.offer_preview import look

    kind = InstanceType.parse(answers.given["type"])
    config = parse(rendered(answers), name="the answers", base=answers.file.parent.absolute())
    async with open_desk(config) as desk:
        terms = await terms_of(desk)
        price = Price.parse(answers.given["price"], terms.money.decimals)
        staked = terms.staked(terms.params.stake_per_job)  # as `register` does
        preview = await look(desk, staked, kind, price)
        return [*(line.strip() for line in preview.lines()), *(f"! {x}" for x in preview.doubts())]


async def _open(answers: Answers) -> Endpoints:
    from agent.chain.endpoints import Endpoints
    from agent.clock import SystemClock

    urls = answers.given["nodes"].replace(",", " ").split()
    return await Endpoints.open(urls, SystemClock())


async def _head(endpoints: Endpoints) -> Any:
    from agent.chain.head import Finality, HeadTracker

    return (await HeadTracker(endpoints, Finality(None)).poll()).block
