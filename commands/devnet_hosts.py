"""`oyster-provider devnet kill|start|freeze|thaw|cut|heal HOST`: what can happen to a host."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from devnet.state import Devnet

Dir = Annotated[Path, typer.Option("--dir", help="The devnet's folder.")]
Host = Annotated[str, typer.Argument(help="a or b, as `hosts list` names them.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object.")]
DEFAULT_DIR = Path(".devnet")


def add_to(app: typer.Typer) -> None:
    """The commands, in the order in which a story would use them."""
    for each in (kill, start, freeze, thaw, cut, heal):
        app.command()(each)


def kill(host: Host, directory: Dir = DEFAULT_DIR, as_json: AsJson = False) -> None:
    """Switch a host off: its agent ends as by kill -9, and stays away until `start`."""
    from devnet import several

    _done(several.kill, host, directory, as_json, "is off")


def start(host: Host, directory: Dir = DEFAULT_DIR, as_json: AsJson = False) -> None:
    """Switch a killed host on again."""
    from devnet import several

    _done(several.start, host, directory, as_json, "is on; its agent starts")


def freeze(host: Host, directory: Dir = DEFAULT_DIR, as_json: AsJson = False) -> None:
    """Have a host's agent stand still, as a machine that hangs (SIGSTOP)."""
    from devnet import several

    _done(several.freeze, host, directory, as_json, "stands still")


def thaw(host: Host, directory: Dir = DEFAULT_DIR, as_json: AsJson = False) -> None:
    """Have a frozen host go on."""
    from devnet import several

    _done(several.thaw, host, directory, as_json, "goes on")


def cut(host: Host, directory: Dir = DEFAULT_DIR, as_json: AsJson = False) -> None:
    """Cut a host off from the database; no connection is closed."""
    from devnet import several

    _done(several.cut, host, directory, as_json, "is cut off from the database")


def heal(host: Host, directory: Dir = DEFAULT_DIR, as_json: AsJson = False) -> None:
    """Give a host that was cut off its way to the database back."""
    from devnet import several

    _done(several.heal, host, directory, as_json, "reaches the database again")


def _done(
    act: Callable[[Path, Devnet, str], None], host: str, directory: Path, as_json: bool, said: str
) -> None:
    from devnet import state

    act(directory, state.read(directory), host)
    typer.echo(json.dumps({"host": host, "now": said}) if as_json else f"host {host} {said}")
