"""`oyster-provider keys ...`: make, import and look at the provider's key. Never shows one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from commands.terminal import ConfigOption, JsonOption, say
from faults import UsageFault

if TYPE_CHECKING:
    from agent.chain.wallet import LocalSigner, Signer

app = typer.Typer(no_args_is_help=True, help="Make, import and look at the provider's key.")

Out = Annotated[Path, typer.Option(help="The keystore to create, mode 0600; never overwritten.")]
PasswordFile = Annotated[
    Path | None,
    typer.Option(help="File (0600) with the password in its one line; asked for without one."),
]
_BACK_UP = (
    "keep a copy of the keystore and its password where this host can't lose them: without both the"
    " stake is lost"
)
_YES_NO = {True: "yes", False: "no"}
Raw = Annotated[bool, typer.Option("--raw", help="Write the bare key instead of a keystore.")]


@app.command()
def new(
    out: Out, password_file: PasswordFile = None, raw: Raw = False, as_json: JsonOption = False
) -> None:
    """Make a new key and print its address."""
    from agent.chain.wallet import new_signer

    _write(new_signer(), out, password_file, raw=raw)
    _print(_about(out, "raw" if raw else "keystore"), as_json=as_json)
    if not as_json:
        say(_BACK_UP)


@app.command("import")
def import_(
    key_file: Annotated[Path, typer.Argument(help="Bare key in hex, mode 0600; delete it after.")],
    out: Out,
    password_file: PasswordFile = None,
    as_json: JsonOption = False,
) -> None:
    """Seal an existing key in a keystore and print its address."""
    from agent.chain.wallet import open_raw

    _write(open_raw(key_file), out, password_file, raw=False)
    _print(_about(out, "keystore"), as_json=as_json)


@app.command()
def show(
    key_file: Annotated[Path | None, typer.Argument(help="A keystore or a bare key file.")] = None,
    password_file: PasswordFile = None,
    kms_key_id: Annotated[str | None, typer.Option(help="Id, ARN or alias of a KMS key.")] = None,
    region: Annotated[str | None, typer.Option(help="AWS region of the KMS key.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the address of a key, the configured one if none is named; with a password file, see
    that it opens the keystore."""
    if key_file is not None and kms_key_id is not None:
        raise UsageFault("name one of a key file and --kms-key-id")
    if key_file is None and kms_key_id is None:
        _print(_about_configured(config), as_json=as_json)
    elif kms_key_id is not None:
        _print(_about_kms(kms_key_id, region), as_json=as_json)
    elif key_file is not None:
        _print(_about_file(key_file, password_file), as_json=as_json)


def _about_configured(config: Path | None) -> dict[str, Any]:
    """The key the agent signs with, opened as it opens it."""
    import asyncio

    from agent.config import load
    from agent.wiring.adapters import open_signer

    loaded = load(config)
    wallet = loaded.wallet
    kind = "kms" if wallet.kms_key_id else "raw" if wallet.key_file else "keystore"
    return {"address": asyncio.run(open_signer(loaded)).address, "kind": kind, "opened": True}


def _about_file(path: Path, password_file: Path | None) -> dict[str, Any]:
    from agent.chain.wallet import is_keystore, open_keystore, open_raw
    from agent.secret import read_secret

    if not is_keystore(path):
        open_raw(path)
        return _about(path, "raw")
    if password_file is None:
        return _about(path, "keystore") | {"opened": False}
    opened = open_keystore(path, read_secret(password_file))
    return {"address": opened.address, "file": str(path), "kind": "keystore", "opened": True}


def _about(path: Path, kind: str) -> dict[str, Any]:
    from agent.chain.wallet import keystore_address, open_raw

    address = open_raw(path).address if kind == "raw" else keystore_address(path)
    return {"address": address, "file": str(path), "kind": kind}


def _about_kms(key_id: str, region: str | None) -> dict[str, Any]:
    import asyncio

    import boto3
    from botocore.exceptions import BotoCoreError

    from agent.chain.kms import KmsSigner

    try:
        client = boto3.client("kms", region_name=region)
    except BotoCoreError as wrong:
        raise UsageFault(
            f"AWS is not set up for KMS: {wrong}; --region names the region"
        ) from wrong
    signer: Signer = asyncio.run(KmsSigner.open(client, key_id))
    return {"address": signer.address, "key": key_id, "kind": "kms"}


def _write(signer: LocalSigner, out: Path, password_file: Path | None, *, raw: bool) -> None:
    from agent.chain.wallet import write_secret

    if raw and password_file is not None:
        raise UsageFault("--raw writes a bare key; a password has nothing to seal then")
    if out.exists():
        raise UsageFault(f"{out} exists; keys are never overwritten")
    text = signer.to_hex() if raw else json.dumps(signer.to_keystore(_password(password_file)))
    write_secret(out, text)


def _password(file: Path | None) -> str:
    from agent.chain.wallet import require_password
    from agent.secret import read_secret

    if file is None and not sys.stdin.isatty():
        raise UsageFault("nobody is there to ask for a password; add --password-file")
    password = (
        typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        if file is None
        else read_secret(file)
    )
    require_password(str(password))
    return str(password)


def _print(about: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(about))
        return
    for name, value in about.items():
        say(f"{name:8} {_YES_NO[value] if isinstance(value, bool) else value}")
