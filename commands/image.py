"""`oyster-provider image ...`: enclave images. Thin: parse, call, print."""

from __future__ import annotations

import typer

app = typer.Typer(no_args_is_help=True, help="Fetch, verify and measure enclave images.")


@app.callback()
def _root() -> None:
    """Keeps `image` a group of commands however many there are."""
