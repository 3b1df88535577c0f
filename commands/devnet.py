"""`oyster-provider devnet ...`: a whole local market, and the user's and auditors' side of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands import devnet_hosts, devnet_jobs
from commands.devnet_json import devnet_json, dollars_token, held_job
from commands.devnet_money import dollars
from commands.terminal import MOST_JOB, print_json, say, waiting

if TYPE_CHECKING:
    from devnet.nitro.parts import Parts
    from devnet.people import Actions
    from devnet.state import Devnet
    from devnet.up import Options

app = typer.Typer(
    no_args_is_help=True,
    help="A whole market on this machine: chain, IPFS, AWS, simulated Nitro. Test money only.",
)
image_app = typer.Typer(no_args_is_help=True, help="Enclave images for the devnet.")
ipfs_app = typer.Typer(no_args_is_help=True, help="The devnet's IPFS gateway.")
job_app = typer.Typer(no_args_is_help=True, help="What users and auditors do with jobs.")
app.add_typer(image_app, name="image")
app.add_typer(ipfs_app, name="ipfs")
app.add_typer(job_app, name="job")
devnet_jobs.add_to(job_app)
devnet_hosts.add_to(app)

Dir = Annotated[Path, typer.Option("--dir", help="The devnet's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]
JobArgument = Annotated[int, typer.Argument(min=1, max=MOST_JOB, help="The job's id.")]
_MOST_SECONDS = 10_000_000
_LOOK_SECONDS = 1.0
DEFAULT_DIR = Path(".devnet")
_ENCLAVES = {
    "process": "simulated processes",
    "qemu": "kernels that QEMU boots, of images by 'devnet image build --boot qemu'",
}


@app.command()
def up(
    directory: Dir = DEFAULT_DIR,
    detach: Annotated[bool, typer.Option(help="Leave it running in the background.")] = False,
    chain: Annotated[str, typer.Option(help="py-evm, or anvil where it is installed.")] = "py-evm",
    market: Annotated[str, typer.Option(help="registry, or marketv1: Marlin's.")] = "registry",
    bootstrapping: Annotated[
        int, typer.Option(min=5, max=_MOST_SECONDS, help="JobBootstrapping, seconds.")
    ] = 120,
    cooldown: Annotated[
        int, typer.Option(min=1, max=_MOST_SECONDS, help="JobExitCoolDown, seconds.")
    ] = 60,
    boot_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of EC2's real boot times; 1 is real.")
    ] = 0.1,
    hosts: Annotated[
        int,
        typer.Option(min=1, max=5, help="More than one: agents on as many, and a PostgreSQL."),
    ] = 1,
    boot: Annotated[
        str, typer.Option(help="How enclaves run: process, or qemu: images with a kernel boot.")
    ] = "process",
    as_json: AsJson = False,
) -> None:
    """Start a devnet: contracts deployed, everyone funded, nothing beyond loopback."""
    from commands.extras import require_devnet

    require_devnet()
    from devnet import detached
    from devnet.up import Options

    options = Options(
        directory=directory,
        chain=chain,
        market=market,
        job_bootstrapping=bootstrapping,
        job_startup=bootstrapping,
        job_exit_cool_down=cooldown,
        boot_share=boot_share,
        hosts=hosts,
        boot=_bootable(boot),
    )
    if not detach:
        return _foreground(options, as_json)
    arguments = ["devnet", "up", "--dir", str(directory), "--chain", chain]
    arguments += ["--bootstrapping", str(bootstrapping), "--cooldown", str(cooldown)]
    arguments += ["--boot-share", str(boot_share), "--market", market, "--hosts", str(hosts)]
    arguments += ["--boot", options.boot]
    waiting("bringing up chain, contracts, AWS and IPFS: about twenty seconds")
    return _show(detached.start(directory.resolve(), arguments), directory, as_json)


def _bootable(boot: str) -> str:
    """What is asked for, or processes with a word about it where nothing to boot with is built."""
    from devnet.nitro.parts import HOW, built

    if boot != "qemu" or built():
        return boot
    say(f"enclaves are simulated processes: QEMU is not built here ({HOW})", err=True)
    return "process"


def _foreground(options: Options, as_json: bool) -> None:
    import signal

    from devnet.up import running

    wanted = {signal.SIGINT, signal.SIGTERM}
    for each in wanted:  # both end the block the same way, also where a script's `&` ignored one
        signal.signal(each, signal.default_int_handler)
    try:
        with running(options) as devnet:
            _show(devnet.devnet, options.directory, as_json)
            signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
            told = 0
            while signal.sigtimedwait(wanted, _LOOK_SECONDS) is None:
                told += _tell(options.directory, told)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _tell(directory: Path, told: int) -> int:
    """Say what is new since so many notices; how many that is."""
    from devnet import notices

    new = notices.of(directory)[told:]
    for line in new:
        typer.echo(line, err=True)
    return len(new)


@app.command()
def status(directory: Dir = DEFAULT_DIR, as_json: AsJson = False) -> None:
    """What is up and where; exit code 4 when a part of it died."""
    from devnet import detached, state
    from faults import RetryLater

    devnet = state.read(directory)
    dead = [name for name, pid in devnet.children.items() if not detached.lives(devnet, pid)]
    if not detached.lives(devnet, devnet.pid):
        dead.insert(0, "supervisor")
    _show(devnet, directory, as_json)
    if dead:
        raise RetryLater(
            f"the devnet in {directory} is broken, dead: {', '.join(dead)}; "
            "run 'oyster-provider devnet down' and 'up' again"
        )


@app.command()
def down(directory: Dir = DEFAULT_DIR, as_json: AsJson = False) -> None:
    """End the devnet of a folder; logs stay in FOLDER/logs."""
    from devnet import detached

    detached.stop(directory)
    typer.echo(json.dumps({"down": str(directory)}) if as_json else f"down: {directory}")


@app.command()
def env(
    directory: Dir = DEFAULT_DIR,
    host: Annotated[str, typer.Option(help="As on this host, of several.")] = "",
) -> None:
    """Shell lines that make every other command work against it: eval $(... devnet env)."""
    import shlex

    from devnet import state

    for name, value in state.environment(state.read(directory), host).items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@image_app.command("build")
def image_build(
    folder: Annotated[Path, typer.Argument(help="The folder whose files go into the image.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The image file to write.")],
    cmdline: Annotated[str, typer.Option(help="Kernel command line; the usual one if empty.")] = "",
    boot: Annotated[
        str, typer.Option(help="process: a stand-in for the kernel; qemu: one that boots.")
    ] = "process",
    as_json: AsJson = False,
) -> None:
    """An enclave image from a folder, with a kernel that boots or a stand-in for it."""
    from devnet.image import CMDLINE, build_image
    from enclave.eif.measure import measure_file
    from faults import UsageFault

    boots = _parts() if _known_boot(boot) == "qemu" else None
    image = build_image(folder, cmdline=cmdline or CMDLINE, boots=boots)
    try:
        output.write_bytes(image)
    except OSError as error:
        raise UsageFault(f"{output} cannot be written: {error.strerror}; name another") from error
    pcrs = {str(number): pcr for number, pcr in measure_file(output).pcrs.items()}
    if as_json:
        typer.echo(json.dumps({"file": str(output), "pcrs": pcrs}))
    else:
        say(f"wrote {output}")
        for number, pcr in pcrs.items():
            say(f"  PCR{number} {pcr}")


def _known_boot(boot: str) -> str:
    from devnet.up import BOOTS
    from faults import UsageFault

    if boot not in BOOTS:
        raise UsageFault(f"--boot {boot}: there are {' and '.join(BOOTS)}")
    return boot


def _parts() -> Parts:
    """Kernel, modules and init. Raises UsageFault where they are not built."""
    from devnet.nitro.parts import HOW, built
    from faults import UsageFault

    found = built()
    if found is None:
        raise UsageFault(f"no kernel for it is here: {HOW}")
    return found


@ipfs_app.command("add")
def ipfs_add(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The file to add.")],
    directory: Dir = DEFAULT_DIR,
    as_json: AsJson = False,
) -> None:
    """Put a file on the devnet's gateway; prints its CID."""
    from devnet import state
    from devnet.ipfs.node import add

    state.read(directory)  # a clear word when there is no devnet
    cid = add(directory / "ipfs", file)
    typer.echo(json.dumps({"cid": cid, "url": f"ipfs://{cid}"}) if as_json else cid)


