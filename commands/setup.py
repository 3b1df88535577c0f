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

from commands.terminal import DryRunOption, how_many, say
from faults import Refused, UsageFault

if TYPE_CHECKING:
    from agent.config import Config
    from cloud.aws import Aws
    from commands.guide import Answers, Step


def setup(
    file: Annotated[
        Path, typer.Argument(help="The configuration to write; an existing one stays as it is.")
    ] = Path("/etc/oyster-provider/config.toml"),
    dry_run: DryRunOption = False,
) -> None:
    """Ask what is needed, one thing after the other, and try each answer live. What was answered is
    kept beside FILE (no secret is): break it off and run it again."""
    import tempfile

    from commands.context import quiet
    from commands.guide import Answers, walk

    if file.exists():
        raise Refused(f"{file} is there already and stays as it is; `doctor` says what is missing")
    if not sys.stdin.isatty():
        raise UsageFault("setup asks a person at a terminal; scripts use `oyster-provider init`")
    quiet()
    answers = Answers.load(file.with_name(f".{file.name}.answers"))
    try:
        with tempfile.TemporaryDirectory(prefix="oyster-setup-") as trial:
            answers.trial = Path(trial) if dry_run else None
            walk(steps(file), answers, _ask, say)
    except (KeyboardInterrupt, typer.Abort):
        say("")
        again = (
            "a dry run keeps nothing" if dry_run else "run it again: it offers what was answered"
        )
        raise Refused(f"broken off, and no {file} is written; {again}") from None
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
    from commands import setup_marketv1, setup_registry

    market = setup_marketv1 if setup_marketv1.on_marketv1(answers) else setup_registry
    say(market.next_steps(file, answers))


def rendered(answers: Answers) -> str:
    """The configuration that the answers make."""
    from agent.config.template import render
    from commands.setup_marketv1 import on_marketv1, settings
    from commands.setup_reach import urls_of, wallet_of

    given = answers.given
    sections: dict[str, dict[str, Any]] = {
        "chain": {
            "chain_id": int(given["chain"]),
            "registry": given["registry"],
            "rpc_urls": urls_of(answers),
        },
        "wallet": wallet_of(answers),
        "aws": {"regions": [given["type"].partition("/")[0]]},
    }
    if on_marketv1(answers):
        for name, more in settings(answers).items():
            sections[name] = {**sections.get(name, {}), **more}
    if given.get("state_dir"):
        sections[""] = {"state_dir": given["state_dir"]}
    if given.get("endpoint"):
        sections["aws"]["endpoint_url"] = given["endpoint"]
    return render(sections, [{"type": given["type"], "price": given["price"]}])


def _tried(answers: Answers) -> Config:
    """The configuration that the answers make, to try them by. Raises UsageFault: in words of the
    settings, without a file that is not there yet."""
    from agent.config import ConfigFault, parse
    from commands.setup_reach import key_files, signs, stands_in

    base = answers.file.parent.absolute()
    try:
        config = parse(rendered(answers), name="", base=base)
    except ConfigFault as wrong:
        said = [problem.partition(": ")[2] for problem in wrong.problems]
        raise UsageFault("; ".join(said)) from wrong
    if not signs(answers) or not stands_in(answers):
        return config
    keystore, password = map(str, key_files(answers))
    return replace(
        config, wallet=replace(config.wallet, keystore_file=keystore, password_file=password)
    )


def steps(file: Path) -> Sequence[Step]:
    """Everything that may be asked, in order."""
    from commands import setup_marketv1 as marketv1
    from commands import setup_registry as registry
    from commands.guide import Question, Step
    from commands.init import MARKETS

    urls = Question("nodes", "JSON-RPC URLs, best first; two of different operators")
    kind = Question("market", "registry, or marketv1 (Marlin's live one)", _usual)
    region = Question("region", "the region to serve in first", "us-east-1")
    offer = (
        Question("type", "REGION/TYPE", "us-east-1/c6a.xlarge"),
        Question("price", "price, such as 0.17/h"),
    )
    return (
        Step("the chain's nodes", [urls], _nodes),
        Step("which market", [kind], _which, forks=[{"market": each} for each in MARKETS]),
        *registry.steps(file.parent / "credentials"),
        *marketv1.steps(file.parent / "credentials"),
        Step("AWS", [region], _aws),
        marketv1.url_step(),
        Step("the first offer", offer, _offer),
    )


