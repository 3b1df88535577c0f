"""Settings of the configuration changed in place: comments, order, mode and owner stay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomlkit

from commands.offer_file import put_back, read_document, sound

Setting = tuple[str, str]  # section and key


def write_settings(path: Path, values: Mapping[Setting, Any]) -> None:
    """Write these, all or none. Raises UsageFault: the file can't be read or written, or would be
    wrong with them; it is as it was."""
    put_back(path, with_settings(path, values))


def with_settings(path: Path, values: Mapping[Setting, Any]) -> str:
    """The file's text with these. Raises UsageFault: it can't be read, or would be wrong."""
    _, document = read_document(path)
    for (section, key), value in values.items():
        if section not in document:
            document[section] = tomlkit.table()
        document[section][key] = value
    return sound(path, document)