@job_app.command("request")
def job_request(
    instance_type: Annotated[str, typer.Argument(help="REGION/TYPE, as providers list it.")],
    url: Annotated[str, typer.Argument(help="The enclave image: ipfs://CID.")],
    max_price: Annotated[str, typer.Option(help="The most you pay, for example 1.5/h.")] = "10/h",
    deposit: Annotated[str, typer.Option(help="Test dollars for the escrow.")] = "10",
    directory: Dir = DEFAULT_DIR,
    as_json: AsJson = False,
) -> None:
    """Request a job as the devnet's user."""
    from agent.market.price import Price

    devnet, actions = _open(directory)
    price = Price.parse(max_price, decimals=6)
    job_id = actions.request_job(
        devnet.person("user"), instance_type, price.raw, url, dollars(deposit)
    )
    _show_job(actions, job_id, as_json)


@job_app.command("stop")
def job_stop(job_id: JobArgument, directory: Dir = DEFAULT_DIR, as_json: AsJson = False) -> None:
    """RequestToStopJob as the devnet's user."""
    devnet, actions = _open(directory)
    actions.stop_job(devnet.person("user"), job_id)
    _show_job(actions, job_id, as_json)


@job_app.command("fund")
def job_fund(
    job_id: JobArgument,
    amount: Annotated[str, typer.Argument(help="Test dollars.")],
    directory: Dir = DEFAULT_DIR,
    as_json: AsJson = False,
) -> None:
    """Add to a job's escrow as the devnet's user."""
    devnet, actions = _open(directory)
    actions.fund_job(devnet.person("user"), job_id, dollars(amount))
    _show_job(actions, job_id, as_json)


