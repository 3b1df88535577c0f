"""`oyster-provider`: composes the command groups and turns a Fault into one line and an exit code.

Nothing heavy is imported here or at the top of `commands/*`: `--help` answers at once, and each
command imports what it needs when it runs.
"""

from __future__ import annotations

import sys

import typer

from commands import attestation, cloud, contracts, devnet, image, jobs, keys, offers, service
from commands.demo import demo
from commands.doctor import doctor
from commands.examples import add_examples
from commands.init import init
from commands.leave import leave
from commands.look import capacity, status
from commands.report import report
from commands.run import run
from commands.stake import register, stake, unstake
from faults import Fault, printable

app = typer.Typer(
    name="oyster-provider",
    help="Serve Marlin Oyster jobs on AWS Nitro enclaves: on time, once, and verified.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


app.add_typer(contracts.app, name="contracts")
app.add_typer(attestation.app, name="attestation")
app.add_typer(image.app, name="image")
app.add_typer(cloud.app, name="cloud")
app.add_typer(devnet.app, name="devnet")
app.add_typer(service.app, name="service")
app.add_typer(keys.app, name="keys")
app.add_typer(offers.app, name="offers")
app.add_typer(jobs.app, name="jobs")
app.command()(init)
app.command()(doctor)
app.command()(run)
app.command("exit")(leave)
app.command()(status)
app.command()(capacity)
app.command()(report)
app.command()(stake)
app.command()(unstake)
app.command()(register)
app.command()(demo)
add_examples(app)


@app.callback()
def _root() -> None:
    """Keeps the program a group of commands however many there are."""


def main() -> None:
    """Run the CLI; exit codes: 0 fine, 1 bug, 2 usage, 3 refused, 4 unavailable."""
    try:
        app()
    except Fault as fault:
        sys.stderr.write(printable(f"error: {fault}\n", but="\n"))
        sys.exit(fault.exit_code)


if __name__ == "__main__":
    main()
