"""`oyster-provider image ...`: enclave images. Thin: parse, call, print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Fetch, verify and measure enclave images.")


@app.callback()
def _root() -> None:
    """Keeps `image` a group of commands however many there are."""


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="An enclave image (EIF).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure an image and say what it needs and what is wrong with it; exit 3 if anything is."""
    import time

    from commands.image_report import image_lines, image_report
    from enclave.measure import inspect_file
    from faults import Refused, UsageFault

    try:
        report = image_report(inspect_file(file), time.time())
    except OSError as error:
        raise UsageFault(f"{file}: {error.strerror or error}") from error
    typer.echo(json.dumps(report, indent=2) if as_json else "\n".join(image_lines(report)))
    if not report["launchable"]:
        rules = ", ".join(sorted({wrong["rule"] for wrong in report["wrong"]}))
        raise Refused(f"{file} may not be launched ({rules}): build it again")