@job_app.command("fault")
def job_fault(
    job_id: JobArgument,
    votes: Annotated[int, typer.Option(min=1, max=2, help="How many auditors report it.")] = 2,
    directory: Dir = DEFAULT_DIR,
    as_json: AsJson = False,
) -> None:
    """Report a fault as the devnet's auditors; at quorum the provider is slashed."""
    devnet, actions = _open(directory)
    for number in range(1, votes + 1):
        actions.report_fault(devnet.person(f"auditor-{number}"), job_id)
    _show_job(actions, job_id, as_json)


@job_app.command("show")
def job_show(
    job_id: JobArgument,
    until: Annotated[
        str | None, typer.Option(help="Wait for it: running, exiting or stopped.")
    ] = None,
    seconds: Annotated[int, typer.Option(min=1, help="How long to wait at most.")] = 120,
    directory: Dir = DEFAULT_DIR,
    as_json: AsJson = False,
) -> None:
    """The job as the contract stores it; --until waits for a state, exit code 4 if in vain."""
    _, actions = _open(directory)
    if until is not None:
        waiting(f"waiting until job {job_id} is {until}, {seconds} s at most")
        actions.market.wait_for(job_id, until, seconds)
    _show_job(actions, job_id, as_json)


def _open(directory: Path) -> tuple[Devnet, Actions]:
    from devnet import state
    from devnet.people import Actions, Market, connect

    devnet = state.read(directory)
    _check_market(devnet, "registry")
    return devnet, Actions(Market(connect(devnet.rpc_url), devnet))


def _check_market(devnet: Devnet, wanted: str) -> None:
    """Raises UsageFault: what is asked for is not of the devnet's market."""
    from faults import UsageFault

    if devnet.market != wanted:
        text = f"this is for the {wanted}, and the devnet's market is {devnet.market}"
        raise UsageFault(f"{text}: see `devnet job --help`")


def _show_job(actions: Actions, job_id: int, as_json: bool) -> None:
    stored = actions.market.job(job_id)
    if as_json:
        print_json(held_job(job_id, stored))
    else:
        _print(_in_words({"id": job_id, **stored}), title=f"job {job_id}")


def _in_words(fields: dict[str, Any]) -> dict[str, Any]:
    """The contract's numbers as people say them: prices, dollars, times, states."""
    from agent.market.model import JobStatus, Price, StopReason
    from commands.amounts import show_amount, show_price, show_time

    money, said = dollars_token(), dict(fields)
    for name in ("price", "maxPrice"):
        said[name] = show_price(Price(fields[name]), money)
    for name in ("assignedAt", "startedAt", "exitRequestedAt", "stoppedAt", "settledUntil"):
        said[name] = show_time(fields[name])
    said["status"] = JobStatus(fields["status"]).name.lower()
    said["stopReason"] = StopReason(fields["stopReason"]).name.lower()
    said["escrow"] = show_amount(fields["escrow"], money, 6)
    said["endpoint"] = fields["endpoint"] or "-"
    return said


def _show(devnet: Devnet, directory: Path, as_json: bool) -> None:
    from devnet import notices

    told = notices.of(directory)
    if as_json:
        print_json(devnet_json(devnet, told))
        return
    fields: dict[str, Any] = {
        "pid": devnet.pid,
        "rpc": devnet.rpc_url,
        "chainId": devnet.chain_id,
        "market": devnet.market,
        "enclaves": _ENCLAVES[devnet.boot],
        "registry": devnet.registry,
        **({"pond": devnet.pond} if devnet.pond else {}),
        "paymentToken": devnet.payment_token,
        "aws": devnet.aws_endpoint,
        "ipfs": devnet.ipfs_gateway,
        "config": devnet.config_files.get("provider", ""),
        **({"hosts": ", ".join(devnet.hosts)} if devnet.hosts else {}),
        **{f"account {name}": person.address for name, person in devnet.people.items()},
    }
    _print(fields, title="devnet (simulated: EC2's hardware and the Nitro card)")
    for line in told:
        typer.echo(line)


def _print(fields: dict[str, Any], *, title: str) -> None:
    width = max(map(len, fields))
    say(title)
    for name, value in fields.items():
        say(f"  {name:<{width}}  {value}")
