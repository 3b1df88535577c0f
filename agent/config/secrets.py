"""Secrets by reference: URLs that are checked, and files found by path or credential.

`credential:NAME` is looked for where systemd puts what the unit loads (systemd.exec(5),
LoadCredential=), and beside the configuration, so that the service and its operator's shell read
the same file with the same text.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from agent.secret import DIRECTORY_VARIABLE, SecretUrl
from faults import UsageFault

CREDENTIAL = "credential:"
# systemd names the files of a loaded directory ID_FILE; the shipped unit's ID is "oyster".
DIRECTORY_ID = "oyster"
_SCHEMES = ("http", "https", "ws", "wss")


def check_url(text: str) -> SecretUrl:
    """`text` as a URL to connect to; raises ValueError without repeating it (it may hold a key)."""
    try:
        return SecretUrl(text, _SCHEMES)
    except UsageFault:
        raise ValueError(
            "this is not a URL that starts with http://, https://, ws:// or wss://"
        ) from None


def locate(reference: str, base: Path, environ: Mapping[str, str] = os.environ) -> Path:
    """The file that `reference` names; a relative path starts at `base`, the config's directory.

    Raises UsageFault when a credential is nowhere or its name leaves the directory.
    """
    if not reference.startswith(CREDENTIAL):
        return base / Path(reference).expanduser()
    name = reference.removeprefix(CREDENTIAL)
    if not name or name.startswith(".") or "/" in name:
        raise UsageFault(f"{reference}: a credential's name is the name of a file, without a path")
    places = [base / "credentials" / name]
    if directory := environ.get(DIRECTORY_VARIABLE):
        places = [Path(directory) / name, Path(directory) / f"{DIRECTORY_ID}_{name}", *places]
    for place in places:
        if _is_there(place):
            return place
    raise UsageFault(
        f"{reference}: not found as {' or '.join(map(str, places))}; put the file there"
    )


def _is_there(place: Path) -> bool:
    """The service may not look into the operator's folder; to it, nothing is there."""
    try:
        return place.is_file()
    except PermissionError:
        return False
