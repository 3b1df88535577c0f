"""`oyster-provider image ...`: enclave images. Thin: parse, call, print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from commands.terminal import JsonOption

app = typer.Typer(no_args_is_help=True, help="Fetch, verify and measure enclave images.")


@app.callback()
def _root() -> None:
    """Keeps `image` a group of commands however many there are."""


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="An enclave image (EIF).")],
    as_json: JsonOption = False,
) -> None:
    """Measure an image and say what it needs and what is wrong with it; exit 3 if anything is."""
    import time

    from commands.image_report import image_lines, image_report
    from enclave.eif.measure import inspect_file
    from faults import Refused, UsageFault

    try:
        report = image_report(inspect_file(file), time.time())
    except OSError as error:
        raise UsageFault(f"{file}: {error.strerror or error}") from error
    typer.echo(json.dumps(report, indent=2) if as_json else "\n".join(image_lines(report)))
    if not report["launchable"]:
        rules = ", ".join(sorted({wrong["rule"] for wrong in report["wrong"]}))
        raise Refused(f"{file} may not be launched ({rules}): build it again")


@app.command()
def fetch(
    url: Annotated[str, typer.Argument(help="ipfs://CID, CID/PATH, or a gateway's link to it.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the image is written.")],
    gateway: Annotated[
        list[str] | None, typer.Option(help="A trustless gateway; give several to try more.")
    ] = None,
    kubo: Annotated[
        str | None, typer.Option(help="Your own node's RPC, e.g. http://127.0.0.1:5001.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="A host that plain https:// with a digest may name.")
    ] = None,
    max_mib: Annotated[int, typer.Option(min=1, help="The largest image that is taken.")] = 4096,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds in all.")] = 900,
    as_json: JsonOption = False,
) -> None:
    """Fetch an image, every byte verified, and measure it; exit 3 if it is no enclave image."""
    from commands.image_fetch import fetch, fetch_lines, fetch_report
    from enclave.fetch.download import FetchLimits

    image = fetch(
        url,
        output,
        gateways=gateway or (),
        node=kubo,
        allowed_hosts=allow_host or (),
        limits=FetchLimits(max_bytes=max_mib << 20, max_seconds=timeout),
    )
    typer.echo(
        json.dumps(fetch_report(image), indent=2) if as_json else "\n".join(fetch_lines(image))
    )
