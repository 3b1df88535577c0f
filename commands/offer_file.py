"""The configuration's [[offers]], changed in place: comments, order, mode and owner stay."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import tomlkit

from faults import UsageFault


def write_offer(path: Path, instance_type: str, price: str | None) -> str:
    """Make the file offer the type at that price, or not at all. Returns what it was before.

    Raises UsageFault: it can't be read or written, and is as it was.
    """
    before = _read(path)
    document: Any = tomlkit.parse(before)
    offers: Any = document.get("offers")
    if offers is None:
        offers = tomlkit.aot()
        document["offers"] = offers
    known = next((item for item in offers if item.get("type") == instance_type), None)
    if price is None:
        if known is not None:
            offers.remove(known)
    elif known is not None:
        known["price"] = price
    else:
        offers.append(tomlkit.item({"type": instance_type, "price": price}))
    if not offers:
        document.pop("offers", None)
    put_back(path, tomlkit.dumps(document))
    return before


def put_back(path: Path, text: str) -> None:
    """All or nothing, with the mode and owner it had. Raises UsageFault."""
    part = path.with_name(f".{path.name}.part")
    try:
        about = path.stat()
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, about.st_mode & 0o777)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        if os.geteuid() == 0:
            os.chown(part, about.st_uid, about.st_gid)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise UsageFault(f"{path}: {error.strerror}; it must say what is offered") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageFault(f"{path}: {error.strerror}; it must say what is offered") from error
