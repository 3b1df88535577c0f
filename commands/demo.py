"""`oyster-provider demo`: the whole market on this machine, in a minute."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Keep everything here; else a temporary folder.")
    ] = None,
    market: Annotated[str, typer.Option(help="registry, or marketv1: Marlin's.")] = "registry",
) -> None:
    """Watch jobs live and end on a local market; exit 0 only if all of it was seen."""
    import sys
    import tempfile

    from rich.console import Console

    from commands.extras import require_devnet
    from faults import UsageFault

    if market not in ("registry", "marketv1"):
        raise UsageFault(f"--market {market[:40]!r} is neither registry nor marketv1")
    require_devnet()
    from devnet.demo import LIMIT_SECONDS, play
    from devnet.demo_marketv1 import play_marketv1

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())  # else cut in mid-word
    with tempfile.TemporaryDirectory(prefix="oyster-demo-") as scratch:
        tell = play_marketv1 if market == "marketv1" else play
        seconds = tell(directory or Path(scratch), console)
    console.print(f"All of it was seen on the chain and in AWS, in {seconds:.0f} s.")
    if seconds > LIMIT_SECONDS:
        console.print(f"(Meant to take at most {LIMIT_SECONDS} s; this machine is busy or slow.)")
