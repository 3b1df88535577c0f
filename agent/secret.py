"""What nobody may see: URLs that do not show their keys, and files that their owner alone reads."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from faults import UsageFault

# systemd puts here what the unit loads (systemd.exec(5), LoadCredential=).
DIRECTORY_VARIABLE = "CREDENTIALS_DIRECTORY"
MAX_SECRET_BYTES = 64 * 1024
_MARK = "\ufeff"  # of byte order: editors on Windows begin a file with it
_SECRET_LEAST = 6  # shorter pieces of a URL are words like "v3" or "rpc", not keys


class SecretUrl:
    """A URL that may carry a key in its user info, path or query: shown by scheme and host."""

    __slots__ = ("_parts", "_text")

    def __init__(self, text: str, schemes: Sequence[str] = ("http", "https")) -> None:
        """Raises UsageFault without repeating the text, which may hold a key."""
        self._text = text.strip()
        try:
            self._parts = urlsplit(self._text)
            usable = self._parts.scheme in schemes and bool(self._parts.hostname)
            usable = usable and self._parts.port != 0
        except ValueError:
            usable = False
        if not usable:
            begins = ", ".join(f"{scheme}://" for scheme in schemes)
            raise UsageFault(f"this is not a URL of a host that starts with one of {begins}")

    def reveal(self) -> str:
        """The whole URL, for the client that connects and nothing else."""
        return self._text

    @property
    def place(self) -> str:
        """Who is asked, however the URL is written: host and port."""
        port = self._parts.port or (443 if self._parts.scheme in ("https", "wss") else 80)
        return f"{_host(self._parts)}:{port}"

    @property
    def same(self) -> tuple[str, ...]:
        """Equal for URLs that lead to the same. It has the keys in it: not for showing."""
        parts = self._parts
        who = (parts.username or "", parts.password or "")
        return (parts.scheme, self.place, parts.path.rstrip("/"), parts.query, *who)

    def redact(self, text: str) -> str:
        """`text` without the secret pieces of this URL: nodes echo keys in their errors."""
        parts = (self._parts.username, self._parts.password, self._parts.path, self._parts.query)
        pieces = {piece for part in parts for piece in re.split(r"[/&=]", part or "")}
        for piece in sorted(pieces, key=len, reverse=True):
            if len(piece) >= _SECRET_LEAST:
                text = text.replace(piece, "…")
        return text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretUrl) and other.reveal() == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __str__(self) -> str:
        parts = self._parts
        port = f":{parts.port}" if parts.port else ""
        hidden = "/…" if parts.path.strip("/") or parts.query or parts.username else ""
        return f"{parts.scheme}://{_host(parts)}{port}{hidden}"

    def __repr__(self) -> str:
        return f"SecretUrl({self})"


def _host(parts: SplitResult) -> str:
    """As it stands in a URL: an IPv6 address is in brackets, or its end reads as a port."""
    host = parts.hostname or ""
    return f"[{host}]" if ":" in host else host


def read_secret(path: Path) -> str:
    """The text of a secret file without its last line end; others must not be able to read it.

    Raises UsageFault when it cannot be read, or its mode lets group or others in.
    """
    try:
        mode = path.stat().st_mode
        with path.open(encoding="utf-8") as file:
            text = file.read(MAX_SECRET_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageFault(f"cannot read {path}: {reason}; it must hold a secret") from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and not _systemd_keeps(path):
        raise UsageFault(
            f"{path} can be read by others (mode {stat.S_IMODE(mode):04o}); chmod 600 it"
        )
    if len(text) > MAX_SECRET_BYTES:
        raise UsageFault(f"{path} has more than {MAX_SECRET_BYTES} characters; a secret is shorter")
    return text.rstrip("\r\n")


def read_plain(path: Path) -> str:
    """The same for a key in hex or a URL: no blank and no mark around it is meant.

    A password is read by `read_secret`, as it is: what is sealed was sealed with all of it.
    """
    return read_secret(path).removeprefix(_MARK).strip()


def listed(text: str) -> Iterator[tuple[int, str]]:
    """What a secret file lists, with the number of its line: nothing blank, and no # comment."""
    for number, line in enumerate(text.removeprefix(_MARK).splitlines(), 1):
        if (said := line.strip()) and not said.startswith("#"):
            yield number, said


def oddity(password: str) -> str:
    """What nobody means to be a part of a password, in words; "" for nothing."""
    odd = {
        "is empty": not password,
        "begins with a byte order mark": password.startswith(_MARK),
        f"has {len(password.splitlines())} lines": len(password.splitlines()) > 1,
        "begins or ends with a blank": password != password.strip(),
    }
    return next((words for words, so in odd.items() if so), "")


def _systemd_keeps(path: Path) -> bool:
    """systemd's credentials are 0440 in a directory that only the unit can enter."""
    directory = os.environ.get(DIRECTORY_VARIABLE)
    return bool(directory) and path.is_relative_to(str(directory))


def replace_private(path: Path, text: str) -> None:
    """Make `path` say `text`, all or nothing, mode 0600. Raises UsageFault: it can't be written."""
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        part.replace(path)
    except OSError as error:
        raise UsageFault(f"{path}: {error.strerror}; name a place that can be written") from error
