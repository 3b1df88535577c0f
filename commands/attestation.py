"""`oyster-provider attestation ...`: Nitro attestation documents. Thin: parse, call, print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commands.terminal import JsonOption

if TYPE_CHECKING:
    from enclave.attest.document import Attestation, Expected

app = typer.Typer(no_args_is_help=True, help="Check what an enclave proves about itself.")

# Twice what the longest document takes as hex, and room for line ends.
_MAX_TEXT_BYTES = 1 << 16


@app.callback()
def _root() -> None:
    """Keeps `attestation` a group of commands however many there are."""


@app.command()
def verify(
    file: Annotated[
        str, typer.Argument(help="The document: raw, hex, base64, or in JSON; - for stdin.")
    ],
    at: Annotated[
        str | None, typer.Option(help="Verify as of this ISO 8601 time (UTC unless it says).")
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Trust this PEM root instead of the AWS Nitro root.", exists=True),
    ] = None,
    pcr: Annotated[list[str] | None, typer.Option(help="N=HEX, expected; repeat it.")] = None,
    instance_id: Annotated[
        str | None, typer.Option(help="The EC2 instance that it must come from.")
    ] = None,
    allow_debug: Annotated[
        bool, typer.Option("--allow-debug", help="Accept debug mode, whose PCR0-2 are zeros.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Verify a Nitro attestation document: signature, certificate chain, and what it says."""
    from commands.attestation_input import expected_pcrs, read_document, read_time
    from enclave.attest import document as attestation

    expected = attestation.Expected(
        pcrs=expected_pcrs(pcr or []), instance_id=instance_id, allow_debug=allow_debug
    )
    moment = read_time(at)
    try:
        found = attestation.verify(
            read_document(_read(file)),
            at=moment,
            expected=expected,
            root=_read(str(root)) if root else None,
        )
    except attestation.AttestationRefused as refused:
        if as_json:
            typer.echo(json.dumps({"verified": False, "reason": refused.reason}))
        raise
    typer.echo(json.dumps(_report(found), indent=2) if as_json else _text(found, expected))


def _read(file: str) -> bytes:
    from faults import UsageFault

    try:
        if file == "-":
            return sys.stdin.buffer.read(_MAX_TEXT_BYTES + 1)
        with Path(file).open("rb") as stream:
            return stream.read(_MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise UsageFault(f"{file}: {error.strerror or error}") from error


def _report(found: Attestation) -> dict[str, object]:
    from commands.dialect import moment

    return {
        "verified": True,
        "module_id": found.module_id,
        "instance_id": found.instance_id,
        "timestamp": moment(found.timestamp),
        "debug": found.debug,
        "pcrs": {str(number): value for number, value in found.pcrs.items()},
        "public_key": found.public_key.hex() if found.public_key is not None else None,
        "user_data": found.user_data.hex() if found.user_data is not None else None,
        "nonce": found.nonce.hex() if found.nonce is not None else None,
        "root_sha256": found.root_sha256,
    }


def _text(found: Attestation, expected: Expected) -> str:
    from enclave.attest.certificates import AWS_ROOT_SHA256

    report = _report(found)
    aws = found.root_sha256 == AWS_ROOT_SHA256
    lines = [
        "verified, under the AWS Nitro root" if aws else "verified, under ANOTHER root than AWS's",
        f"module     {found.module_id}",
        f"time       {report['timestamp']}",
        f"debug      {'YES: its memory can be read' if found.debug else 'no'}",
    ]
    lines += [f"{name:<11}{report[name]}" for name in ("user_data", "nonce") if report[name]]
    lines += [
        f"PCR{number:<8}{value}{'  as expected' if number in expected.pcrs else ''}"
        for number, value in found.pcrs.items()
        if int(value, 16) or number in expected.pcrs
    ]
    return "\n".join(lines)
