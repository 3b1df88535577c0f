"""Files of which only their owner may know what stands in them."""

from __future__ import annotations

import os
from pathlib import Path

from faults import UsageFault


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