def _usual(answers: Answers) -> str:
    """The live market where one is known on the chain."""
    from agent.config.presets import MARKETV1

    return "marketv1" if int(answers.given["chain"]) in MARKETV1 else "registry"


async def _nodes(answers: Answers) -> Sequence[str]:
    """Which chain they are of, and how old its newest block is."""
    from commands.amounts import show_span
    from commands.init import CHAINS
    from commands.setup_reach import on_chain

    async with on_chain(answers) as (endpoints, head):
        names = {number: name for name, number in CHAINS.items()}
        chain = endpoints.chain_id
        answers.keep("chain", str(chain))
        age = show_span(max(0.0, endpoints.now() - head.timestamp))
        name = names.get(chain, "no name known here")
        lines = [f"chain {chain} ({name}), newest block {age} old"]
        down = [one for one in endpoints.health() if not one.usable]
        for one in down:
            said = (one.error or "no answer").removeprefix(f"{one.name}: ")
            lines.append(f"! left out: {one.name}: {said}")
        if endpoints.count == 1:
            lines.append("! one node: nobody confirms its word; a second can be added later")
        return lines


async def _which(answers: Answers) -> Sequence[str]:
    """What the kind of market means for a provider. Raises UsageFault: there is no such kind."""
    from agent.config.presets import preset_of
    from commands.init import MARKETS

    kind, chain = answers.given["market"], int(answers.given["chain"])
    if kind not in MARKETS:
        raise UsageFault(f"{kind}: there are {' and '.join(MARKETS)} (docs/markets.md)")
    if kind == "registry":
        return ["a contract matches users with the cheapest listing; each job locks a stake"]
    known = preset_of(kind, chain)
    found = f"known on {known.chain}: {known.contract}" if known else "not known on this chain"
    return [
        "users name a provider, and find its rate cards at its URL; nothing is staked",
        found,
    ]


async def _aws(answers: Answers) -> Sequence[str]:
    """Whose credentials this machine has, and what their account may run in the region. That there
    are none yet holds nothing up: the service gets its own. Raises UsageFault: no such region."""
    from tempfile import TemporaryDirectory

    from agent.clock import SystemClock
    from commands.checkup.aws import remedy
    from commands.context import open_cloud
    from faults import Fault

    region = answers.given["region"]
    if not answers.given.get("type", "").startswith(f"{region}/"):
        answers.keep("type", f"{region}/c6a.xlarge")
    config = _tried(replace(answers, given={**answers.given, "price": "1/h"}))
    # A question leaves nothing where the service will keep what is its own.
    with TemporaryDirectory(prefix="oyster-setup-") as kept:
        aws = open_cloud(replace(config, state_dir=kept), "", SystemClock())
        try:
            account, arn = await aws.caller()
            lines = [f"account {account}, as {arn}"]
            return [*lines, *await _quotas(aws, region, config.offers[0].instance_type)]
        except Fault as fault:
            said = " ".join(str(fault).split())[:160]
            return [f"! {said}", f"! {remedy(fault)}; `doctor` asks again"]
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
        f"room for {how_many(one.more, 'more job')}"
        for one in found
    ]


async def _offer(answers: Answers) -> Sequence[str]:
    """What the offer leaves, and whether EC2 and the account can serve it. Raises Refused: it looks
    like a slip; ConfigFault, UsageFault."""
    from agent.market.model import InstanceType
    from commands.setup_marketv1 import card, on_marketv1
    from commands.setup_registry import listing

    kind, price = InstanceType.parse(answers.given["type"]), answers.given["price"]
    seen = await (card if on_marketv1(answers) else listing)(_tried(answers), kind, price)
    lines = seen.card() if on_marketv1(answers) else seen.lines()
    doubts = list(seen.doubts())
    answers.mean(doubts, f"{kind}={price}")
    return [*(line.strip() for line in lines), *(f"! {each}" for each in doubts)]
