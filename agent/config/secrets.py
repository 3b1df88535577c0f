"""Secrets by reference: URLs that do not show their keys, and files found by path or credential.

`credential:NAME` is looked for where systemd puts what the unit loads (systemd.exec(5),
LoadCredential=), and beside the configuration, so that the service and its operator's shell read
the same file with the same text.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from faults import Refused, UsageFault

CREDENTIAL = "credential:"
DIRECTORY_VARIABLE = "CREDENTIALS_DIRECTORY"
# systemd names the files of a loaded directory ID_FILE; the shipped unit's ID is "oyster".
DIRECTORY_ID = "oyster"
MAX_SECRET_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class SecretUrl:
    """A URL that may carry a key in its user info, path or query: shown by scheme and host."""

    _text: str

    def reveal(self) -> str:
        """The whole URL, for the client that connects and nothing else."""
        return self._text

    def __str__(self) -> str:
        parts = urlsplit(self._text)
        port = f":{parts.port}" if parts.port else ""
        hidden = "/…" if parts.path.strip("/") or parts.query or parts.username else ""
        return f"{parts.scheme}://{parts.hostname}{port}{hidden}"

    def __repr__(self) -> str:
        return f"SecretUrl({self})"


def check_url(text: str) -> SecretUrl:
    """`text` as a URL to connect to; raises ValueError without repeating it (it may hold a key)."""
    try:
        parts = urlsplit(text)
        usable = bool(parts.scheme in ("http", "https", "ws", "wss") and parts.hostname)
        usable = usable and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("this is not a URL that starts with http://, https://, ws:// or wss://")
    return SecretUrl(text)


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


def read_secret(path: Path) -> str:
    """The text of a secret file without its last line end; others must not be able to read it.

    Raises UsageFault when it cannot be read, Refused when its mode lets group or others in.
    """
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageFault(f"{path}: {reason}; it must hold a secret") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and not _systemd_keeps(path):
        raise Refused(f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}); chmod 600 it")
    if len(text) > MAX_SECRET_BYTES:
        raise Refused(f"{path} has {len(text)} characters; a secret is shorter")
    return text.rstrip("\r\n")


def _systemd_keeps(path: Path) -> bool:
    """systemd's credentials are 0440 in a directory that only the unit can enter."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    return bool(directory) and path.is_relative_to(str(directory))
