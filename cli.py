"""`oyster-provider`: composes the command groups and turns what goes wrong into a line and a code.

Nothing heavy is imported here or at the top of `commands/*`: `--help` answers at once, and each
command imports what it needs when it runs.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

from commands import (
    attestation,
    cloud,
    config,
    contracts,
    devnet,
    hosts,
    image,
    jobs,
    journal_copy,
    keys,
    notify,
    offers,
    provider,
    service,
    service_status,
)
from commands.bring_in import import_
from commands.demo import demo
from commands.doctor import doctor
from commands.examples import add_examples
from commands.init import init
from commands.leave import leave
from commands.look import capacity, status
from commands.pause import pause, resume
from commands.rehearse import rehearse
from commands.report import report
from commands.run import run
from commands.runbook import runbook
from commands.setup import setup
from commands.stake import register, stake, unstake
from commands.takeover import takeover
from commands.terminal import say
from faults import Fault, Refused, RetryLater, UsageFault, printable

app = typer.Typer(
    name="oyster-provider",
    help="Serve Marlin Oyster jobs on AWS Nitro enclaves: on time, once, and verified.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


app.add_typer(contracts.app, name="contracts")
app.add_typer(attestation.app, name="attestation")
app.add_typer(image.app, name="image")
app.add_typer(cloud.app, name="cloud")
app.add_typer(devnet.app, name="devnet")
service.app.command()(service_status.status)
app.add_typer(service.app, name="service")
app.add_typer(keys.app, name="keys")
app.add_typer(offers.app, name="offers")
app.add_typer(provider.app, name="provider")
app.add_typer(jobs.app, name="jobs")
app.add_typer(config.app, name="config")
app.add_typer(notify.app, name="notify")
app.add_typer(hosts.app, name="hosts")
app.add_typer(journal_copy.app, name="journal")
app.command()(setup)
app.command()(init)
app.command()(doctor)
app.command()(run)
app.command("exit")(leave)
app.command()(pause)
app.command()(resume)
app.command()(status)
app.command()(capacity)
app.command()(runbook)
app.command()(report)
app.command()(rehearse)
app.command()(stake)
app.command()(unstake)
app.command()(register)
app.command()(takeover)
app.command("import")(import_)
app.command()(demo)
add_examples(app)


def _say_version(asked: bool) -> None:
    if not asked:
        return
    import program

    typer.echo(f"{program.DISTRIBUTION} {program.version()} (commit {program.commit()})")
    raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Say version and commit."
        ),
    ] = False,
) -> None:
    """Keeps the program a group of commands however many there are."""


def main() -> None:
    """Run the CLI; exit codes: 0 fine, 1 bug, 2 usage, 3 refused, 4 unavailable."""
    _open_closed_streams()
    try:
        code = app(standalone_mode=False, prog_name="oyster-provider")
    except Fault as fault:
        _fail(str(fault), fault.exit_code)
    except TyperException as wrong:
        _misused(wrong)
    except typer.Abort:
        _fail("not agreed; nothing was done", Refused.exit_code)
    except OSError as error:
        if sys.argv[1:2] == ["--install-completion"]:
            _fail(f"completion can't be installed: {error}", UsageFault.exit_code)
        if _is_nowhere():
            _fail("the folder that one is in is gone: cd to another", UsageFault.exit_code)
        _unheard(error)
    sys.exit(code if isinstance(code, int) else 0)


def _is_nowhere() -> bool:
    """Whether no relative path leads anywhere."""
    try:
        return not Path.cwd()
    except FileNotFoundError:
        return True


# Of an error without a file's name, that of what is printed: nobody else leaves these to us.
_UNPRINTED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def _unheard(error: OSError) -> NoReturn:
    """Nobody reads what is printed any more, or the disk that it goes to is full."""
    if error.errno != errno.EPIPE and (error.errno not in _UNPRINTED or error.filename):
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # else the end tries to write what is left
    if error.errno == errno.EPIPE:
        sys.exit(1)  # `| head` has seen enough
    _fail(f"what is printed can't be written: {error.strerror}", RetryLater.exit_code)


def _open_closed_streams() -> None:
    """Have what was closed (`>&-`, some service managers) lead nowhere: to be asked whether it is a
    terminal, and so that no file or socket gets its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            os.dup2(nowhere := os.open(os.devnull, os.O_RDWR), number)
            if nowhere != number:
                os.close(nowhere)
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def _misused(wrong: TyperException) -> NoReturn:
    """Words the program does not know, in one line. A group without a command shows its help."""
    said = wrong.format_message().rstrip(". \n")
    option = getattr(wrong, "option_name", "")
    if said.startswith("No such option") and re.fullmatch(r"-[\d.,]", option):
        whole = next((word for word in sys.argv if word.startswith(option)), option)
        said = f"{whole} is no option, and nothing here is below 0"
    if not said:
        sys.exit(UsageFault.exit_code)
    context = getattr(wrong, "ctx", None)
    command = context.command_path if context is not None else "oyster-provider"
    _fail(f"{said} (see `{command} --help`)", UsageFault.exit_code)


def _fail(said: str, code: int) -> NoReturn:
    say(printable(f"error: {' '.join(said.split())}"), err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
