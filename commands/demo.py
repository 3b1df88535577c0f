"""`oyster-provider demo`: the whole market on this machine, in a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Keep everything here; else a temporary folder.")
    ] = None,
) -> None:
    """Watch two jobs go from request to refund on a local market; exit 0 only if all was seen."""
    import tempfile

    from rich.console import Console

    from commands.extras import require_devnet

    require_devnet()
    from devnet.demo import LIMIT_SECONDS, play

    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="oyster-demo-") as scratch:
        seconds = play(directory or Path(scratch), console)
    console.print(f"All of it was seen on the chain and in AWS, in {seconds:.0f} s.")
    if seconds > LIMIT_SECONDS:
        console.print(f"(Meant to take at most {LIMIT_SECONDS} s; this machine is busy or slow.)")
